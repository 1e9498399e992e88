"""How many questions a client may ask: so many a second, some more after a quiet time."""

from __future__ import annotations

from collections import deque

#: Requests do not travel at one speed: what was sent a second apart arrives a bit closer.
_WINDOW = 1.02
#: What floats lose must not cost another turn.
_INSTANT = 1e-6


class RateLimiter:
    """Questions a second, of all loops together; instants are `time.monotonic()`.

    Never more than `rate + burst` in any second, and `rate` in the long run. There is no lock: two
    loops in two threads may take the last question both, once in a while.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self._capacity = max(1.0, float(burst))
        self._sent: deque[float] = deque(maxlen=max(1, int(rate) + burst))
        self._tokens, self._at = self._capacity, float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until a question may be asked; 0 where it may now."""
        short = max(0.0, 1 - self._filled(now)) / self.rate
        if len(self._sent) == self._sent.maxlen:
            short = max(short, self._sent[0] + _WINDOW - now)
        return short if short > _INSTANT else 0.0

    def acquire(self, now: float) -> None:
        """Count a question."""
        self._tokens, self._at = self._filled(now) - 1, now
        self._sent.append(now)

    def empty(self, now: float) -> None:
        """Take what was saved up: who was asked to be quiet does not come back with a burst."""
        self._tokens, self._at = min(self._filled(now), 0.0), now

    def _filled(self, now: float) -> float:
        gone = min(now - self._at, 3600.0)
        return min(self._capacity, self._tokens + max(0.0, gone) * self.rate)
