"""Adaptive concurrency limiter shared by all uploads of a client on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async.errors import ApiError, ResponseTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async._http.request_body import InFlightPart

#: Initial number of parts in flight.
INITIAL_LIMIT = 2

#: Seconds after a change without measurements: connections open and buffers fill.
SETTLE_SECONDS = 0.1

#: Shortest and longest window of samples for a rate, in seconds.
MEASURE_SECONDS = 0.1
SAMPLE_WINDOW_SECONDS = 0.6

#: Seconds until a larger limit without gain is given up: a long link fills slowly.
PROBE_TIMEOUT = 1.5

#: Required gain of a larger limit, as a share of the gain if throughput grew in proportion: to
#: keep it and probe a larger one at once, and to keep it at all.
LARGE_GAIN, MIN_GAIN = 0.5, 0.25

#: Seconds until the next probe, doubled after each probe without gain.
PROBE_INTERVAL_SECONDS, MAX_PROBE_INTERVAL_SECONDS = 5.0, 60.0

#: Seconds after throttling until the next probe.
THROTTLE_RECOVERY_SECONDS = 2.0

#: Bytes per second and part above which no larger limit is probed: long links are slower, and on
#: a busy machine a saturated core cannot be detected reliably.
FAST_RATE = 150_000_000.0

#: Bytes per second and part above which a longer measurement precedes a probe.
MAYBE_FAST_RATE = FAST_RATE / 3

#: Share of time that the loop's thread may use the CPU; above it, the CPU is the bottleneck.
MAX_CPU_SHARE = 0.85

#: Weight of a new sample in the smoothed CPU share.
CPU_SMOOTHING = 0.3


@define
class _Probe:
    """A larger limit on trial, compared with the rate of the smaller one."""

    smaller: int
    rate: float


@define
class AdaptiveLimit:
    """Adaptive limit of the number of parts in flight. Pure: time is an argument.

    Parallel parts add throughput where each connection is limited (a long link); where one or two
    parts saturate the link or a core, more only cost. So a larger limit is probed, and kept only if
    throughput grows. Throughput counts bytes that the peer has acknowledged, since bytes written
    to a socket may still be in its buffer.

    Attributes:
        max: Upper bound of the limit.
        limit: Current limit, 1 to `max`.
    """

    max: int
    limit: int = field(init=False)
    _measured_from: float | None = field(default=None, init=False)
    _samples: deque[tuple[float, int]] = field(factory=deque, init=False)
    _probe: _Probe | None = field(default=None, init=False)
    _next_probe_at: float = field(default=0.0, init=False)
    _probe_interval: float = field(default=PROBE_INTERVAL_SECONDS, init=False)
    _halved_at: float | None = field(default=None, init=False)
    _linear: bool = field(default=False, init=False)
    _cpu_share: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.limit = min(INITIAL_LIMIT, self.max)

    def sample(self, now: float, acked_bytes: int, *, saturated: bool, cpu_share: float) -> None:
        """Update the limit from one sample; called about twenty times a second.

        Args:
            now: Seconds on a monotonic clock.
            acked_bytes: Bytes of all parts that the peer has acknowledged so far.
            saturated: Whether exactly `limit` parts are in flight and more are waiting.
            cpu_share: Share of the time since the last sample that the loop's thread used the CPU.
        """
        if not saturated:
            self._reset_samples()  # the rate does not depend on the limit now
            return
        # Smooth the share: one long iteration of the loop is not a bottleneck.
        self._cpu_share += CPU_SMOOTHING * (cpu_share - self._cpu_share)
        if self._cpu_share >= MAX_CPU_SHARE:
            self._shrink(now)
            return
        rate = self._rate(now, acked_bytes)
        if rate is None:
            return
        if self._probe is None:
            if self.limit < self.max and now >= self._next_probe_at and cpu_share < MAX_CPU_SHARE:
                self._start_probe(rate, now)
            return
        self._evaluate_probe(self._probe, rate, now)

    def on_throttled(self, now: float, started_at: float) -> None:
        """Halve the limit after a throttled or timed-out attempt that started at `started_at`.

        Attempts from before the last halving are ignored: they ran under a larger limit.
        """
        if self._halved_at is not None and started_at <= self._halved_at:
            return
        self._halved_at = now
        self._linear = True
        self._commit(max(1, self.limit // 2))
        self._next_probe_at = now + THROTTLE_RECOVERY_SECONDS

    def _rate(self, now: float, acked_bytes: int) -> float | None:
        """Return the recent rate in bytes per second, or None without enough samples."""
        samples = self._samples
        if self._measured_from is None and acked_bytes:  # no bytes yet: connecting
            self._measured_from = now
        if self._measured_from is None or now - self._measured_from < SETTLE_SECONDS:
            return None
        samples.append((now, acked_bytes))
        while samples[0][0] < now - SAMPLE_WINDOW_SECONDS:
            samples.popleft()
        seconds = now - samples[0][0]
        return (acked_bytes - samples[0][1]) / seconds if seconds >= MEASURE_SECONDS else None

    def _start_probe(self, rate: float, now: float) -> None:
        if rate >= FAST_RATE * self.limit:
            self._postpone_probe(now)
            return
        measured = (
            0.0 if self._measured_from is None else now - self._measured_from - SETTLE_SECONDS
        )
        if rate >= MAYBE_FAST_RATE * self.limit and measured < SAMPLE_WINDOW_SECONDS:
            return  # may be a short dip of a fast link
        step = 1 if self._linear else self.limit
        self._probe = _Probe(self.limit, rate)
        self._change(min(self.max, self.limit + step))

    def _evaluate_probe(self, probe: _Probe, rate: float, now: float) -> None:
        added = self.limit / probe.smaller - 1
        gain = rate / probe.rate - 1 if probe.rate > 0 else added
        timed_out = self._measured_from is not None and now - self._measured_from >= PROBE_TIMEOUT
        if gain >= LARGE_GAIN * added:
            self._probe_interval = PROBE_INTERVAL_SECONDS
            self._probe = None
            if self.limit < self.max and not self._linear:
                self._start_probe(rate, now)
            else:
                self._next_probe_at = now + THROTTLE_RECOVERY_SECONDS
        elif timed_out and gain >= MIN_GAIN * added:
            self._probe = None
            self._postpone_probe(now)
        elif timed_out:
            self._commit(probe.smaller)
            self._postpone_probe(now)

    def _shrink(self, now: float) -> None:
        self._cpu_share = 0.0
        self._commit(max(1, self.limit - 1))
        self._postpone_probe(now)

    def _postpone_probe(self, now: float) -> None:
        self._next_probe_at = now + self._probe_interval
        self._probe_interval = min(MAX_PROBE_INTERVAL_SECONDS, 2 * self._probe_interval)

    def _commit(self, limit: int) -> None:
        self._probe = None
        self._change(limit)

    def _change(self, limit: int) -> None:
        self.limit = limit
        self._reset_samples()

    def _reset_samples(self) -> None:
        self._measured_from = None
        self._samples.clear()


#: Seconds between samples.
SAMPLE_SECONDS = 0.05

#: Response statuses of an overloaded host.
THROTTLE_STATUSES = frozenset({408, 429, 503, 504})


class UploadLimiter:
    """Grants upload slots, round-robin among uploads; their number adapts to throughput."""

    def __init__(self, max_limit: int) -> None:
        self._limit = AdaptiveLimit(max_limit)
        self._acquired = 0
        self._queues: dict[object, deque[asyncio.Future[None]]] = {}
        self._parts: set[InFlightPart] = set()
        #: Bytes of finished attempts.
        self._finished_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sampled_at = self._cpu_time = 0.0

    @property
    def limit(self) -> int:
        """Current number of slots."""
        return self._limit.limit

    @contextlib.asynccontextmanager
    async def slot(self, upload: object, part: InFlightPart) -> AsyncIterator[None]:
        """Hold a slot during one attempt of a part; slots rotate among values of `upload`."""
        await self._acquire(upload)
        part.reset()
        self._parts.add(part)
        started_at = asyncio.get_running_loop().time()
        try:
            yield
            self._finished_bytes += part.written
        except BaseException as failure:
            self._finished_bytes += part.max_acked  # unacknowledged bytes may be lost
            if _is_throttled(failure):
                self._limit.on_throttled(asyncio.get_running_loop().time(), started_at)
            raise
        finally:
            self._parts.discard(part)
            self._release()

    async def _acquire(self, upload: object) -> None:
        if self._acquired < self._limit.limit and not self._queues:
            self._acquired += 1
        else:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queues.setdefault(upload, deque()).append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._release()  # the slot was granted in the meantime
                raise
        if self._timer is None:
            self._schedule_sample()

    def _release(self) -> None:
        self._acquired -= 1
        self._grant()

    def _grant(self) -> None:
        """Grant free slots: one to each upload before any gets its next."""
        while self._queues and self._acquired < self._limit.limit:
            upload, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            del self._queues[upload]
            if queue:
                self._queues[upload] = queue
            if not waiter.done():
                self._acquired += 1
                waiter.set_result(None)

    def _schedule_sample(self) -> None:
        loop = asyncio.get_running_loop()
        self._sampled_at, self._cpu_time = loop.time(), time.thread_time()
        self._timer = loop.call_later(SAMPLE_SECONDS, self._sample)

    def _sample(self) -> None:
        self._timer = None
        now, cpu_time = asyncio.get_running_loop().time(), time.thread_time()
        self._limit.sample(
            now,
            self._finished_bytes + sum(flight.acked_bytes() for flight in self._parts),
            saturated=self._is_saturated(),
            cpu_share=(cpu_time - self._cpu_time) / max(1e-6, now - self._sampled_at),
        )
        self._grant()
        if self._acquired:
            self._schedule_sample()

    def _is_saturated(self) -> bool:
        """Return whether the limit determines the number of parts in flight."""
        limit = self._limit.limit
        has_waiters = any(not place.done() for queue in self._queues.values() for place in queue)
        # One upload never waits for more than `max` slots.
        return self._acquired == limit and (has_waiters or limit == self._limit.max)


def _is_throttled(failure: BaseException) -> bool:
    return isinstance(failure, ResponseTimeout) or (
        isinstance(failure, ApiError) and failure.status in THROTTLE_STATUSES
    )
