"""Pure model of a result: its version and digest, byte ranges, and their assignment."""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# In order of preference: processors have instructions for SHA-256.
_DIGEST_SIZES = {"sha256": 32, "sha512": 64, "md5": 16}
_DIGEST_NAMES = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}

# `sha-256=:base64:`, with optional parameters, none of which is defined yet.
_DIGEST_FIELD = re.compile(r"\s*([a-z0-9-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;.*)?", re.IGNORECASE)
_PARTIAL = 206


@frozen
class Digest:
    """Hash of the complete result; `algorithm` is a name of `hashlib`."""

    algorithm: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


def digest_of(status: int, headers: Mapping[str, str]) -> Digest | None:
    """Return the preferred digest of the complete result in a response's headers, or None.

    Supports `Repr-Digest` and `Content-Digest` (RFC 9530), `Digest` (RFC 3230), `Content-MD5`, and
    the `x-goog-hash` of objects that are stored as they are sent. ETags are not used: for an upload
    in parts, an MD5 in an ETag is not a hash of the bytes.
    """
    found = [
        Digest(*candidate)
        for candidate in _candidates(status, headers)
        if len(candidate[1]) == _DIGEST_SIZES[candidate[0]]
    ]
    return min(found, key=lambda digest: list(_DIGEST_SIZES).index(digest.algorithm), default=None)


def parse_digest(text: str) -> Digest | None:
    """Return the digest for its text form, or None if it is invalid."""
    algorithm, _, value = text.partition(":")
    try:
        digest = Digest(algorithm, bytes.fromhex(value))
    except ValueError:
        return None
    return digest if len(digest.value) == _DIGEST_SIZES.get(algorithm) else None


def _candidates(status: int, headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    yield from _structured(headers.get("repr-digest", ""))
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        yield from _listed(headers.get("x-goog-hash", ""))
    if status == _PARTIAL:
        # In a partial response these may be digests of the part.
        return
    yield from _structured(headers.get("content-digest", ""))
    yield from _listed(headers.get("digest", ""))
    yield from _listed(f"md5={headers.get('content-md5', '')}")


def _structured(text: str) -> Iterator[tuple[str, bytes]]:
    for member in text.split(","):
        found = _DIGEST_FIELD.fullmatch(member)
        if found is not None:
            yield from _candidate(found[1], found[2])


def _listed(text: str) -> Iterator[tuple[str, bytes]]:
    for member in text.split(","):
        name, _, value = member.strip().partition("=")
        yield from _candidate(name, value)


def _candidate(name: str, value: str) -> Iterator[tuple[str, bytes]]:
    algorithm = _DIGEST_NAMES.get(name.strip().lower())
    if algorithm is not None:
        try:
            yield algorithm, base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            return


# ASCII only: other characters may have been lost, and could not be sent back.
_STRONG_ETAG = re.compile(r'"[!#-~]*"')

# Limited length: Python rejects numbers with thousands of digits.
_SIZE = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@frozen
class ContentExtent:
    """Byte range of a response: `start` to before `end`, of `total` bytes (None if unknown).

    `bounded` is true if the end of the response can be distinguished from a broken connection.
    """

    start: int
    end: int | None
    total: int | None
    bounded: bool


@frozen
class Representation:
    """Version of a result: ranges of one version may be combined.

    `etag` is a strong ETag, or None; `total` is the size in bytes, or None.
    """

    etag: str | None
    total: int | None
    digest: Digest | None = None


def parse_extent(status: int, headers: Mapping[str, str]) -> ContentExtent | None:
    """Return the extent of a 200 or 206 response.

    Return None for a 206 whose `Content-Range` is invalid or contradicts its `Content-Length`.
    """
    transfer = headers.get("transfer-encoding", "").lower().split(",")
    coded = [each.strip() for each in transfer if each.strip() not in {"", "identity"}]
    # A body is delimited only if `chunked` is the last coding: with `chunked, identity`, it ends
    # with the connection.
    chunked = coded == ["chunked"] and transfer[-1].strip() == "chunked"
    length = headers.get("content-length", "") if not coded else ""
    if status == 206:  # noqa: PLR2004 - Partial Content
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if found is None:
            return None
        start, end = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if end < start or (total is not None and end >= total):
            return None
        if _SIZE.fullmatch(length) and int(length) != end + 1 - start:
            return None
        # A range of a result of unknown length is not bounded.
        return ContentExtent(start=start, end=end + 1, total=total, bounded=total is not None)
    size = int(length) if _SIZE.fullmatch(length) else None
    return ContentExtent(start=0, end=size, total=size, bounded=chunked or size is not None)


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """Return the ETag if it is strong: a weak one does not guarantee equal bytes."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else None


def range_headers(start: int, end: int | None, etag: str) -> dict[str, str]:
    """Return headers that request a range of one version, or else the complete new version.

    Args:
        start: Offset of the first byte.
        end: Offset after the last byte; None for the end of the result.
        etag: ETag of the version of the bytes received so far.
    """
    last = "" if end is None else end - 1
    return {"Range": f"bytes={start}-{last}", "If-Range": etag}


def is_other_version(headers: Mapping[str, str], etag: str | None) -> bool:
    """Return whether a response has another ETag than `etag`; a 206 may have none."""
    return headers.get("etag", etag) != etag


def serves_ranges(headers: Mapping[str, str]) -> bool:
    """Return whether a response announces support for byte ranges."""
    return "bytes" in headers.get("accept-ranges", "").lower()


@define(eq=False)
class Segment:
    """Range that one connection fetches: from `at`, which grows, to before `end`.

    `end` is None while the size of the result is unknown. It shrinks when another connection
    acquires the second half.
    """

    at: int
    end: int | None

    @property
    def remaining(self) -> int | None:
        """Number of bytes not received yet, or None if unknown."""
        return None if self.end is None else max(0, self.end - self.at)


@define
class RangeAllocator:
    """Assigns the missing ranges of a download to connections.

    Attributes:
        pending: Ranges without a connection.
        active: Segments that connections are fetching.
    """

    pending: list[tuple[int, int | None]] = field(factory=lambda: [(0, None)])
    active: list[Segment] = field(factory=list)

    @classmethod
    def for_missing(cls, present: RangeSet, total: int | None) -> RangeAllocator:
        """Return an allocator for the bytes that are not in `present`."""
        return cls() if total is None else cls(pending=list(present.gaps(total)))

    def acquire(self, min_size: int) -> Segment | None:
        """Return a segment for one more connection: a pending range, or half of an active one.

        Return None if nothing is pending and no half has at least `min_size` bytes.
        """
        if self.pending:
            segment = Segment(*self.pending.pop(0))
        else:
            largest = max(self.active, key=lambda one: one.remaining or 0, default=None)
            if largest is None or largest.end is None or (largest.remaining or 0) < 2 * min_size:
                return None
            middle = largest.end - (largest.remaining or 0) // 2
            segment, largest.end = Segment(middle, largest.end), middle
        self.active.append(segment)
        return segment

    def release(self, segment: Segment) -> None:
        """Release a segment whose connection stopped; reassign its remaining bytes.

        The active segment that ends where they start gets them: its response may include them.
        """
        self.active.remove(segment)
        if segment.remaining == 0:
            return
        for other in self.active:
            if other.end == segment.at:
                other.end = segment.end
                return
        self.pending.insert(0, (segment.at, segment.end))


class RangeSet:
    """Set of byte offsets, stored as sorted ranges that neither overlap nor touch."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def size(self) -> int:
        """Number of bytes in the set."""
        return sum(self._ends) - sum(self._starts)

    @property
    def end(self) -> int:
        """Offset after the last byte, or 0 if the set is empty."""
        return self._ends[-1] if self._ends else 0

    def add(self, start: int, end: int) -> None:
        """Add bytes `start` to before `end`."""
        if end <= start:
            return
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def gaps(self, total: int) -> list[tuple[int, int]]:
        """Return the ranges missing from `total` bytes."""
        starts = [0, *self._ends]
        ends = [*self._starts, total]
        return [(s, min(e, total)) for s, e in zip(starts, ends, strict=True) if s < min(e, total)]

    def before(self, limit: int) -> RangeSet:
        """Return the bytes before `limit`."""
        return RangeSet((start, min(end, limit)) for start, end in self)
