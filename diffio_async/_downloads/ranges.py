"""Which bytes of a result are there: stretches that meet become one."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from diffio_async._downloads.digests import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# ASCII: what the header had beside it may have been lost, and could not be sent back.
_STRONG = re.compile(r'"[!#-~]*"')
# Python itself refuses to read numbers of thousands of digits.
_SIZE = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@frozen
class ContentExtent:
    """The answer has bytes `start` to before `end` of a result of `total` (None where not told).

    `bounded` says that the end of the answer can be told from a connection that broke.
    """

    start: int
    end: int | None
    total: int | None
    bounded: bool


@frozen
class Representation:
    """What tells the bytes of one result from another's: those of one may be put together.

    `etag` is a strong one, and None where the host gave none; `total` is in bytes.
    """

    etag: str | None
    total: int | None
    digest: Digest | None = None


def parse_extent(status: int, headers: Mapping[str, str]) -> ContentExtent | None:
    """The extent of a 200 or 206; None where a 206 does not say which bytes it carries.

    Nor does one whose length is another than that of the bytes it names.
    """
    transfer = headers.get("transfer-encoding", "").lower().split(",")
    coded = [each.strip() for each in transfer if each.strip() not in {"", "identity"}]
    # Only a chunked body has an end of its own, and only where nothing was done to the chunks:
    # with `chunked, identity` the body ends where the connection does.
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
        # A part of a whole of unknown length ends nobody knows where.
        return ContentExtent(start=start, end=end + 1, total=total, bounded=total is not None)
    size = int(length) if _SIZE.fullmatch(length) else None
    return ContentExtent(start=0, end=size, total=size, bounded=chunked or size is not None)


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag, where it promises the same bytes: weak ones do not, and cannot resume."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG.fullmatch(etag) else None


def range_headers(start: int, end: int | None, etag: str) -> dict[str, str]:
    """Headers that ask for bytes of the same version, or else for all of the new one.

    Args:
        start: The first byte.
        end: Before which the bytes end; None for the end of the result.
        etag: Of the version whose other bytes are there.
    """
    last = "" if end is None else end - 1
    return {"Range": f"bytes={start}-{last}", "If-Range": etag}


def is_other_version(headers: Mapping[str, str], etag: str | None) -> bool:
    """Whether an answer says that its bytes are not of version `etag`; a part may say nothing."""
    return headers.get("etag", etag) != etag


def serves_ranges(headers: Mapping[str, str]) -> bool:
    """Whether an answer invites to ask for parts."""
    return "bytes" in headers.get("accept-ranges", "").lower()


@define(eq=False)
class Segment:
    """What one connection fetches: from byte `at`, which grows, to before `end`.

    `end` is None where nobody knows the result's length, and falls when another takes a part.
    """

    at: int
    end: int | None

    @property
    def remaining(self) -> int | None:
        """How many bytes are still to come, None where nobody knows."""
        return None if self.end is None else max(0, self.end - self.at)


@define
class RangeAllocator:
    """The bytes that are missing: those that are somebody's to fetch, and those that are not."""

    pending: list[tuple[int, int | None]] = field(factory=lambda: [(0, None)])
    active: list[Segment] = field(factory=list)

    @classmethod
    def of(cls, there: RangeSet, total: int | None) -> RangeAllocator:
        """What is missing where some bytes are there."""
        return cls() if total is None else cls(pending=list(there.gaps(total)))

    def acquire(self, least: int) -> Segment | None:
        """A share for one more connection: what is free, or half of what another has to fetch.

        None where there is nothing, or no half of at least `least` bytes.
        """
        if self.pending:
            share = Segment(*self.pending.pop(0))
        else:
            largest = max(self.active, key=lambda one: one.remaining or 0, default=None)
            if largest is None or largest.end is None or (largest.remaining or 0) < 2 * least:
                return None
            middle = largest.end - (largest.remaining or 0) // 2
            share, largest.end = Segment(middle, largest.end), middle
        self.active.append(share)
        return share

    def release(self, share: Segment) -> None:
        """Its connection fetches no more; what is left of it is for another.

        Best for the one whose bytes come right before: that may be getting them anyway.
        """
        self.active.remove(share)
        if share.remaining == 0:
            return
        for other in self.active:
            if other.end == share.at:
                other.end = share.end
                return
        self.pending.insert(0, (share.at, share.end))


class RangeSet:
    """Stretches of bytes, each from its first to before its last; they never touch."""

    def __init__(self, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in stretches:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return sum(self._ends) - sum(self._starts)

    @property
    def end(self) -> int:
        """Where the last stretch ends, 0 where there is none."""
        return self._ends[-1] if self._ends else 0

    def add(self, start: int, end: int) -> None:
        """Bytes `start` to before `end` are there now."""
        if end <= start:
            return
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def gaps(self, total: int) -> list[tuple[int, int]]:
        """What is missing of a whole of `total` bytes."""
        starts = [0, *self._ends]
        ends = [*self._starts, total]
        return [(s, min(e, total)) for s, e in zip(starts, ends, strict=True) if s < min(e, total)]

    def before(self, limit: int) -> RangeSet:
        """The bytes of these before `limit`."""
        return RangeSet((start, min(end, limit)) for start, end in self)
