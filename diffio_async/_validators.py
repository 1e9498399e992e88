"""Validators of options and arguments; their errors name the parameter and what it must be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

from diffio_async._error_base import ConfigurationError

if TYPE_CHECKING:
    from attrs import Attribute

_MAX_DISPLAYED = 80


def is_number(value: object) -> TypeGuard[float]:
    """Return whether the value is a finite number that a float can hold, and no bool."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def displayed(value: object) -> str:
    """Return the value as messages show it: Python refuses to print integers of many digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _MAX_DISPLAYED else f"{text[:_MAX_DISPLAYED]}…"


def several(values: object, name: str) -> tuple[str, ...]:
    """Return the strings of any iterable: a list, a set, the keys of a dict, a generator.

    One string alone is refused, because its letters would be taken for the values.

    Raises:
        ConfigurationError: It is one string, is not iterable, or contains something else than
            non-empty strings. The message contains `name`, the parameter's.
    """
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise ConfigurationError(
            f"{name} must be several words, such as a list of strings, not {displayed(values)}"
        )
    held = tuple(values)
    for value in held:
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{name} must be words, and {displayed(value)} is not one")
    return held


def require_strings(values: object, name: str) -> list[str]:
    """Return one or more strings as a list.

    Raises:
        ConfigurationError: As `several`, or there are no values.
    """
    found = several(values, name)
    if not found:
        raise ConfigurationError(f"{name} must be one or more words")
    return list(found)


def non_negative(_: object, attribute: Attribute[Any], value: object) -> None:
    """0 or more seconds."""
    if not (is_number(value) and value >= 0):
        raise ConfigurationError(
            f"{attribute.name} must be 0 or more seconds, not {displayed(value)}"
        )


def positive(_: object, attribute: Attribute[Any], value: object) -> None:
    """More than 0 seconds."""
    # 0 is no time-out to aiohttp, and no time at all to asyncio: nobody can mean both.
    if not (is_number(value) and value > 0):
        raise ConfigurationError(
            f"{attribute.name} must be above 0 seconds, not {displayed(value)}"
        )


def optional_non_negative(instance: object, attribute: Attribute[Any], value: object) -> None:
    """0 or more seconds, or None."""
    if value is not None:
        non_negative(instance, attribute, value)


def optional_positive(instance: object, attribute: Attribute[Any], value: object) -> None:
    """More than 0 seconds, or None."""
    if value is not None:
        positive(instance, attribute, value)


def non_negative_or_none(instance: object, attribute: Attribute[Any], value: object) -> None:
    """0 or more seconds, None, or infinity."""
    if value != math.inf:
        optional_non_negative(instance, attribute, value)


def positive_int(_: object, attribute: Attribute[Any], value: object) -> None:
    """A whole number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{attribute.name} must be 1 or more, not {displayed(value)}")


def non_negative_int(_: object, attribute: Attribute[Any], value: object) -> None:
    """A whole number from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"{attribute.name} must be 0 or more, not {displayed(value)}")


def positive_number(_: object, attribute: Attribute[Any], value: object) -> None:
    """A number above 0."""
    if not (is_number(value) and value > 0):
        raise ConfigurationError(f"{attribute.name} must be above 0, not {displayed(value)}")
