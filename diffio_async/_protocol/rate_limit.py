"""Rate limits: a token bucket, and the rate of polls, which adapts to the service."""

from __future__ import annotations

import math
from collections import deque

#: Requests do not travel at one speed: two sent a second apart arrive a bit closer together.
_RATE_WINDOW = 1.02
#: Rounding errors of floats must not cost another timer.
_INSTANT = 1e-6

#: Polls per second at first, and at least, unless the maximum is lower.
START_RATE, MIN_RATE = 10.0, 1.0
#: Weight of a response in the smoothed latency, and of the difference by which the baseline, the
#: shortest latency, follows it: the latency of another network becomes normal in some time.
_SMOOTHING, _DRIFT = 0.1, 0.002
#: Latency that counts as rising, as a multiple of the baseline and seconds more, which are noise.
_RISING, _NOISE_SECONDS = 2.0, 0.05
#: Longest wait for a limit that grows fast: it will soon allow more polls.
_GROWING_SECONDS = 1.0
#: Seconds without throttling after which the limit grows fast again. From half of 100 polls per
#: second, slow growth reaches them in 50 s.
_QUIET_SECONDS = 60.0


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

    def set_rate(self, rate: float, now: float) -> None:
        """Change the rate from now on; the tokens saved up remain as they are."""
        self._tokens, self._updated_at = self._tokens_at(now), max(now, self._updated_at)
        self.rate = rate

    def _tokens_at(self, now: float) -> float:
        elapsed = min(now - self._updated_at, 3600.0)
        return min(self._capacity, self._tokens + max(0.0, elapsed) * self.rate)


class RateLimiter(TokenBucket):
    """Adaptive rate of polls of a client, on all its loops. Pure: time is an argument.

    While polls wait for the limit, each response raises the rate by one poll per second, and thus
    the rate tenfold in 2.3 s. `on_throttled` halves it, and it grows by one per second in each
    second for a minute. While the latency rises, each response lowers it, but not below
    `START_RATE`.

    Args:
        max_rate: Upper bound of the polls per second in the long run. No second has more than
            `max_rate + burst` polls.
        burst: Further polls that are saved up while nothing is polled.

    Attributes:
        saturated_since: When polls began to wait for the limit, a second ago at most while it grows
            fast; infinite if none waits.
    """

    def __init__(self, max_rate: float, burst: int) -> None:
        capacity = max(1.0, float(burst))
        super().__init__(min(START_RATE, max_rate), capacity, capacity, float("-inf"))
        self.max_rate = max_rate
        self.saturated_since = math.inf
        self._slow_until = float("-inf")
        self._latency, self._baseline = 0.0, math.inf
        self._sent: deque[float] = deque(maxlen=max(1, int(max_rate) + burst))

    def wait(self, now: float) -> float:
        """Return the seconds until a poll is allowed, 0 if one is allowed now."""
        seconds = super().wait(now)
        if len(self._sent) == self._sent.maxlen:
            seconds = max(seconds, self._sent[0] + _RATE_WINDOW - now)
        return seconds if seconds > _INSTANT else 0.0

    def acquire(self, now: float) -> None:
        """Count a poll."""
        super().acquire(now)
        self._sent.append(now)

    def drain(self, now: float) -> None:
        """Remove the saved tokens. Polls that waited until now did not wait for the limit."""
        super().drain(now)
        if self.saturated:
            self.saturated_since = now

    @property
    def saturated(self) -> bool:
        """Whether polls wait for the limit now."""
        return self.saturated_since < math.inf

    def set_saturated(self, now: float, *, saturated: bool) -> None:
        """Record whether polls wait for the limit."""
        self.saturated_since = min(now, self.saturated_since) if saturated else math.inf

    def on_response(self, now: float, latency: float | None) -> None:
        """Adapt the rate after a response.

        Args:
            now: The time.
            latency: Seconds that the response took; None if it cannot be compared with others.
        """
        if latency is not None:
            self._latency += _SMOOTHING * (latency - self._latency)
            self._baseline = min(latency, self._baseline)
            self._baseline += _DRIFT * (self._latency - self._baseline)
        if not self.saturated:
            return
        if self._latency > _RISING * self._baseline + _NOISE_SECONDS:
            # Some of the latency may be that of this machine: no reason to stop almost all polls.
            rate = max(min(START_RATE, self.rate), self.rate - 1)
        else:
            growth = 1 / self.rate if now < self._slow_until else 1
            rate = min(self.max_rate, self.rate + growth)
            if rate >= self.rate + 1:
                self.saturated_since = max(self.saturated_since, now - _GROWING_SECONDS)
        self.set_rate(rate, now)

    def on_throttled(self, now: float) -> None:
        """Halve the rate, and let it grow slowly for a minute."""
        self._slow_until = now + _QUIET_SECONDS
        self.set_rate(max(min(MIN_RATE, self.max_rate), self.rate / 2), now)
