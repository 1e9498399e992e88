"""Parsing of responses into results, with the default values of the published package."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from diffio_async.models import json_values

T = TypeVar("T")
Json = Mapping[str, object]


def text(data: Json, name: str, fallback: str | None = None) -> str:
    """Return a string, or the fallback.

    Raises:
        DiffioInvalidResponse: It is missing, and there is no fallback.
    """
    value = data.get(name)
    if isinstance(value, str) and (value or fallback is None):
        return value
    if fallback is None:
        from diffio_async.compat.errors import DiffioInvalidResponse

        raise DiffioInvalidResponse(f"{name} is missing, or is not a string", None, dict(data))
    return fallback


def opt_text(data: Json, name: str, elsewhere: str = "") -> str | None:
    """Return a string, from `elsewhere` (`upload.objectKey`) if it is absent."""
    value = data.get(name)
    if isinstance(value, str):
        return value
    within, _, other = elsewhere.partition(".")
    inner = data.get(within)
    return opt_text(inner, other) if isinstance(inner, Mapping) else None


def bool_(data: Json, name: str) -> bool:
    """Return a boolean; False if it is absent."""
    return opt_bool(data, name) or False


def opt_bool(data: Json, name: str) -> bool | None:
    """Return a boolean or None."""
    return json_values.flag(data.get(name))


def int_(data: Json, name: str) -> int:
    """Return an integer; 0 if it is absent."""
    return opt_int(data, name) or 0


def opt_int(data: Json, name: str) -> int | None:
    """Return a number without its fraction, also from a string."""
    value = data.get(name)
    found = json_values.integer(value)
    number = json_values.number(value) if found is None else None
    return found if number is None else json_values.integer(float(int(number)))


def anything(data: Json, name: str) -> object:
    """Return the value as it is."""
    return data.get(name)


def dict_(data: Json, name: str) -> dict[str, Any]:
    """Return an object with the keys of the API; empty if it is absent."""
    return opt_dict(data, name) or {}


def opt_dict(data: Json, name: str) -> dict[str, Any] | None:
    """Return an object with the keys of the API, or None."""
    value = data.get(name)
    return dict(value) if isinstance(value, Mapping) else None


def list_of_text(data: Json, name: str) -> list[str]:
    """Return a list of strings; empty if it is absent."""
    value = data.get(name)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def opt_object(build: Callable[[Json], T], data: Json, name: str) -> T | None:
    """Return a nested result; None if a required field is missing."""
    value = data.get(name)
    from diffio_async.compat.errors import DiffioInvalidResponse

    with contextlib.suppress(DiffioInvalidResponse):
        return build(value) if isinstance(value, Mapping) else None
    return None


def list_of(build: Callable[[Json], T], data: Json, name: str) -> list[T]:
    """Return a list of nested results; empty if it is absent."""
    value = data.get(name)
    items = value if isinstance(value, list) else []
    return [build(item) for item in items if isinstance(item, Mapping)]


def with_rest(result: T, data: Json) -> T:
    """Return the result with every value that no field contains in `extra`."""
    model: Any = result
    known = attrs.fields_dict(type(model))
    extra = {
        name: value
        for name, value in data.items()
        if name not in known or _is_lost(value, getattr(model, name))
    }
    return attrs.evolve(model, extra=extra) if extra else result


def _is_lost(value: object, read: object) -> bool:
    """Return whether a default replaced a value that has another type than its field."""
    if value is None or read == value:
        return False
    if isinstance(value, list) and isinstance(read, list):
        return len(value) != len(read)
    return not read or (isinstance(read, str) and not isinstance(value, str))
