"""What numbers in options may be: validators that say which option is wrong, and how."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from attrs import Attribute


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def non_negative(_: object, attribute: Attribute[Any], value: object) -> None:
    """0 or more seconds."""
    if not (is_number(value) and value >= 0):
        raise ConfigurationError(f"{attribute.name} must be 0 or more seconds, not {value!r}")


def positive(_: object, attribute: Attribute[Any], value: object) -> None:
    """More than 0 seconds."""
    # 0 is no time-out to aiohttp, and no time at all to asyncio: nobody can mean both.
    if not (is_number(value) and value > 0):
        raise ConfigurationError(f"{attribute.name} must be above 0 seconds, not {value!r}")


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
        raise ConfigurationError(f"{attribute.name} must be 1 or more, not {value!r}")


def non_negative_int(_: object, attribute: Attribute[Any], value: object) -> None:
    """A whole number from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"{attribute.name} must be 0 or more, not {value!r}")


def positive_number(_: object, attribute: Attribute[Any], value: object) -> None:
    """A number above 0."""
    if not (is_number(value) and value > 0):
        raise ConfigurationError(f"{attribute.name} must be above 0, not {value!r}")
