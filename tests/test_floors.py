"""The floors of the house: imports go down only, and a few rooms keep to themselves."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "diffio_async"
NAME = PACKAGE.name

#: Every room (a module or package directly inside `diffio_async`) and the floor it is on.
FLOORS = {
    "_console": 0,
    "_homes": 0,
    "_logging": 0,
    "_declared": 0,
    "_numbers": 0,
    "_text": 0,
    "_version": 0,
    "errors": 0,
    "events": 0,
    "models": 0,
    "options": 0,
    "types": 0,
    "_wire": 1,
    "_engine": 2,
    # Verifying stands on the wire alone, and the resource of that noun verifies with it.
    "webhooks": 2,
    "resources": 3,
    "batch": 4,
    "restoration": 4,
    "client": 5,
    "compat": 6,
    "sync": 6,
    # The package itself names everything up to floor 6, so only the doors may import from it.
    "": 6,
    "__main__": 7,
    "cli": 7,
    "sandbox": 7,
    "testing": 7,
}
#: Rooms beside the floors, and the rooms that may enter them.
BESIDE = {"_bridge": {"compat", "sync"}, "_facades": set[str]()}
#: Rooms that import nothing else of the package.
ALONE = {"sandbox", "_bridge", "_facades"}
#: What rooms may import of other people's packages, where that is limited.
THIRD_PARTY = {
    **{
        words: {"attrs"}
        for words in (
            *("_declared", "_homes", "_numbers", "_version", "errors", "events", "models"),
            *("options", "types"),
        )
    },
    "_wire": {"attrs", "cattrs"},
    "_bridge": {"anyio"},
    "_facades": set[str](),
}
#: Doors in rooms below: a receiver of webhooks is an application of aiohttp's, which its user runs.
#: Only other doors go through them, and the room's own `__init__`, when it is asked.
AIOHTTP_DOORS = {"webhooks.aiohttp_receiver"}
#: What the pure floor has no use for: clocks, chance and the outside world.
IMPURE = {"asyncio", "concurrent", "random", "secrets", "selectors", "socket", "threading", "time"}


class Arrow(NamedTuple):
    """One import: `module` (relative to the package, dotted) names `imported` (absolute)."""

    module: str
    line: int
    imported: str


def arrows(package: Path) -> list[Arrow]:
    """Every import in every module, those inside functions and TYPE_CHECKING blocks included."""
    found: list[Arrow] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        own = [] if is_package else [parts[-1]]
        module = ".".join([*parts[:-1], *own])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            found += [
                Arrow(module, line, name)
                for line, name in _named(node, [NAME, *parts[:-1], *own], is_package)
            ]
    return found


def _named(node: ast.AST, module: list[str], is_package: bool) -> list[tuple[int, str]]:
    match node:
        case ast.Import():
            return [(node.lineno, alias.name) for alias in node.names]
        case ast.ImportFrom():
            # Relative: one dot is the package itself in an `__init__`, the parent elsewhere.
            above = module[: len(module) - node.level + is_package] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import name` may name a module: the longest form says the most.
            return [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
        case ast.Call(args=[ast.Constant(value=str() as name), *_]) if ast.unparse(node.func).split(
            "."
        )[-1] in {"import_module", "__import__"}:
            return [(node.lineno, name)]
        case _:
            return []


def room(dotted: str, package: Path) -> str:
    """The room that a dotted name inside the package belongs to; "" for the package itself."""
    first = dotted.split(".", maxsplit=1)[0]
    known = first in FLOORS or first in BESIDE
    there = (package / first).is_dir() or (package / f"{first}.py").is_file()
    return first if known or there else ""


def complaints(package: Path) -> list[str]:
    """What breaks the rules, one line for each."""
    found = [
        f"{each.name} is on no floor"
        for each in sorted(package.iterdir())
        if (each.suffix == ".py" or any(each.glob("*.py")))
        and each.stem not in {*FLOORS, *BESIDE, "__init__"}
    ]
    for arrow in arrows(package):
        why = _complaint(arrow, package)
        if why:
            found.append(
                f"{arrow.module or '__init__'}:{arrow.line} imports {arrow.imported}: {why}"
            )
    return found


def _complaint(arrow: Arrow, package: Path) -> str | None:
    here = room(arrow.module, package)
    top, _, rest = arrow.imported.partition(".")
    if top != NAME:
        return _foreign(arrow.module, here, top)
    there = room(rest, package)
    opens = any(rest.startswith(door) for door in AIOHTTP_DOORS)
    if opens and here != "webhooks" and FLOORS.get(here, 0) < 7:
        return "a door is for those who run servers"
    if there == here or here not in {*FLOORS, *BESIDE} or there not in {*FLOORS, *BESIDE}:
        return None
    if here in ALONE:
        return f"{here} imports nothing of the package"
    if there in BESIDE:
        return None if here in BESIDE[there] else f"{there} is not for {here}"
    if FLOORS[there] > FLOORS[here]:
        return f"an arrow up, from floor {FLOORS[here]} to floor {FLOORS[there]}"
    if FLOORS[here] == FLOORS[there] == 6 and here:
        return "siblings do not know each other"
    return None


def _foreign(module: str, here: str, top: str) -> str | None:
    if top in sys.stdlib_module_names:
        impure = here == "_wire" and top in IMPURE
        return "the wire knows no clock, no chance and no I/O" if impure else None
    if here in THIRD_PARTY and top not in THIRD_PARTY[here]:
        return f"{here} stands on {' and '.join(sorted({'stdlib', *THIRD_PARTY[here]}))}"
    own = module.startswith("_engine.transport") or module in AIOHTTP_DOORS
    if top == "aiohttp" and FLOORS.get(here, 7) < 7 and not own:
        return "only _engine/transport*.py and doors import aiohttp"
    return None


def test_imports_go_down_the_floors_only() -> None:
    """No module of the package imports from a floor above its own, or breaks a room's rule."""
    assert complaints(PACKAGE) == []


def test_the_checker_reads_what_is_there() -> None:
    """The checker saw the arrows that are known to exist, those for type checkers included."""
    seen = {(arrow.module, arrow.imported) for arrow in arrows(PACKAGE)}
    assert ("options", "diffio_async.errors.ConfigurationError") in seen
    assert ("errors", "diffio_async.models.generations.GenerationProgress") in seen


def test_the_wire_awaits_nothing() -> None:
    """The wire floor is pure: it defines and awaits no coroutine."""
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    files = sorted((PACKAGE / "_wire").rglob("*.py"))
    assert files
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, waits)], path.name


PLANTED = {
    "an arrow up": ("errors.py", "from diffio_async.client import AsyncDiffio"),
    "an arrow up (module)": ("_wire/calls.py", "import diffio_async.resources.projects"),
    "an arrow up (named)": ("_wire/calls.py", "from diffio_async import client"),
    "an arrow up (package)": ("client.py", "from diffio_async import AsyncDiffio"),
    "an arrow up (relative)": ("_wire/calls.py", "from ..resources import projects"),
    "an arrow up (relative, in a package)": ("_wire/__init__.py", "from ..client import X"),
    "an arrow up (types only)": (
        "errors.py",
        "import typing\nif typing.TYPE_CHECKING:\n    from diffio_async.client import X",
    ),
    "an arrow up (in a function)": ("errors.py", "def f():\n    import diffio_async.client"),
    "an arrow up (by name)": (
        "errors.py",
        "import importlib\nimportlib.import_module('diffio_async.client')",
    ),
    "aiohttp above the transport": ("client.py", "import aiohttp"),
    "aiohttp beside the transport": ("_engine/sending.py", "from aiohttp import web"),
    "a door of aiohttp's from below": (
        "resources/projects.py",
        "from diffio_async.webhooks.aiohttp_receiver import aiohttp_app",
    ),
    "cattrs among the words": ("errors.py", "import cattrs"),
    "a clock on the wire": ("_wire/calls.py", "from time import monotonic"),
    "the sandbox knows the client": ("sandbox/world.py", "from diffio_async.errors import X"),
    "the sandbox knows the version": ("sandbox/world.py", "from .. import _version"),
    "siblings": ("compat/__init__.py", "from diffio_async.sync import Diffio"),
    "the bridge below floor 6": ("client.py", "from diffio_async import _bridge"),
    "a room on no floor": ("helpers.py", ""),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(case: str, tmp_path: Path) -> None:
    """Each rule complains about a small package that breaks it, and about nothing else."""
    package = tmp_path / NAME
    whole = {
        "__init__.py": "from diffio_async.client import AsyncDiffio",
        "_bridge.py": "import anyio",
        "_version.py": "",
        "errors.py": "import attrs",
        "client.py": "from diffio_async.resources import projects",
        "_wire/__init__.py": "",
        "_wire/calls.py": "from ..errors import X\nfrom . import calls",
        "_engine/transport.py": "import aiohttp",
        "_engine/sending.py": "from diffio_async._wire import calls",
        "resources/__init__.py": "",
        "resources/projects.py": "from diffio_async._engine.sending import X",
        "sandbox/world.py": "from aiohttp import web\nfrom . import faults",
        "sandbox/faults.py": "",
        "sync/__init__.py": "from diffio_async import _bridge\nfrom diffio_async.client import X",
        "compat/__init__.py": "from diffio_async._bridge import X",
        "cli/__init__.py": "from diffio_async import AsyncDiffio, sandbox",
    }
    for name, text in whole.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert complaints(package) == []
    name, text = PLANTED[case]
    (package / name).write_text(text)
    assert len(complaints(package)) == 1
