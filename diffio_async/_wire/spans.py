"""Which bytes of a result are there: stretches that meet become one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Spans:
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

    def before(self, limit: int) -> Spans:
        """The bytes of these before `limit`."""
        return Spans((start, min(end, limit)) for start, end in self)
