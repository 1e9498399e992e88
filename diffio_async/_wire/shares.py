"""Who fetches which bytes of a result, when several connections do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from diffio_async._wire.spans import Spans


@define(eq=False)
class Share:
    """What one connection fetches: from byte `at`, which grows, to before `end`.

    `end` is None where nobody knows the result's length, and falls when another takes a part.
    """

    at: int
    end: int | None

    @property
    def left(self) -> int | None:
        """How many bytes are still to come, None where nobody knows."""
        return None if self.end is None else max(0, self.end - self.at)


@define
class Shares:
    """The bytes that are missing: those that are somebody's to fetch, and those that are not."""

    free: list[tuple[int, int | None]] = field(factory=lambda: [(0, None)])
    taken: list[Share] = field(factory=list)

    @classmethod
    def of(cls, there: Spans, total: int | None) -> Shares:
        """What is missing where some bytes are there."""
        return cls() if total is None else cls(free=list(there.gaps(total)))

    def take(self, least: int) -> Share | None:
        """A share for one more connection: what is free, or half of what another has to fetch.

        None where there is nothing, or no half of at least `least` bytes.
        """
        if self.free:
            share = Share(*self.free.pop(0))
        else:
            largest = max(self.taken, key=lambda one: one.left or 0, default=None)
            if largest is None or largest.end is None or (largest.left or 0) < 2 * least:
                return None
            middle = largest.end - (largest.left or 0) // 2
            share, largest.end = Share(middle, largest.end), middle
        self.taken.append(share)
        return share

    def give_back(self, share: Share) -> None:
        """Its connection fetches no more; what is left of it is for another.

        Best for the one whose bytes come right before: that may be getting them anyway.
        """
        self.taken.remove(share)
        if share.left == 0:
            return
        for other in self.taken:
            if other.end == share.at:
                other.end = share.end
                return
        self.free.insert(0, (share.at, share.end))
