"""The three headers of a delivery: read with care, refused with a reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async.errors import WebhookRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The two families of names under which the three headers come.
FAMILIES = ("svix-", "webhook-")
NAMES = ("id", "timestamp", "signature")
#: A time stamp is whole seconds; fifteen digits reach beyond what a date can say.
_SECONDS = re.compile(r"-?[0-9]{1,15}")


def read_headers(headers: Mapping[str, object]) -> tuple[str, str, str]:
    """Id, time stamp and signatures of a delivery, each from either family of names.

    Raises:
        WebhookRejected: One is absent, or the headers are no mapping of names to texts.
    """
    try:
        lower: dict[str, object] = {str(name).lower(): each for name, each in headers.items()}
    except (AttributeError, TypeError, ValueError):
        raise WebhookRejected(
            "headers must be a mapping of names to values, not a "
            f"{type(headers).__name__}: pass the request's headers, or dict(pairs)",
            reason="missing_header",
        ) from None
    missing: list[str] = []
    found: list[str] = []
    for name in NAMES:
        given = [lower[prefix + name] for prefix in FAMILIES if prefix + name in lower]
        value = next((v for v in given if isinstance(v, str) and v.strip()), None)
        if value is not None:
            found.append(value.strip())
        elif odd := next((v for v in given if v is not None and not isinstance(v, str)), None):
            missing.append(f"svix-{name} is a {type(odd).__name__}, and a str is due")
        else:
            missing.append(f"svix-{name} is missing")
    if missing:
        raise WebhookRejected(
            f"{', '.join(missing)}: was the request sent by Diffio, and are its headers passed on?",
            reason="missing_header",
        )
    return found[0], found[1], found[2]


def parse_timestamp(stamp: str) -> int:
    """A time stamp header in seconds since the epoch.

    Raises:
        ValueError: It is none.
    """
    if not _SECONDS.fullmatch(stamp):
        raise ValueError("whole seconds since the epoch are due")
    return int(stamp)


@frozen
class NonstandardHeader:
    """A header that came in a form no verifier reads: what it is, and how it came."""

    name: str
    received_as: str


def recover_headers(
    headers: Mapping[str, object],
) -> tuple[dict[str, str], list[NonstandardHeader]]:
    """What the three values are even so: under names that servers make of them, in lists of one."""
    values: dict[str, str] = {}
    odd: list[NonstandardHeader] = []
    for name in NAMES:
        known = {family + name for family in FAMILIES}
        for spelled, value in headers.items():
            lower = str(spelled).lower()
            short = lower.replace("_", "-").removeprefix("http-").removeprefix("x-")
            text = value[0] if isinstance(value, list) and len(value) == 1 else value
            if short not in known or name in values or not isinstance(text, str):
                continue
            if not text.strip():
                continue
            if short != lower:
                odd.append(NonstandardHeader(name, f"as {spelled!r}"))
            if text is not value:
                odd.append(NonstandardHeader(name, "as a list"))
            values[name] = text.strip()
    return values, odd
