"""How fast bytes go, over the last few seconds."""

from __future__ import annotations

from collections import deque

from attrs import define, field

#: Seconds that are looked back on: long enough to be calm, short enough to show a change.
WINDOW = 5.0
#: Seconds before a rate is reported: the first bytes only fill buffers.
SHORTEST = 0.25
#: How many samples of a window are kept, however often it is updated.
MAX_SAMPLES = 32


@define
class ThroughputMeter:
    """Bytes a second over a sliding window; one for each transfer.

    Attributes:
        window: Seconds that are looked back on.
    """

    window: float = WINDOW
    _moments: deque[tuple[float, int]] = field(factory=deque, init=False)

    def update(self, done: int, now: float) -> float | None:
        """The rate, in bytes a second, given that `done` bytes are through at `now` (seconds).

        None in the first quarter of a second. What is counted back (a part that is sent again) is
        no progress: the rate is never below 0.
        """
        moments = self._moments
        if not moments or now - moments[-1][0] >= self.window / MAX_SAMPLES:
            moments.append((now, done))
        while len(moments) > 1 and moments[1][0] <= now - self.window:
            moments.popleft()
        began, before = moments[0]
        span = now - began
        return max(0, done - before) / span if span >= SHORTEST else None
