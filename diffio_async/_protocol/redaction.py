"""Masking of secrets in logs, errors and reprs."""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "[redacted]"

#: Characters of a text that are searched by default.
MAX_TEXT = 4000
#: Characters of one text that errors keep, and of all texts of one body together.
MAX_EXCERPT, MAX_KEPT = 2000, 8000
#: Characters of a text that a message quotes.
_MAX_IN_MESSAGE = 300
#: Characters that a value counts in addition to its text; levels and integers that are kept.
_COST = 8
_DEEPEST = 50
_LONG = 10**40
#: Characters of a field's name that are compared.
_LONGEST_NAME = 100

# Texts that look like a secret: keys of Diffio and Svix, signed tokens.
_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:diffio_[A-Za-z0-9]{1,64}_[A-Za-z0-9_-]{6,}|whsec_[A-Za-z0-9+/=]{6,}"
    # The first part alone is enough: a token may be cut, and one that need not match to its end
    # is not searched for its end again from within.
    r"|eyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9_.-]*)"
)
_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
# What most calls have: nothing to leave out, so that it need not be parsed.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9.-]+(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?/[A-Za-z0-9._~/-]*"
)
_USER = re.compile(r"//[^/?#@]*@")
# Storage hosts also quote the parameters of a signed link without the link.
_SIGNING = re.compile(
    r"\b((?:x-(?:amz|goog)-)?(?:signature|credential|security-token)|sig|token)=[^&\s\"'<>]+",
    re.IGNORECASE,
)
# Names of fields whose values are masked; only their letters are compared.
_SECRET_FIELDS = frozenset(
    {
        *("accesstoken", "apikey", "authorization", "key", "password", "secret", "signingsecret"),
        *("token", "uploadtoken"),
    }
)


def public_url(url: str) -> str:
    """Return the URL without user, query and fragment, for logs and errors."""
    if _PLAIN_URL.fullmatch(url):
        return url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "(no address)"
    if not host:
        # Without a host a path cannot be distinguished from a password.
        return "(no address)"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"


def redact(text: str, secrets: Iterable[str] = (), limit: int = MAX_TEXT) -> str:
    """Return the first `limit` characters, with `secrets` and texts that look like one masked."""
    return Scrubber(secrets).text(text, limit)


def masked_excerpt(text: str) -> str:
    """Return text of a server for a message: cut to 300 characters, with secrets masked."""
    found = redact(text)
    return found if len(found) <= _MAX_IN_MESSAGE else f"{found[:_MAX_IN_MESSAGE]}…"


def message_excerpt(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text of a server as one short line for a message, with secrets masked."""
    text = redact(text, secrets, MAX_EXCERPT)
    # Control characters of terminals are removed.
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MAX_IN_MESSAGE else f"{text[:_MAX_IN_MESSAGE]}…"


def redacted_excerpt(content: object, secrets: Iterable[str] = ()) -> object:
    """Return parsed content for an error: with secrets masked, and a few KB at most."""
    scrubber = Scrubber(secrets)
    if isinstance(content, str):
        return scrubber.text(content, MAX_EXCERPT)
    return scrubber.json(content, MAX_KEPT, MAX_EXCERPT)


class Scrubber:
    """Masks the same secrets in many texts. Each text is cut before it is searched."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known, self._longest = _known_pattern(frozenset(secrets))

    def text(self, text: str, limit: int = MAX_TEXT) -> str:
        """Return the first `limit` characters without secrets."""
        # Searched beyond the limit, to find secrets that start before it.
        if self._known is not None and self._known.search(text, 0, limit + self._longest):
            text = self._without_known(text, limit)
        text = _LOOKS_SECRET.sub(MASK, text[:limit])
        # The checks are faster than a search, and most texts are ids and short messages.
        if "://" in text:
            text = _URL.sub(lambda found: _unsigned(found[0]), text)
        if "=" in text:
            text = _SIGNING.sub(rf"\1={MASK}", text)
        return text[:limit]

    def _without_known(self, text: str, limit: int) -> str:
        pieces, at = list[str](), 0
        for found in self._known.finditer(text[: limit + self._longest]) if self._known else ():
            if found.start() >= limit:
                break
            pieces += [text[at : found.start()], MASK]
            at = found.end()
        return "".join([*pieces, text[at:limit]])

    def json(self, value: object, budget: int, limit: int = MAX_TEXT) -> object:
        """Return decoded JSON with each text redacted and cut, and secret fields masked.

        Args:
            value: The JSON.
            budget: Characters that are kept in all; the rest is omitted.
            limit: Characters of one text.
        """
        left = budget

        def clean(item: object, depth: int = 0) -> object:
            nonlocal left
            if depth > _DEEPEST:
                return "(nested too deeply to be kept)"
            if isinstance(item, str):
                shown = self.text(item, min(limit, max(left, 0)))
                left -= len(shown) + _COST
                return shown
            left -= _COST
            if isinstance(item, list):
                # The rest of the budget limits the work as well.
                return [clean(each, depth + 1) for each in takewhile(lambda _: left > 0, item)]
            if isinstance(item, dict):
                return {
                    clean(name, depth): (
                        MASK if held and _is_secret(name) else clean(held, depth + 1)
                    )
                    for name, held in takewhile(lambda _: left > 0, item.items())
                }
            if isinstance(item, int) and not -_LONG < item < _LONG:
                return "(a number of many digits)"
            return item

        return clean(value)


def _is_secret(name: str) -> bool:
    return re.sub(r"[^a-z]", "", name[:_LONGEST_NAME].lower()) in _SECRET_FIELDS


@lru_cache(maxsize=64)
def _known_pattern(secrets: frozenset[str]) -> tuple[re.Pattern[str] | None, int]:
    """Return a pattern of all spellings of secrets, and the length of the longest."""
    # The longest first: one secret may begin with another.
    ways = sorted({way for each in secrets for way in _encodings(each)}, key=len, reverse=True)
    return (re.compile("|".join(map(re.escape, ways))), len(ways[0])) if ways else (None, 0)


def _encodings(secret: str) -> set[str]:
    """Return the spellings of a secret that a server may send: plain, JSON, HTML, URL."""
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
    """Return the URL without its user and query; a signed query is a credential."""
    address, mark, query = _USER.sub(f"//{MASK}@", url, count=1).partition("?")
    return f"{address}{mark}{MASK if query else ''}"
