"""Byte ranges of a download, and the number of connections that fetch them."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async.options import MIB

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


#: Minimum length of a measurement: in seconds, and as a multiple of the connect time.
_MIN_SAMPLE_SECONDS, _CONNECT_TIME_FACTOR = 0.4, 2.0

#: Seconds to wait for the first bytes of new connections before measuring.
_SETTLE_SECONDS = 5.0

#: Required growth of the rate when the number of connections doubles.
_MIN_GAIN = 1.25

#: Bytes per second of one connection above which it is not considered a bottleneck.
_FAST_RATE = 100 * MIB

#: Share of time that the loop's thread may use the CPU; above it, the CPU is the bottleneck.
_MAX_CPU_SHARE = 0.85

#: Minimum estimated seconds left for which more connections are opened.
_MIN_SECONDS_LEFT = 1.5

#: Seconds before more connections are tried again after no gain or throttling.
_RETRY_AFTER_SECONDS = 60.0


@define
class ConnectionScaler:
    """Adaptive number of connections of one download. Pure: time is an argument.

    One connection is enough where the link or the CPU is the bottleneck. Where each connection is
    limited (a long link, a host that throttles), more of them add throughput: their number doubles
    while that helps.

    Attributes:
        max: Upper bound of the target.
        target: Desired number of connections.
    """

    max: int
    target: int = 1
    #: Bytes per second before the last increase, until its gain is known.
    _previous_rate: float | None = None
    _changed_at: float | None = None
    _measured_from: float | None = None
    _done: int = 0
    _cpu_time: float = 0.0
    _cooldown_until: float = field(default=-math.inf)

    def sample(self, now: float, done: int, remaining: int, active: int, cpu_time: float) -> int:
        """Update the target from one sample and return it.

        Args:
            now: Seconds on a monotonic clock.
            done: Bytes received by all connections.
            remaining: Bytes not received yet.
            active: Connections that are receiving bytes.
            cpu_time: CPU seconds of the event loop's thread, from any starting point.
        """
        if self._changed_at is None:
            self._changed_at = now
        if self._measured_from is None:
            # The rate while connections open and warm up is not representative.
            if active < self.target and now - self._changed_at < _SETTLE_SECONDS:
                return self.target
            self._measured_from, self._done, self._cpu_time = now, done, cpu_time
        elapsed = now - self._measured_from
        if now < self._cooldown_until or elapsed < max(
            _MIN_SAMPLE_SECONDS, _CONNECT_TIME_FACTOR * (self._measured_from - self._changed_at)
        ):
            return self.target
        rate, previous = (done - self._done) / elapsed, self._previous_rate
        self._previous_rate = self._changed_at = self._measured_from = None
        if previous is not None and rate < previous * _MIN_GAIN:
            # Connections are not closed, but those that end are not replaced.
            self.on_throttled(now)
        elif (
            self.target < self.max
            and 0 < rate < _FAST_RATE * self.target
            and remaining > _MIN_SECONDS_LEFT * rate
            and cpu_time - self._cpu_time < _MAX_CPU_SHARE * elapsed
        ):
            self._previous_rate, self.target = rate, min(self.max, 2 * self.target)
        return self.target

    def on_throttled(self, now: float) -> None:
        """Halve the target: more connections do not help, or the host throttles."""
        self.target = max(1, self.target // 2)
        self._previous_rate = self._changed_at = self._measured_from = None
        self._cooldown_until = now + _RETRY_AFTER_SECONDS
