"""Models as plain data, ready for JSON."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import date
from enum import Enum

from attrs import AttrsInstance, fields, has

_HALF = re.compile("[\ud800-\udfff]")


class Plain:
    """What has `to_dict`."""

    __slots__ = ()

    def to_dict(self, *, camel_case: bool = False) -> dict[str, object]:
        """Return the model as plain data that `json.dumps` takes.

        Times are ISO 8601 strings, paths are strings (with U+FFFD where a name is not UTF-8),
        tuples are lists. What `repr` hides is left
        out: keys, tokens, signed URLs, and the bytes of a result. Fields of the API that this
        package does not know are under `extra`, as they came.

        Args:
            camel_case: Spell names as the API does (`apiProjectId`), and put the fields of `extra`
                beside the others.
        """
        return _to_dict(self, camel_case)


def _to_dict(model: object, camel_case: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    extra: object = None
    kind: type[AttrsInstance] = type(model)  # type: ignore[assignment]
    for attribute in fields(kind):
        value = getattr(model, attribute.name)
        if attribute.name == "extra":
            extra = value
        elif attribute.repr:
            name = camel(attribute.name) if camel_case else attribute.name
            found[name] = plain(value, camel_case)
    if isinstance(extra, Mapping):
        others = plain(extra, camel_case)
        if not camel_case:
            found["extra"] = others
        elif isinstance(others, dict):
            # A value of another type than its field's is kept there, and the field is None.
            odd = {name for name, each in found.items() if each is None and name in others}
            found |= {k: v for k, v in others.items() if k in odd or k not in found}
    return found


def plain(value: object, camel_case: bool = False) -> object:
    """Return a value as JSON has it."""
    match value:
        case str() if not isinstance(value, Enum):
            return _encodable(value)
        case None | bool() if not isinstance(value, Enum):
            return value
        case Enum():
            return plain(value.value, camel_case)
        case int():
            return int(value)
        case float():
            return value if math.isfinite(value) else None
        case date():
            return value.isoformat()
        case os.PathLike():
            return _encodable(os.fsdecode(value))
        case bytes() | bytearray() | memoryview():
            return bytes(value).decode("utf-8", "replace")
        case Mapping():
            return {_encodable(str(key)): plain(each, camel_case) for key, each in value.items()}
        case BaseException():
            return {"type": type(value).__name__, "message": _encodable(str(value))}
        case _ if has(type(value)):
            return _to_dict(value, camel_case)
        case Iterable():
            return [plain(each, camel_case) for each in value]
    return _encodable(str(value))


def _encodable(text: str) -> str:
    """Return text that can be encoded: file names that are not UTF-8 have halves of surrogates."""
    return _HALF.sub("\ufffd", text)


def camel(name: str) -> str:
    """Return a name in the API's spelling."""
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), name)
