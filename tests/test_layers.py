"""The layers of the package: imports go down only, without circles; some packages import none."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import KeysView

PACKAGE = Path(__file__).parents[1] / "diffio_async"
NAME = PACKAGE.name

#: Every module or package directly inside `diffio_async`, and its layer.
LAYERS = {
    "_console": 0,
    "_error_base": 0,
    "_notebook_output": 0,
    "_reporting": 0,
    "_store_url": 0,
    "_system": 0,
    "_text": 0,
    "_validators": 0,
    "_version": 0,
    "errors": 0,
    "events": 0,
    "models": 0,
    "options": 0,
    "types": 0,
    "_protocol": 1,
    "_storage": 2,
    "_stores": 2,
    "_http": 2,
    "telemetry": 2,
    "_downloads": 3,
    "_polling": 3,
    "_uploads": 3,
    "webhooks": 3,
    "resources": 4,
    "batch": 5,
    "restoration": 5,
    "client": 6,
    "dask": 6,
    "compat": 7,
    "sync": 7,
    # The package itself names everything up to layer 7: only entry points may import from it.
    "": 7,
    "__main__": 8,
    "cli": 8,
    "report": 8,
    "notebook": 8,
    "sandbox": 8,
    "testing": 8,
}
#: Packages beside the layers, and the packages that may import them.
BESIDE = {"_bridge": {"compat", "sync"}, "_codegen": set[str]()}
#: Packages that import nothing else of the package.
ALONE = {"sandbox", "_bridge", "_codegen"}
#: Third-party packages that a package may import, where that is limited.
THIRD_PARTY = {
    **{name: {"attrs"} for name, layer in LAYERS.items() if layer == 0 and name != "_console"},
    "_console": {"attrs", "rich"},
    "_protocol": {"attrs", "cattrs"},
    "_bridge": {"anyio"},
    "_codegen": set[str](),
}
#: aiohttp applications that their user runs; imported by entry points, or lazily by name.
AIOHTTP_APPS = {"webhooks.aiohttp_server"}
#: The one import up: a result that a notebook displays finds its display, which no program loads.
UP = {("models.json_values", "notebook")}
#: Modules of the standard library that a pure package may not import: clocks, randomness, I/O.
IMPURE = {"asyncio", "concurrent", "random", "secrets", "selectors", "socket", "threading", "time"}


class Import(NamedTuple):
    """One import: `module` (relative to the package, dotted) imports `imported` (absolute)."""

    module: str
    line: int
    imported: str


@cache
def parsed(source: str) -> ast.Module:
    """Return the syntax tree of a module, parsed once by all tests."""
    return ast.parse(source)


def imports(package: Path) -> list[Import]:
    """Return the imports of all modules, including those in functions and TYPE_CHECKING blocks."""
    found: list[Import] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        own = [] if is_package else [parts[-1]]
        module = ".".join([*parts[:-1], *own])
        for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
            found += [
                Import(module, line, name)
                for line, name in _imported(node, [NAME, *parts[:-1], *own], is_package)
            ]
    return found


@cache
def package_imports() -> list[Import]:
    """Return the imports of this package."""
    return imports(PACKAGE)


def _imported(node: ast.AST, module: list[str], is_package: bool) -> list[tuple[int, str]]:
    match node:
        case ast.Import():
            return [(node.lineno, alias.name) for alias in node.names]
        case ast.ImportFrom():
            # Relative: one dot is the package itself in an `__init__`, the parent elsewhere.
            above = module[: len(module) - node.level + is_package] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import name` may name a module: the longest form is the most precise.
            return [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
        case ast.Call(args=[ast.Constant(value=str() as name), *_]) if ast.unparse(node.func).split(
            "."
        )[-1] in {"import_module", "__import__"}:
            return [(node.lineno, name)]
        case _:
            return []


def part_of(dotted: str, package: Path) -> str:
    """Return the top-level module or package a dotted name is in; "" for the package itself."""
    first = dotted.split(".", maxsplit=1)[0]
    known = first in LAYERS or first in BESIDE
    exists = (package / first).is_dir() or (package / f"{first}.py").is_file()
    return first if known or exists else ""


def violations(package: Path) -> list[str]:
    """Return what breaks the rules, one line for each."""
    found = [
        f"{each.name} is in no layer"
        for each in sorted(package.iterdir())
        if (each.suffix == ".py" or any(each.glob("*.py")))
        and each.stem not in {*LAYERS, *BESIDE, "__init__"}
    ]
    for each in package_imports() if package == PACKAGE else imports(package):
        why = _violation(each, package)
        if why:
            found.append(f"{each.module or '__init__'}:{each.line} imports {each.imported}: {why}")
    return found


def _violation(each: Import, package: Path) -> str | None:
    here = part_of(each.module, package)
    top, _, rest = each.imported.partition(".")
    if top != NAME:
        return _third_party_violation(each.module, here, top)
    there = part_of(rest, package)
    app = any(rest.startswith(name) for name in AIOHTTP_APPS)
    if app and here != "webhooks" and LAYERS.get(here, 0) < 8:
        return "an application is for those who run servers"
    if there == here or here not in {*LAYERS, *BESIDE} or there not in {*LAYERS, *BESIDE}:
        return None
    if here in ALONE:
        return f"{here} imports nothing of the package"
    if there in BESIDE:
        return None if here in BESIDE[there] else f"{there} is not for {here}"
    if LAYERS[there] > LAYERS[here] and (each.module, rest) not in UP:
        return f"an import up, from layer {LAYERS[here]} to layer {LAYERS[there]}"
    if LAYERS[here] == LAYERS[there] == 7 and here:
        return "facades do not import each other"
    return None


def _third_party_violation(module: str, here: str, top: str) -> str | None:
    if top in sys.stdlib_module_names:
        impure = here == "_protocol" and top in IMPURE
        return "the protocol layer has no clock, no chance and no I/O" if impure else None
    if here in THIRD_PARTY and top not in THIRD_PARTY[here]:
        return f"{here} may import {' and '.join(sorted({'stdlib', *THIRD_PARTY[here]}))}"
    if top == "aiohttp" and LAYERS.get(here, 8) < 8 and here != "_http":
        return None if module in AIOHTTP_APPS else "only _http and aiohttp applications import it"
    return None


def circles(package: Path) -> list[list[str]]:
    """Return the groups of modules that import each other when they are loaded."""
    paths = {}
    for path in sorted(package.rglob("*.py")):
        parts = [NAME, *path.relative_to(package).with_suffix("").parts]
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {
        module: _loaded(parsed(path.read_text(encoding="utf-8")).body, paths.keys())
        for module, path in paths.items()
    }
    return _strongly_connected(graph)


def _loaded(body: list[ast.stmt], modules: KeysView[str]) -> set[str]:
    """Return the modules that are imported when a module body runs."""
    found: set[str] = set()
    for node in body:
        match node:
            case ast.ImportFrom(module=str() as origin):
                for alias in node.names:
                    full = f"{origin}.{alias.name}"
                    found.add(full if full in modules else origin)
            case ast.Import():
                found.update(alias.name for alias in node.names)
            case ast.If():
                typing_only = "TYPE_CHECKING" in ast.unparse(node.test)
                found |= _loaded(node.orelse if typing_only else node.body + node.orelse, modules)
            case ast.Try() | ast.With() | ast.ClassDef():
                found |= _loaded(node.body, modules)
            case _:
                pass
    return found & modules


def _strongly_connected(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for module in graph[todo.pop()] - seen:
                seen.add(module)
                todo.append(module)
        return seen

    reach = {module: reached(module) for module in graph}
    groups = {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in graph
        if module in reach[module]
    }
    return [list(group) for group in sorted(groups)]


@pytest.mark.slow
def test_imports_go_down_the_layers_only() -> None:
    """No module of the package imports from a layer above its own, or breaks a package's rule."""
    assert violations(PACKAGE) == []


def test_no_modules_import_each_other() -> None:
    """No circle of imports at load time: each module can be imported first."""
    assert circles(PACKAGE) == []


def test_the_checker_reads_known_imports() -> None:
    """The checker sees imports that are known to exist, those for type checkers included."""
    seen = {(each.module, each.imported) for each in package_imports()}
    assert ("options", "diffio_async.errors.ConfigurationError") in seen
    assert ("errors", "diffio_async.models.generations.GenerationProgress") in seen


def test_the_protocol_layer_awaits_nothing() -> None:
    """The protocol layer is pure: it defines and awaits no coroutine."""
    awaits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    files = sorted((PACKAGE / "_protocol").rglob("*.py"))
    assert files
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, awaits)], path.name


PLANTED = {
    "an import up": ("errors.py", "from diffio_async.client import AsyncDiffio"),
    "an import up (module)": ("_protocol/urls.py", "import diffio_async.resources.projects"),
    "an import up (named)": ("_protocol/urls.py", "from diffio_async import client"),
    "an import up (package)": ("client.py", "from diffio_async import AsyncDiffio"),
    "an import up (relative)": ("_protocol/urls.py", "from ..resources import projects"),
    "an import up (relative, in a package)": ("_protocol/__init__.py", "from ..client import X"),
    "an import up (types only)": (
        "errors.py",
        "import typing\nif typing.TYPE_CHECKING:\n    from diffio_async.client import X",
    ),
    "an import up (in a function)": ("errors.py", "def f():\n    import diffio_async.client"),
    "an import up (by name)": (
        "errors.py",
        "import importlib\nimportlib.import_module('diffio_async.client')",
    ),
    "aiohttp above the HTTP layer": ("client.py", "import aiohttp"),
    "aiohttp beside the HTTP layer": ("_uploads/upload.py", "from aiohttp import web"),
    "an aiohttp application from below": (
        "resources/projects.py",
        "from diffio_async.webhooks.aiohttp_server import aiohttp_app",
    ),
    "cattrs among the vocabulary": ("errors.py", "import cattrs"),
    "a clock in the protocol layer": ("_protocol/urls.py", "from time import monotonic"),
    "the sandbox imports the client": ("sandbox/state.py", "from diffio_async.errors import X"),
    "the sandbox imports the version": ("sandbox/state.py", "from .. import _version"),
    "one facade imports the other": (
        "compat/__init__.py",
        "from diffio_async.sync import Diffio",
    ),
    "the bridge below layer 7": ("client.py", "from diffio_async import _bridge"),
    "a module in no layer": ("helpers.py", ""),
}


def planted_package(folder: Path) -> Path:
    """Write a small package that breaks no rule."""
    package = folder / NAME
    files = {
        "__init__.py": "from diffio_async.client import AsyncDiffio",
        "_bridge.py": "import anyio",
        "_version.py": "",
        "errors.py": "import attrs",
        "client.py": "from diffio_async.resources import projects",
        "_protocol/__init__.py": "",
        "_protocol/urls.py": "from ..errors import X\nfrom . import urls",
        "_http/client.py": "import aiohttp",
        "_uploads/upload.py": "from diffio_async._protocol import urls",
        "resources/__init__.py": "",
        "resources/projects.py": "from diffio_async._uploads.upload import X",
        "sandbox/state.py": "from aiohttp import web\nfrom . import faults",
        "sandbox/faults.py": "",
        "sync/__init__.py": "from diffio_async import _bridge\nfrom diffio_async.client import X",
        "compat/__init__.py": "from diffio_async._bridge import X",
        "cli/__init__.py": "from diffio_async import AsyncDiffio, sandbox",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(case: str, tmp_path: Path) -> None:
    """Each rule finds the violation in a small package that breaks it, and nothing else."""
    package = planted_package(tmp_path)
    assert violations(package) == []
    name, text = PLANTED[case]
    (package / name).write_text(text)
    assert len(violations(package)) == 1


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    """Two modules that import each other are found; imports for types or in functions are not."""
    package = planted_package(tmp_path)
    (package / "models").mkdir()
    (package / "models" / "a.py").write_text("from diffio_async.models import b")
    (package / "models" / "b.py").write_text(
        "import typing\nif typing.TYPE_CHECKING:\n    from diffio_async.models import a\n"
        "def f():\n    from diffio_async.models import a"
    )
    assert circles(package) == []
    (package / "models" / "b.py").write_text("from diffio_async.models.a import X")
    assert circles(package) == [["diffio_async.models.a", "diffio_async.models.b"]]
