"""The page for users of the published package names everything that it has.

The names are those from which the compat facade is generated; `published/test_surface.py`
compares them with the package itself.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import attrs
import pytest

import diffio_async
from diffio_async import AsyncDiffio, compat
from diffio_async._codegen.compat_results import SHAPES
from diffio_async._codegen.compat_surface import NOUNS, ROWS
from diffio_async.compat import errors
from diffio_async.compat.types import RestoreInfo

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows below a heading of the page."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell: str) -> list[str]:
    """Return the names in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def coroutine(name: str) -> Callable[..., object]:
    """Return a method of the client by its name in the table: `generations.create`."""
    noun, _, method = name.rpartition(".")
    owner = get_type_hints(AsyncDiffio)[noun] if noun else AsyncDiffio
    found: Callable[..., object] = getattr(owner, method)
    return found


def test_every_call_has_a_row() -> None:
    """The row of a call has both of its names, and one that exists in its place."""
    rows = {name: row for row in table("Calls") for name in quoted(row[0])}
    for call in ROWS:
        noun = NOUNS.get(call.class_name)
        names = [f"{noun}.{call.name}()"] * bool(noun) + [f"{call.flat}()"] * bool(call.flat)
        for name in names:
            ours = quoted(rows[name][1])[0].partition("(")[0]
            assert coroutine(ours).__name__ == call.coroutine.partition(".")[2]


def test_every_parameter_has_a_row() -> None:
    """The second cell is a parameter of the call in its place, or begins with `none`."""
    rows = {quoted(row[0])[0]: row for row in table("Parameters")[1:]}
    ours = {quoted(row[0])[0]: quoted(row[1])[0].partition("(")[0] for row in table("Calls")[1:]}
    found: dict[str, set[str]] = {}
    for call in ROWS:
        noun = NOUNS.get(call.class_name)
        method = coroutine(ours[f"{noun}.{call.name}()" if noun else f"{call.flat}()"])
        for name in call.parameters.split():
            found.setdefault(name, set()).update(inspect.signature(method).parameters)
    assert set(found) == set(rows)
    for name, parameters in found.items():
        cell = rows[name][1]
        assert cell.startswith("none") or quoted(cell)[0] in parameters, name


@pytest.mark.parametrize("made", [compat.DiffioClient, compat.RequestOptions])
def test_every_option_has_a_row(made: Callable[..., object]) -> None:
    """So do the options of a client and of a call."""
    names = {name for row in table("The client and its options") for name in quoted(row[0])}
    assert {f"{getattr(made, '__name__', '')}()", *inspect.signature(made).parameters} <= names


def test_every_field_has_a_row() -> None:
    """The row of a result has its fields; without another one, our class has them in snake_case."""
    rows = {quoted(row[0])[0]: row for row in table("Fields of results") if quoted(row[0])}
    for shape in SHAPES:
        _, fields, native, differs = rows[shape.name]
        assert quoted(fields) == f"{shape.required} {shape.optional}".split()
        name = (quoted(native) or [""])[0]
        model = getattr(diffio_async, name, None)
        if model is None or not attrs.has(model):
            assert differs
            continue
        have = {field.name for field in attrs.fields(model)}
        snake = {name: re.sub(r"([A-Z])", r"_\1", name).lower() for name in quoted(fields)}
        assert [
            n for n, ours in snake.items() if ours not in have and f"`{n}`" not in differs
        ] == []


def test_every_key_of_the_dict_has_a_row() -> None:
    """The dict of `restore_audio` has no other keys."""
    names = {name for row in table("Fields of results") if len(row) == 2 for name in quoted(row[0])}
    assert names == set(RestoreInfo.__annotations__)


def test_every_error_and_every_other_name_is_on_the_page() -> None:
    """Errors of compat, and its public names, are named; those of ours are public."""
    text = PAGE.read_text(encoding="utf-8")
    named = {name for line in text.splitlines() for name in re.findall(r"\w+", line)}
    raised = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, errors.DiffioApiError)
    }
    assert raised | (set(compat.__all__) - {"__version__"}) <= named
    native = {name for row in table("Exceptions")[1:] for name in quoted(row[2])}
    assert native - {"ValueError", "TimeoutError"} <= set(diffio_async.__all__)
