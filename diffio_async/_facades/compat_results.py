"""Write `compat`'s result classes: our models with the guide's names, order and spelling."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from diffio_async._facades.compat_shapes import (
    ADDED,
    ALSO,
    ASSUMED,
    DICTS,
    ELSEWHERE,
    FALLBACKS,
    MAYBE_DICTS,
    SHAPES,
    Shape,
)
from diffio_async._facades.compat_words import Spelling, camel, read_words, written_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async._facades.models_reading import Model

_HEADER = '''\
# Written by `python -m diffio_async._facades --write`; do not edit.
"""What calls answer with: frozen, comparable, with the guide's attributes.

`from_dict` takes an answer of the API's. Time stamps are strings, as the API spells them; `extra`
has what the API said beyond what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import field, frozen

from diffio_async.compat.types import reading as read
'''
_OBJECT = "dict[str, Any]"
_NUMBERS = {"int", "float", "int | None", "float | None"}
_FLAGS = {"bool", "bool | None"}
_STRINGS = {"str | None", "datetime | None"}


def written_results(models: dict[str, Model], spell: Spelling) -> str:
    """The module's source."""
    lines = [_HEADER.rstrip()]
    for shape in SHAPES:
        lines += ["", "", *_class(shape, models[shape.ours], spell)]
    return "\n".join([*lines, ""])


def _class(shape: Shape, model: Model, spell: Spelling) -> Iterator[str]:
    required, optional, more = (names.split() for names in shape[2:])
    fields = {camel(f.name): f for f in model.fields.values()}
    kinds: dict[str, str] = {}
    reads: dict[str, str] = {}
    for name in [*required, *optional, *more]:
        added = ADDED.get((shape.name, name))
        if added is None and name not in fields:
            raise ValueError(f"{model.name} has no field for {shape.name}.{name}")
        ours = added if added is not None else fields[name].annotation
        kinds[name], reads[name] = _kind(shape.name, name, ours)
    yield "@frozen(slots=False)"
    yield f"class {shape.name}:"
    words = read_words(model.docstring)
    # The first paragraph: later ones speak of what the guide does not have.
    words.summary = spell(words.summary.partition("\n\n")[0])
    yield from written_words(words, 4)
    yield ""
    for name in [*required, *optional, *more]:
        settings = []
        if name not in required:
            settings.append("default=None")
        if name in more:
            settings.append("kw_only=True")
        if not re.fullmatch(r"(str|int|bool)( \| None)?|[A-Z]\w*( \| None)?", kinds[name]):
            settings.append("hash=False")
        if name in fields and fields[name].secret:
            settings.append("repr=False")
        ending = "" if not settings else f" = field({', '.join(settings)})"
        yield f"    {name}: {kinds[name]}{' = None' if settings == ['default=None'] else ending}"
    extra = "field(factory=dict, kw_only=True, hash=False, repr=False)"
    yield f"    extra: Mapping[str, object] = {extra}"
    yield ""
    yield "    @classmethod"
    yield "    def from_dict(cls, data: read.Json) -> Self:"
    yield '        """Read an answer, or a part of one."""'
    yield "        found = cls("
    for name, how in reads.items():
        line = f"            {name}={how},"
        if len(line) > 100:  # noqa: PLR2004 - the line length
            opening, _, arguments = line.removesuffix("),").partition("(")
            line = f"{opening}(\n                {arguments}\n            ),"
        yield line
    yield "        )"
    yield "        return read.with_rest(found, data)"


def _kind(shape: str, name: str, ours: str) -> tuple[str, str]:
    """The type of a field, and how it is read."""
    here = (shape, name)
    if name in DICTS:
        return _OBJECT, f'read.mapping(data, "{name}")'
    if name in MAYBE_DICTS:
        return f"{_OBJECT} | None", f'read.maybe_mapping(data, "{name}")'
    if here in FALLBACKS:
        return "str", f'read.text(data, "{name}", "{FALLBACKS[here]}")'
    if ours == "str":
        return "str", f'read.text(data, "{name}")'
    if ours in _STRINGS:
        elsewhere = f', "{ELSEWHERE[here]}"' if here in ELSEWHERE else ""
        return "str | None", f'read.maybe_text(data, "{name}"{elsewhere})'
    if ours in _NUMBERS | _FLAGS:
        kind, how = ("int", "whole") if ours in _NUMBERS else ("bool", "flag")
        if here in ASSUMED or ours in {"int", "bool"}:
            return kind, f'read.{how}(data, "{name}")'
        return f"{kind} | None", f'read.maybe_{how}(data, "{name}")'
    if ours == "object":
        return "object", f'read.anything(data, "{name}")'
    if ours == "tuple[str, ...]":
        return "list[str]", f'read.texts(data, "{name}")'
    return _nested(name, ours)


def _nested(name: str, ours: str) -> tuple[str, str]:
    theirs = {**{shape.ours: shape.name for shape in SHAPES}, **ALSO}
    for pattern, kind, how in (
        (r"(\w+)", "{0}", '{0}.from_dict(read.mapping(data, "{1}"))'),
        (r"(\w+) \| None", "{0} | None", 'read.one({0}.from_dict, data, "{1}")'),
        (r"tuple\[(\w+), \.\.\.\]", "list[{0}]", 'read.each({0}.from_dict, data, "{1}")'),
    ):
        found = re.fullmatch(pattern, ours)
        if found is not None and found[1] in theirs:
            return kind.format(theirs[found[1]]), how.format(theirs[found[1]], name)
    raise ValueError(f"no rule for {name}: {ours}")
