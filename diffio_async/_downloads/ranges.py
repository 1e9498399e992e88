"""Byte ranges of a download, and their assignment to connections."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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
