"""The package: modules that its import loads, public names, length of modules."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import diffio_async

PACKAGE = Path(__file__).parents[1] / "diffio_async"
HEAVY = {"aiohttp", "svix", "pydantic", "httpx", "cattrs", "anyio", "typer", "rich", "av", "numpy"}
LONGEST = 400


#: Modules of the package that `AsyncDiffio` may load; those of the first upload, wait, download,
#: inbox or batch are loaded by that.
CLIENT_MODULES = 57


def modules_after(code: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after `code`."""
    program = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {*run.stdout.split()}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a new interpreter has loaded after `code`."""
    return {name.split(".")[0] for name in modules_after(code)}


def named_for_type_checkers() -> set[str]:
    """Return the names in the TYPE_CHECKING block of `diffio_async/__init__.py`."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    blocks = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    return {
        alias.asname or alias.name
        for block in blocks
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import diffio_async` in a fresh process loads no HTTP library, no svix and no cattrs."""
    assert loaded_by("import diffio_async") & HEAVY == set()


def test_the_client_loads_only_what_every_call_needs() -> None:
    """Its import is within the budget, without transfers, waits, batches, inboxes and svix."""
    loaded = modules_after("from diffio_async import AsyncDiffio")
    own = {name for name in loaded if name.split(".")[0] == "diffio_async"}
    later = (
        *("batch", "_downloads", "_uploads", "_polling.waits", "_polling.poll_model"),
        *("_storage.threads", "webhooks.inbox", "compat", "sync", "cli", "sandbox"),
    )
    assert not {
        name for name in own if f"{name}.".startswith(tuple(f"diffio_async.{x}." for x in later))
    }
    assert not {"svix", "sqlite3", "anyio._backends._asyncio"} & loaded
    assert 50 < len(own) <= CLIENT_MODULES


def test_a_loaded_heavy_module_is_detected() -> None:
    """The test above would fail if aiohttp were imported."""
    assert "aiohttp" in loaded_by("import aiohttp")


def test_public_names_are_sorted_and_importable() -> None:
    """`__all__` is sorted and has no duplicates, and every name can be imported."""
    names = diffio_async.__all__
    assert list(names) == sorted(set(names))
    assert "AsyncDiffio" in names
    for name in names:
        assert getattr(diffio_async, name) is not None, name
    assert set(names) <= set(dir(diffio_async))


def test_lazy_names_equal_the_names_type_checkers_see() -> None:
    """The names that are imported lazily are those of the TYPE_CHECKING block."""
    typed = named_for_type_checkers()
    assert typed
    lazy = {name for name in diffio_async.__all__ if not name.startswith("__")}
    assert lazy == typed


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The message for an unknown name is Python's own."""
    name = "no_such_name"
    with pytest.raises(AttributeError, match=name):
        getattr(diffio_async, name)


def test_public_classes_name_the_module_to_import_them_from() -> None:
    """Every public class can be imported from the module that it names as its own."""
    for name in diffio_async.__all__:
        thing = getattr(diffio_async, name)
        if isinstance(thing, type):
            assert getattr(importlib.import_module(thing.__module__), name) is thing


def test_no_module_is_too_long() -> None:
    """No hand-written module has more than 400 lines."""
    modules = [
        path for path in sorted(PACKAGE.rglob("*.py")) if not path.name.endswith("_generated.py")
    ]
    assert len(modules) > 10
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in modules
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert long == {}


def test_the_package_is_marked_as_typed() -> None:
    """`py.typed` is beside `__init__.py`."""
    assert (PACKAGE / "py.typed").is_file()
