"""How many parts may be in the air: more while that helps, fewer when the other side pushes back.

Where each connection is limited (a long link), parts add up; where one or two fill the link or a
core, more of them only cost. So a larger number is tried, and kept only where more bytes get
through. What is told is what the other side has acknowledged: bytes that were handed to a socket
may lie in its buffer.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

#: Parts in the air to begin with.
INITIAL_LIMIT = 2
#: Seconds after a change in which nothing is measured: connections are made, buffers fill.
SETTLE_SECONDS = 0.1
#: Seconds of bytes that a rate is taken from, at least and at most.
MEASURE_SECONDS = 0.1
SAMPLE_WINDOW_SECONDS = 0.6
#: Seconds until a number that brought nothing is given up: a long link takes a while to fill.
PROBE_PATIENCE = 1.5
#: What a larger number has to bring, as a share of what it would if the parts added up fully: so
#: much to be kept and followed by a larger one at once, and so much to be kept at all.
LARGE_GAIN, MIN_GAIN = 0.5, 0.25
#: Seconds until a larger number is tried again, doubled each time that it brings nothing.
PROBE_INTERVAL_SECONDS, MAX_PROBE_INTERVAL_SECONDS = 5.0, 60.0
#: Seconds after a push-back until one more is tried.
THROTTLE_RECOVERY_SECONDS = 2.0
#: Bytes a second for each part above which more are not tried: no long link is so fast, and on a
#: machine with other work to do a core that is full does not look so.
FAST = 150_000_000.0
#: And above which it is looked at for longer first.
MAYBE_FAST = FAST / 3
#: The share of its time that the loop's thread may work; above it, the processor is the limit.
BUSY = 0.85
#: How much of that is news each time.
CALM = 0.3


@define
class _Probe:
    """A larger number on trial, against the rate of the smaller one."""

    smaller: int
    rate: float


@define
class AdaptiveLimit:
    """The number of parts that may be in the air.

    Attributes:
        max: The greatest number.
        limit: The number now, 1 to `max`.
    """

    max: int
    limit: int = field(init=False)
    _since: float | None = field(default=None, init=False)
    _samples: deque[tuple[float, int]] = field(factory=deque, init=False)
    _probe: _Probe | None = field(default=None, init=False)
    _not_before: float = field(default=0.0, init=False)
    _pause: float = field(default=PROBE_INTERVAL_SECONDS, init=False)
    _halved_at: float | None = field(default=None, init=False)
    _linear: bool = field(default=False, init=False)
    _busy: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.limit = min(INITIAL_LIMIT, self.max)

    def sample(self, now: float, through: int, *, full: bool, busy: float) -> None:
        """Take in a moment; about twenty of them a second.

        Args:
            now: Seconds on any clock.
            through: Bytes that got through so far, of all parts.
            full: Whether `limit` parts, no fewer and no more, are in the air, and there would be
                more if they might.
            busy: The share of the time since the last moment that the loop's thread worked.
        """
        if not full:
            self._forget()  # what is measured now says nothing of the limit
            return
        # One long turn of the loop is no limit.
        self._busy += CALM * (busy - self._busy)
        if self._busy >= BUSY:
            self._shrink(now)
            return
        rate = self._rate(now, through)
        if rate is None:
            return
        if self._probe is None:
            if self.limit < self.max and now >= self._not_before and busy < BUSY:
                self._start_probe(rate, now)
            return
        self._evaluate_probe(self._probe, rate, now)

    def on_throttled(self, now: float, began: float) -> None:
        """An attempt that began at `began` was answered 429 or 503, or not in time: halve.

        Attempts of before the last halving say nothing of the number since.
        """
        if self._halved_at is not None and began <= self._halved_at:
            return
        self._halved_at = now
        self._linear = True
        self._commit(max(1, self.limit // 2))
        self._not_before = now + THROTTLE_RECOVERY_SECONDS

    def _rate(self, now: float, through: int) -> float | None:
        """Bytes a second of late, None before there is enough to tell."""
        moments = self._samples
        if self._since is None and through:  # before the first byte, connections are made
            self._since = now
        if self._since is None or now - self._since < SETTLE_SECONDS:
            return None
        moments.append((now, through))
        while moments[0][0] < now - SAMPLE_WINDOW_SECONDS:
            moments.popleft()
        seconds = now - moments[0][0]
        return (through - moments[0][1]) / seconds if seconds >= MEASURE_SECONDS else None

    def _start_probe(self, rate: float, now: float) -> None:
        if rate >= FAST * self.limit:
            self._postpone_probe(now)
            return
        measured = 0.0 if self._since is None else now - self._since - SETTLE_SECONDS
        if rate >= MAYBE_FAST * self.limit and measured < SAMPLE_WINDOW_SECONDS:
            return  # a dip of a fast link looks like that, too
        step = 1 if self._linear else self.limit
        self._probe = _Probe(self.limit, rate)
        self._change(min(self.max, self.limit + step))

    def _evaluate_probe(self, trial: _Probe, rate: float, now: float) -> None:
        share = self.limit / trial.smaller - 1
        gain = rate / trial.rate - 1 if trial.rate > 0 else share
        late = self._since is not None and now - self._since >= PROBE_PATIENCE
        if gain >= LARGE_GAIN * share:
            self._pause = PROBE_INTERVAL_SECONDS
            self._probe = None
            if self.limit < self.max and not self._linear:
                self._start_probe(rate, now)
            else:
                self._not_before = now + THROTTLE_RECOVERY_SECONDS
        elif late and gain >= MIN_GAIN * share:
            self._probe = None
            self._postpone_probe(now)
        elif late:
            self._commit(trial.smaller)
            self._postpone_probe(now)

    def _shrink(self, now: float) -> None:
        self._busy = 0.0
        self._commit(max(1, self.limit - 1))
        self._postpone_probe(now)

    def _postpone_probe(self, now: float) -> None:
        self._not_before = now + self._pause
        self._pause = min(MAX_PROBE_INTERVAL_SECONDS, 2 * self._pause)

    def _commit(self, limit: int) -> None:
        self._probe = None
        self._change(limit)

    def _change(self, limit: int) -> None:
        self.limit = limit
        self._forget()

    def _forget(self) -> None:
        self._since = None
        self._samples.clear()
