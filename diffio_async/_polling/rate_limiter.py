"""Token buckets: limits of polls, and of checks while events are delivered."""

from __future__ import annotations

from collections import deque

#: Requests do not travel at one speed: two sent a second apart arrive a bit closer together.
_WINDOW = 1.02
#: Rounding errors of floats must not cost another timer.
_INSTANT = 1e-6


class TokenBucket:
    """At most `rate` actions per second in the long run, and `capacity` at once.

    Instants are of `time.monotonic()`. There is no lock: two loops in two threads may both use the
    last token once in a while.
    """

    def __init__(self, rate: float, capacity: float, tokens: float, now: float) -> None:
        self.rate = rate
        self._capacity = capacity
        self._tokens, self._updated_at = tokens, now

    def wait(self, now: float) -> float:
        """Return the seconds until an action is allowed, 0 if one is allowed now."""
        seconds = max(0.0, 1 - self._tokens_at(now)) / self.rate
        return seconds if seconds > _INSTANT else 0.0

    def acquire(self, now: float) -> None:
        """Count an action."""
        self._tokens, self._updated_at = self._tokens_at(now) - 1, now

    def add(self, tokens: float) -> None:
        """Allow more actions: a fraction of one, or several."""
        self._tokens = min(self._capacity, self._tokens + tokens)

    def drain(self, now: float) -> None:
        """Remove the saved tokens, so that no burst follows a pause."""
        self._tokens, self._updated_at = min(self._tokens_at(now), 0.0), now

    def _tokens_at(self, now: float) -> float:
        elapsed = min(now - self._updated_at, 3600.0)
        return min(self._capacity, self._tokens + max(0.0, elapsed) * self.rate)


class RateLimiter(TokenBucket):
    """Polls per second of a client, on all its loops: never more than `rate + burst` in a second.

    Args:
        rate: Polls per second in the long run.
        burst: Further polls that are saved up while there are none.
    """

    def __init__(self, rate: float, burst: int) -> None:
        capacity = max(1.0, float(burst))
        super().__init__(rate, capacity, capacity, float("-inf"))
        self._sent: deque[float] = deque(maxlen=max(1, int(rate) + burst))

    def wait(self, now: float) -> float:
        """Return the seconds until a poll is allowed, 0 if one is allowed now."""
        seconds = super().wait(now)
        if len(self._sent) == self._sent.maxlen:
            seconds = max(seconds, self._sent[0] + _WINDOW - now)
        return seconds if seconds > _INSTANT else 0.0

    def acquire(self, now: float) -> None:
        """Count a poll."""
        super().acquire(now)
        self._sent.append(now)
