"""Values of JSON: models to plain data, JSON to the types of fields, and listings."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from importlib import import_module
from typing import TypeVar

from attrs import AttrsInstance, field, fields, frozen, has, resolve_types

from diffio_async._store_url import StoreUrl

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")
#: Limit of a signed 64-bit integer, which databases and other languages hold.
_INTEGER_LIMIT = 2**63
_DIGITS = re.compile(r"[+-]?[0-9]{1,20}")
#: Maximum characters of a number or a time stamp in a string.
_MAX_SCALAR = 64
#: Maximum characters of an id, a URL or a secret: servers refuse longer ones in a request.
_MAX_TOKEN = 16_384
#: Fields of an error object that have the reason, the most readable first.
_REASONS = ("message", "detail", "title", "error", "code", "type")


class Plain:
    """Base of all models, events and outcomes: conversion to plain data."""

    # Subclasses would append it after their own slots, and `structuring` could not fill a model.
    __slots__ = ("__weakref__",)

    def to_dict(self, *, camel_case: bool = False) -> dict[str, object]:
        """Return the model as plain data for `json.dumps`.

        Times become ISO 8601 strings, paths become strings (with U+FFFD for bytes that are not
        UTF-8), tuples become lists. What `repr` hides is left out: keys, tokens, signed URLs, and
        the bytes of a result. Fields of the API that this package does not know are unchanged
        under `extra`.

        Args:
            camel_case: Spell names as the API does (`apiProjectId`), and merge `extra` into the
                other fields.
        """
        return _to_dict(self, camel_case)


def notebook_html(result: Plain) -> str | None:
    """Return how a notebook displays a result: players, pictures and levels; None if it cannot."""
    # Imported by name: displays are in a higher layer, and no program but a notebook needs them.
    html: str | None = import_module("diffio_async.notebook").recordings_html([result])
    return html


@frozen(kw_only=True)
class ApiModel(Plain):
    """Base of the models that are parsed from responses of the API.

    Attributes:
        extra: Fields of the response that the model does not have, and values of an unexpected
            type, by the API's names (camelCase).
    """

    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


# The annotations of inherited constructors resolve in modules that do not import `Mapping`.
resolve_types(ApiModel)


class ListResponse(list[T]):
    """Rows of a listing.

    Attributes:
        extra: The other fields of the response, by the API's names, such as a page token.
    """

    extra: Mapping[str, object]

    def __init__(self, rows: Iterable[T] = (), extra: Mapping[str, object] | None = None) -> None:
        super().__init__(rows)
        self.extra = {} if extra is None else extra


def _to_dict(model: object, camel_case: bool) -> dict[str, object]:
    result: dict[str, object] = {}
    extra: object = None
    kind: type[AttrsInstance] = type(model)  # type: ignore[assignment]
    for attribute in fields(kind):
        value = getattr(model, attribute.name)
        if attribute.name == "extra":
            extra = value
        elif attribute.repr:
            name = camel(attribute.name) if camel_case else attribute.name
            result[name] = plain(value, camel_case)
    if isinstance(extra, Mapping):
        others = plain(extra, camel_case)
        if not camel_case:
            result["extra"] = others
        elif isinstance(others, dict):
            # A value of an unexpected type is in `extra`, and its field is None.
            odd = {name for name, each in result.items() if each is None and name in others}
            result |= {k: v for k, v in others.items() if k in odd or k not in result}
    return result


def plain(value: object, camel_case: bool = False) -> object:
    """Return a value as plain data for `json.dumps`."""
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
        case StoreUrl():
            return str(value)
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


def _encodable(string: str) -> str:
    """Replace lone surrogates, which file names that are not UTF-8 have, so that it encodes."""
    return _SURROGATE.sub("\ufffd", string)


def camel(name: str) -> str:
    """Return a name in the API's spelling: `api_project_id` becomes `apiProjectId`."""
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), name)


class UnreadableNumber(str):
    """Text of a JSON number without a value in Python: NaN, Infinity, 1e999, thousands of digits.

    It is displayed and stored like other text, but it is not a string of the response.
    """

    __slots__ = ()


def text(value: object) -> str | None:
    """Return a string, None for other types."""
    return value if isinstance(value, str) and not isinstance(value, UnreadableNumber) else None


def token(value: object) -> str | None:
    """Return an id, URL or secret: a string that is printable and not blank; None for others.

    Such strings are sent back, stored and displayed, so a control character or a lone surrogate in
    one of them means a damaged response.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TOKEN:
        return None
    return value if value.isprintable() and "\ufffd" not in value else None


def flag(value: object) -> bool | None:
    """Return a bool, None for other types."""
    return value if isinstance(value, bool) else None


def number(value: object) -> float | None:
    """Return a finite number, also from a string (servers have sent "12.5"); None for others."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > _MAX_SCALAR:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(value: object) -> int | None:
    """Return an integer of at most 64 bits, also from 5.0 and "5"; None for others."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        # Not converted through a float, which is exact up to 2**53 only.
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        found = number(value)
        if found is None or not found.is_integer():
            return None
        value = int(found)
    return value if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else None


def instant(value: object) -> datetime | None:
    """Return an ISO 8601 time stamp as an aware datetime (UTC without a zone); None for others."""
    if not isinstance(value, str) or len(value) > _MAX_SCALAR:
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        # Fails if the offset moves it out of the years 1 to 9999.
        found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found


def reason(value: object) -> str | None:
    """Return the text of an `error` field: the string itself, or an object's message or code."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        found = (reason(value.get(name)) for name in _REASONS)
        return next((each for each in found if each is not None), None)
    return None
