"""Keep secrets out of logs, errors and reprs."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "[redacted]"

# What looks like a secret wherever a server may echo it: Diffio's keys, Svix's, signed tokens.
_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:diffio_[A-Za-z0-9]+_[A-Za-z0-9_-]{6,}|whsec_[A-Za-z0-9+/=]{6,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)"
)
_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_USER = re.compile(r"//[^/?#@]*@")
# Storage hosts also quote a signed link's parameters without the link.
_SIGNING = re.compile(
    r"\b((?:x-(?:amz|goog)-)?(?:signature|credential|security-token)|sig|token)=[^&\s\"'<>]+",
    re.IGNORECASE,
)
# Fields that are masked whole; their letters alone are compared.
_SECRET_FIELDS = frozenset(
    {
        *("accesstoken", "apikey", "authorization", "key", "password", "secret", "signingsecret"),
        *("token", "uploadtoken"),
    }
)


def public_url(url: str) -> str:
    """The URL without user, query and fragment: what may be shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "(no address)"
    if not host:
        # Without a host nothing tells a path from a password.
        return "(no address)"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with `secrets`, and whatever looks like one, masked."""
    # The longest first: one secret may begin with another.
    known = {way for s in secrets for way in _spellings(s) if way in text}
    if known:
        pattern = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        text = re.sub(pattern, MASK, text)
    text = _URL.sub(lambda found: _unsigned(found[0]), _LOOKS_SECRET.sub(MASK, text))
    return _SIGNING.sub(rf"\1={MASK}", text)


def scrubbed_json(value: object, secrets: Iterable[str] = ()) -> object:
    """Decoded JSON with every text in it scrubbed, and fields that are secrets masked whole."""
    secrets = tuple(secrets)

    def clean(item: object) -> object:
        if isinstance(item, str):
            return scrubbed(item, secrets)
        if isinstance(item, list):
            return [clean(each) for each in item]
        if isinstance(item, dict):
            return {
                scrubbed(name, secrets): MASK if held and _is_secret(name) else clean(held)
                for name, held in item.items()
            }
        return item

    try:
        return clean(value)
    except RecursionError:
        return "(nested too deeply to be kept)"


def _is_secret(name: str) -> bool:
    return re.sub(r"[^a-z]", "", name.lower()) in _SECRET_FIELDS


def _spellings(secret: str) -> set[str]:
    """The ways a server may write a secret back: as it is, in JSON, in HTML, in a URL."""
    if not secret:
        return set()
    return {
        secret,
        json.dumps(secret)[1:-1],
        html.escape(secret),
        quote(secret, safe=""),
        unquote(secret),
    }


def _unsigned(url: str) -> str:
    """The URL without its user and query; everything after the question mark is the credential."""
    address, mark, query = _USER.sub(f"//{MASK}@", url, count=1).partition("?")
    return f"{address}{mark}{MASK if query else ''}"
