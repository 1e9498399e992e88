"""What an answer says its bytes hash to, where it does: the whole result, not one part of it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The fastest of the strong ones first: a processor has instructions for it.
_SIZES = {"sha256": 32, "sha512": 64, "md5": 16}
_NAMES = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
# `sha-256=:base64:`, with parameters that nobody has defined yet.
_FIELD = re.compile(r"\s*([a-z0-9-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;.*)?", re.IGNORECASE)
_PARTIAL = 206


@frozen
class Digest:
    """A hash of the whole result: `algorithm` as `hashlib` calls it."""

    algorithm: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


def digest_of(status: int, headers: Mapping[str, str]) -> Digest | None:
    """The best digest that the answer tells of the whole result, None where it tells none.

    Read are `Repr-Digest` and `Content-Digest` (RFC 9530), `Digest` (RFC 3230), `Content-MD5`, and
    the `x-goog-hash` of objects that are stored as they are sent. The MD5 that some hosts make
    their ETag of is not: of an upload in parts it is no hash of the bytes.
    """
    found = [
        Digest(*told) for told in _candidates(status, headers) if len(told[1]) == _SIZES[told[0]]
    ]
    return min(found, key=lambda digest: list(_SIZES).index(digest.algorithm), default=None)


def parse_digest(text: str) -> Digest | None:
    """The digest that was written down as text."""
    algorithm, _, value = text.partition(":")
    try:
        digest = Digest(algorithm, bytes.fromhex(value))
    except ValueError:
        return None
    return digest if len(digest.value) == _SIZES.get(algorithm) else None


def _candidates(status: int, headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    yield from _structured(headers.get("repr-digest", ""))
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        yield from _listed(headers.get("x-goog-hash", ""))
    if status == _PARTIAL:
        # Of a part these are, or may be, the part's own.
        return
    yield from _structured(headers.get("content-digest", ""))
    yield from _listed(headers.get("digest", ""))
    yield from _listed(f"md5={headers.get('content-md5', '')}")


def _structured(text: str) -> Iterator[tuple[str, bytes]]:
    for member in text.split(","):
        found = _FIELD.fullmatch(member)
        if found is not None:
            yield from _candidate(found[1], found[2])


def _listed(text: str) -> Iterator[tuple[str, bytes]]:
    for member in text.split(","):
        name, _, value = member.strip().partition("=")
        yield from _candidate(name, value)


def _candidate(name: str, value: str) -> Iterator[tuple[str, bytes]]:
    algorithm = _NAMES.get(name.strip().lower())
    if algorithm is not None:
        try:
            yield algorithm, base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            return
