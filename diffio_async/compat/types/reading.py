"""Read answers into results: what is absent has the stand-in it has in the guide's package."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from diffio_async.models import json_values

T = TypeVar("T")
Json = Mapping[str, object]


def text(data: Json, name: str, fallback: str | None = None) -> str:
    """A string that is due.

    Raises:
        DiffioInvalidResponse: It is not there, and nothing stands in for it.
    """
    value = data.get(name)
    if isinstance(value, str) and (value or fallback is None):
        return value
    if fallback is None:
        from diffio_async.compat.errors import DiffioInvalidResponse

        raise DiffioInvalidResponse(f"{name} is missing, or is no string", None, dict(data))
    return fallback


def opt_text(data: Json, name: str, elsewhere: str = "") -> str | None:
    """A string; where it is absent, the one at `elsewhere` (`upload.objectKey`)."""
    value = data.get(name)
    if isinstance(value, str):
        return value
    within, _, other = elsewhere.partition(".")
    inner = data.get(within)
    return opt_text(inner, other) if isinstance(inner, Mapping) else None


def bool_(data: Json, name: str) -> bool:
    """True or false; absent is false."""
    return opt_bool(data, name) or False


def opt_bool(data: Json, name: str) -> bool | None:
    """True, false or unknown."""
    return json_values.flag(data.get(name))


def int_(data: Json, name: str) -> int:
    """A whole number; absent is 0."""
    return opt_int(data, name) or 0


def opt_int(data: Json, name: str) -> int | None:
    """A number without its fraction, also from a string."""
    value = data.get(name)
    found = json_values.integer(value)
    number = json_values.number(value) if found is None else None
    return found if number is None else json_values.integer(float(int(number)))


def anything(data: Json, name: str) -> object:
    """Whatever is there."""
    return data.get(name)


def dict_(data: Json, name: str) -> dict[str, Any]:
    """An object with the API's own keys; an empty one where there is none."""
    return opt_dict(data, name) or {}


def opt_dict(data: Json, name: str) -> dict[str, Any] | None:
    """An object with the API's own keys."""
    value = data.get(name)
    return dict(value) if isinstance(value, Mapping) else None


def list_of_text(data: Json, name: str) -> list[str]:
    """A list of strings; an empty one where there is none."""
    value = data.get(name)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def opt_object(build: Callable[[Json], T], data: Json, name: str) -> T | None:
    """A result within the result; None where it lacks what it cannot do without."""
    value = data.get(name)
    from diffio_async.compat.errors import DiffioInvalidResponse

    with contextlib.suppress(DiffioInvalidResponse):
        return build(value) if isinstance(value, Mapping) else None
    return None


def list_of(build: Callable[[Json], T], data: Json, name: str) -> list[T]:
    """Results within the result; an empty list where there is none."""
    value = data.get(name)
    items = value if isinstance(value, list) else []
    return [build(item) for item in items if isinstance(item, Mapping)]


def with_rest(result: T, data: Json) -> T:
    """The result, with all in `extra` that the API said and no other field says."""
    model: Any = result
    known = attrs.fields_dict(type(model))
    extra = {
        name: value
        for name, value in data.items()
        if name not in known or _is_lost(value, getattr(model, name))
    }
    return attrs.evolve(model, extra=extra) if extra else result


def _is_lost(value: object, read: object) -> bool:
    """Whether a stand-in took a value's place, because it is of another type than its field."""
    if value is None or read == value:
        return False
    if isinstance(value, list) and isinstance(read, list):
        return len(value) != len(read)
    return not read or (isinstance(read, str) and not isinstance(value, str))
