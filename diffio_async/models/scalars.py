"""Values of JSON: each function returns the value where it has the type, and None where not."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

#: What a database and other languages hold as an integer.
_LARGEST = 2**63
_DIGITS = re.compile(r"[+-]?[0-9]{1,20}")
#: Characters of a number or a time stamp in a string; more is neither.
_LONGEST = 64
#: Characters of an id, a URL or a secret: no server takes longer ones in a request.
_LONGEST_TOKEN = 16_384
#: Fields of an error object that say what went wrong, the most readable first.
_REASONS = ("message", "detail", "title", "error", "code", "type")


class UnreadableNumber(str):
    """Text of a JSON number that has no value here: NaN, Infinity, 1e999 or thousands of digits.

    It is shown and stored like any other text, but it is not a string of the response.
    """

    __slots__ = ()


def text(value: object) -> str | None:
    """A string."""
    return value if isinstance(value, str) and not isinstance(value, UnreadableNumber) else None


def token(value: object) -> str | None:
    """A string that names something: not empty, and printable, with nothing lost in decoding.

    Ids, URLs and secrets are such strings. They are sent back, stored and shown, so a control
    character or half of a surrogate pair in one of them means a damaged response.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TOKEN:
        return None
    return value if value.isprintable() and "\ufffd" not in value else None


def flag(value: object) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None


def number(value: object) -> float | None:
    """A finite number, also from a string: "12.5" has been seen in the place of 12.5."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > _LONGEST:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(value: object) -> int | None:
    """An integer of at most 64 bits, also as 5.0 or "5"."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        # Not by way of a float, which is exact to 2**53 only.
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        found = number(value)
        if found is None or not found.is_integer():
            return None
        value = int(found)
    return value if -_LARGEST <= value < _LARGEST else None


def instant(value: object) -> datetime | None:
    """ISO 8601 as an aware datetime; a time stamp without a zone is UTC."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        # Fails where the offset leads out of the years 1 to 9999.
        found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found


def reason(value: object) -> str | None:
    """What an `error` says: the string itself, or the message or code of an object."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        found = (reason(value.get(name)) for name in _REASONS)
        return next((each for each in found if each is not None), None)
    return None
