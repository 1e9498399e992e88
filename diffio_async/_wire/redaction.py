"""Keep secrets out of logs, errors and reprs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "[redacted]"

# What looks like a secret of Diffio's or Svix's, wherever a server may echo it.
_LOOKS_SECRET = re.compile(r"\b(diffio_[A-Za-z0-9]+_[A-Za-z0-9_-]{6,}|whsec_[A-Za-z0-9+/=]{6,})")
# Signed links: everything after the question mark is the credential.
_SIGNED_QUERY = re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]+")


def public_url(url: str) -> str:
    """The URL without user, query and fragment: what may be shown."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with `secrets`, and whatever looks like one, masked."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return _SIGNED_QUERY.sub(r"\1?" + MASK, _LOOKS_SECRET.sub(MASK, text))
