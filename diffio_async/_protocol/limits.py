"""Adaptive limit of concurrent work (AIMD, pauses after failures), and throughput."""

from __future__ import annotations

import math
from collections import deque

from attrs import define, field

from diffio_async._protocol.retry import backoff

#: Shortest time between two samples: some event loops have a clock of milliseconds.
MIN_SAMPLE_SECONDS = 0.01

#: Seconds after a change without measurements: connections open and buffers fill.
SETTLE_SECONDS = 0.1

#: Shortest and longest window of samples for a rate, in seconds.
MEASURE_SECONDS, SAMPLE_WINDOW_SECONDS = 0.1, 0.6

#: Seconds until a larger limit without gain is given up: a long link fills slowly.
PROBE_TIMEOUT = 1.5

#: Required gain of a larger limit, as a share of the gain if throughput grew in proportion: to
#: keep it and probe a larger one at once, and to keep it at all.
LARGE_GAIN, MIN_GAIN = 0.5, 0.25

#: Longest time until the next probe, which doubles after each probe without gain.
MAX_PROBE_INTERVAL_SECONDS = 60.0

#: Bytes per second and connection above which no larger limit is probed: long links are slower,
#: and on a busy machine a saturated core cannot be detected reliably.
FAST_RATE = 150_000_000.0

#: Bytes per second and connection above which a longer measurement precedes a probe.
MAYBE_FAST_RATE = FAST_RATE / 3

#: Minimum estimated seconds of work left for which a larger limit is probed.
MIN_SECONDS_LEFT = 1.5

#: Share of time that the loop's thread may use the CPU; above it, the CPU is the bottleneck.
MAX_CPU_SHARE = 0.85

#: Weight of a new sample in the smoothed CPU share.
CPU_SMOOTHING = 0.3

#: Seconds of the first and of the longest pause after consecutive failures.
MIN_PAUSE, MAX_PAUSE = 1.0, 60.0


@define
class _Probe:
    """A larger limit on trial, compared with the rate of the smaller one."""

    smaller: int
    rate: float


@define
class ConcurrencyLimit:
    """Adaptive limit of concurrent work. Pure: time is an argument, in monotonic seconds.

    Transfers call `sample` with their throughput. Parallel connections add throughput where each
    one is limited (a long link, a host that throttles); where a few saturate the link or a core,
    more only cost. So a larger limit is probed, and kept only if throughput grows.

    Other work calls `on_success`, which grows the limit after each operation. For both, the limit
    doubles at first and grows by one after it was halved.

    Attributes:
        max: Upper bound of the limit.
        limit: Current limit, 1 to `max`.
        probe_interval: Seconds from throttling, or from a probe without gain, to the next probe.
        failing_since: Time of the first failure since the last success, or None.
    """

    max: int
    limit: int = 1
    probe_interval: float = 2.0
    failing_since: float | None = field(default=None, init=False)
    _measured_from: float | None = field(default=None, init=False)
    _samples: deque[tuple[float, int]] = field(factory=deque, init=False)
    _probe: _Probe | None = field(default=None, init=False)
    _probes_without_gain: int = field(default=0, init=False)
    _next_probe_at: float = field(default=-math.inf, init=False)
    _halved_at: float = field(default=-math.inf, init=False)
    _linear: bool = field(default=False, init=False)
    _credit: float = field(default=0.0, init=False)
    _cpu_sample: tuple[float, float] | None = field(default=None, init=False)
    _cpu_share: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _paused_until: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self.limit = min(self.limit, self.max)

    def sample(
        self,
        now: float,
        done: int,
        *,
        saturated: bool,
        cpu_time: float,
        remaining: float = math.inf,
    ) -> None:
        """Update the limit from one sample of the throughput; call it at least 10 times a second.

        Args:
            now: Time of the sample.
            done: Bytes transferred so far by all connections.
            saturated: Whether the limit determines the number of connections in use now.
            cpu_time: CPU seconds of the event loop's thread, from any starting point.
            remaining: Bytes left.
        """
        if not saturated:
            self._reset_samples()  # the rate does not depend on the limit now
        last = self._cpu_sample
        if last is not None and now - last[0] < MIN_SAMPLE_SECONDS:
            return
        self._cpu_sample = now, cpu_time
        if last is None or not saturated:
            return
        cpu_share = (cpu_time - last[1]) / (now - last[0])
        # Smooth the share: one long iteration of the loop is not a bottleneck.
        self._cpu_share += CPU_SMOOTHING * (cpu_share - self._cpu_share)
        if self._cpu_share >= MAX_CPU_SHARE:
            self._cpu_share = 0.0
            self._commit(max(1, self.limit - 1))
            self._postpone_probe(now)
            return
        rate = self._rate(now, done)
        if rate is None:
            return
        if self._probe is not None:
            self._evaluate_probe(self._probe, rate, now, remaining)
        elif now >= self._next_probe_at and cpu_share < MAX_CPU_SHARE:
            self._start_probe(rate, now, remaining)

    def on_success(self) -> None:
        """Grow after a successful operation: by one, or by one per round after throttling."""
        self._failures, self.failing_since = 0, None
        self._credit += 1 / self.limit if self._linear else 1
        if self._credit >= 1:
            self._credit -= 1
            self.limit = min(self.max, self.limit + 1)

    def on_throttled(self, now: float, *, started_at: float) -> None:
        """Halve the limit after a throttled operation that started at `started_at`.

        Operations from before the last halving are ignored: they ran under a larger limit.
        """
        if started_at <= self._halved_at:
            return
        self._halved_at = now
        self._linear, self._credit = True, 0.0
        self._commit(max(1, self.limit // 2))
        self._next_probe_at = now + self.probe_interval

    def on_failure(self, now: float) -> None:
        """Pause all work after a transient failure, longer after each consecutive one.

        Failures during a pause do not extend it: their operations started before it.
        """
        if self.failing_since is None:
            self.failing_since = now
        if now >= self._paused_until:
            self._failures += 1
            self.pause(now, backoff(self._failures, MIN_PAUSE, MAX_PAUSE))

    def pause(self, now: float, seconds: float) -> bool:
        """Pause all work for at least `seconds`; return whether that extends the pause."""
        until = now + min(seconds, MAX_PAUSE)
        if until <= self._paused_until:
            return False
        self._paused_until = until
        return True

    def remaining_pause(self, now: float) -> float:
        """Return the seconds until work may start, 0 without a pause."""
        return max(0.0, self._paused_until - now)

    def _rate(self, now: float, done: int) -> float | None:
        """Return the recent rate in bytes per second, or None without enough samples."""
        samples = self._samples
        if self._measured_from is None and done:  # no bytes yet: connecting
            self._measured_from = now
        if self._measured_from is None or now - self._measured_from < SETTLE_SECONDS:
            return None
        samples.append((now, done))
        while samples[0][0] < now - SAMPLE_WINDOW_SECONDS:
            samples.popleft()
        seconds = now - samples[0][0]
        return (done - samples[0][1]) / seconds if seconds >= MEASURE_SECONDS else None

    def _start_probe(self, rate: float, now: float, remaining: float) -> None:
        if self.limit >= self.max or remaining < MIN_SECONDS_LEFT * rate:
            return
        if rate >= FAST_RATE * self.limit:
            self._postpone_probe(now)
            return
        measured = now - (self._measured_from or now) - SETTLE_SECONDS
        if rate >= MAYBE_FAST_RATE * self.limit and measured < SAMPLE_WINDOW_SECONDS:
            return  # may be a short dip of a fast link
        self._probe = _Probe(self.limit, rate)
        self._change(min(self.max, self.limit + (1 if self._linear else self.limit)))

    def _evaluate_probe(self, probe: _Probe, rate: float, now: float, remaining: float) -> None:
        added = self.limit / probe.smaller - 1
        gain = rate / probe.rate - 1 if probe.rate > 0 else added
        if gain >= LARGE_GAIN * added:
            self._probe, self._probes_without_gain = None, 0
            self._next_probe_at = now + (self.probe_interval if self._linear else 0)
            if not self._linear:
                self._start_probe(rate, now, remaining)
        elif self._measured_from is not None and now - self._measured_from >= PROBE_TIMEOUT:
            if gain > MIN_GAIN * added:
                self._probe = None
            else:
                self._commit(probe.smaller)
            self._postpone_probe(now)

    def _postpone_probe(self, now: float) -> None:
        self._probes_without_gain += 1
        self._next_probe_at = now + backoff(
            self._probes_without_gain, self.probe_interval, MAX_PROBE_INTERVAL_SECONDS
        )

    def _commit(self, limit: int) -> None:
        self._probe = None
        self._change(limit)

    def _change(self, limit: int) -> None:
        self.limit = limit
        self._reset_samples()

    def _reset_samples(self) -> None:
        self._measured_from = None
        self._samples.clear()


#: Seconds over which a throughput is averaged.
THROUGHPUT_SECONDS = 5.0
#: Seconds before a throughput is reported: the first bytes only fill buffers.
MIN_SPAN = 0.25
#: Samples of a window that are kept, however often it is updated.
MAX_SAMPLES = 32


@define
class ThroughputMeter:
    """Throughput of one transfer over a sliding window of `window` seconds."""

    window: float = THROUGHPUT_SECONDS
    _moments: deque[tuple[float, int]] = field(factory=deque, init=False)

    def update(self, done: int, now: float) -> float | None:
        """Return the bytes per second, given that `done` bytes are complete at `now` (seconds).

        It is None in the first quarter of a second, and never below 0: `done` decreases when a
        part is sent again.
        """
        moments = self._moments
        if not moments or now - moments[-1][0] >= self.window / MAX_SAMPLES:
            moments.append((now, done))
        while len(moments) > 1 and moments[1][0] <= now - self.window:
            moments.popleft()
        began, before = moments[0]
        span = now - began
        return max(0, done - before) / span if span >= MIN_SPAN else None
