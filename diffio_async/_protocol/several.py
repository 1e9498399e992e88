"""Parameters that take several strings."""

from __future__ import annotations

from collections.abc import Iterable

from diffio_async._validators import displayed
from diffio_async.errors import ConfigurationError


def several(values: object, name: str) -> tuple[str, ...]:
    """Return the strings of any iterable: a list, a set, the keys of a dict, a generator.

    One string alone is refused, because its letters would be taken for the values.

    Args:
        values: What the user passed.
        name: The parameter's name, for the message.

    Raises:
        ConfigurationError: It is one string, is not iterable, or has something else than
            non-empty strings.
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
