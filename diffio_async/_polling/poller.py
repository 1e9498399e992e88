"""Poller shared by all waits of a client: limits, learned durations, and one scheduler per loop.

Waits (`waits.py`) subscribe to a `Scheduler`, one for each event loop, and
are notified of progress and of ends. The scheduler keeps a heap of due polls, spends the rate
limit of the client on the earliest ones, and requests the listing of a project in place of
several single polls.

`Poller.on_push(progress)` receives what an event reports, for example a webhook event as a
`GenerationProgress`. It ends or advances the waits for that generation on every loop, and may be
called from any thread, twice, late or out of order. A subscription that needs a response of the
API (`compat`) is polled once at once instead. Inside `with poller.push_active():` such events are
expected. From the first one on, each generation is polled every `WaitPolicy.push_check_interval`
seconds only (`PushHealth`). Normal polling returns when a check finds an end that was not
reported, or when there is no listener any more. With a `Poller.source`, each scheduler listens by
itself while it has subscriptions (`PushListener`).
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

from diffio_async._polling.push import PushHealth
from diffio_async._protocol.rate_limit import RateLimiter, TokenBucket
from diffio_async._protocol.retry import backoff
from diffio_async._storage.loops import remove_closed_loops, running_loop
from diffio_async.errors import ApiError, RateLimited
from diffio_async.events import (
    GenerationEnded,
    PollingPaused,
    PollRateChanged,
    ProgressUpdated,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from diffio_async._http.transport import ApiTransport
    from diffio_async._polling.job_timeline import JobTimeline
    from diffio_async._polling.poll_model import PollModel
    from diffio_async._polling.push import PushSource
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress

#: Generations whose creation, or reported end, is remembered.
_MAX_REMEMBERED = 10_000
#: At most so many jobs are polled normally until an event shows that events arrive.
_FEW_JOBS = 4
#: Relative change of the limit of polls from which on observers are notified.
_MIN_RATE_CHANGE = 0.1
_client_numbers = itertools.count(1)
#: Failures in a row, of any jobs, from which on all polls are slowed down.
_MIN_FAILURES = 6


class Poller:
    """State of all waits of one client, on all its loops."""

    def __init__(self, sender: ApiTransport, source: PushSource | None = None) -> None:
        self.sender = sender
        #: Source of events about generations, if there is one.
        self.source = source
        self.policy = sender.options.wait
        self.rate_limiter = RateLimiter(self.policy.max_polls_per_second, self.policy.burst)
        #: Seconds that a poll takes, as a moving average.
        self.latency = 0.0
        self._schedulers: dict[asyncio.AbstractEventLoop, Scheduler] = {}
        self._created_at = OrderedDict[str, float]()
        #: Generations whose end was reported by an event, the oldest first.
        self._reported = OrderedDict[str, None]()
        self._paused_until = float("-inf")
        self._slow_until = float("-inf")
        self._failures = self._rate_limited = 0
        self._number, self._reported_rate = next(_client_numbers), 0.0
        self.push_health = PushHealth(self.policy)

    def __reduce__(self) -> tuple[type[Poller], tuple[ApiTransport, PushSource | None]]:
        """Pickle the transport and the source only, not what was learned nor the waits."""
        return Poller, (self.sender, self.source)

    def scheduler(self) -> Scheduler:
        """Return the scheduler of the running loop."""
        # Loaded with the first wait, not with the client.
        from diffio_async._polling.scheduler import Scheduler

        loop = running_loop()
        if loop not in self._schedulers:
            remove_closed_loops(self._schedulers)
            self._schedulers[loop] = Scheduler(self)
        return self._schedulers[loop]

    def remove_scheduler(self, scheduler: Scheduler) -> None:
        """Remove a scheduler without waits."""
        if self._schedulers.get(scheduler.loop) is scheduler:
            del self._schedulers[scheduler.loop]

    @cached_property
    def model(self) -> PollModel:
        """What is known about the durations of generations."""
        from diffio_async._polling.poll_model import PollModel

        return PollModel()

    @property
    def check_limiter(self) -> TokenBucket:
        """The limit of checks that are made while events are delivered."""
        return self.push_health.checks

    @property
    def requests_per_round(self) -> int:
        """How many requests a poll of all generations takes."""
        return sum(scheduler.requests_per_round for scheduler in list(self._schedulers.values()))

    @property
    def only_checks(self) -> bool:
        """Whether polls only check what events report, and few are needed.

        Until the first event since a listener was added, few jobs are polled as without events.
        """
        health = self.push_health
        return health.holds and (health.confirmed or self.requests_per_round > _FEW_JOBS)

    # Ages.

    def record_created(self, generation_id: str) -> None:
        """Record that a generation was created just now."""
        while len(self._created_at) >= _MAX_REMEMBERED:
            self._created_at.popitem(last=False)
        self._created_at[generation_id] = time.monotonic()

    def age_of(self, generation_id: str) -> float | None:
        """Return the seconds since a generation was created, None if this client did not do it."""
        created_at = self._created_at.pop(generation_id, None)
        return None if created_at is None else time.monotonic() - created_at

    # Limits.

    def paused_for(self, now: float, *, fixed: bool) -> float:
        """Return the seconds for which polls are paused.

        Args:
            now: `time.monotonic()`.
            fixed: The poll is at a fixed interval: only `Retry-After` of the API delays it.
        """
        until = self._paused_until if fixed else max(self._paused_until, self._slow_until)
        return max(0.0, until - now)

    def retry_after(self, failure: DiffioError | None) -> float:
        """Return the `Retry-After` of a failed poll in seconds, capped by the retry policy."""
        seconds = failure.retry_after if isinstance(failure, ApiError) else None
        return min(seconds or 0.0, self.sender.options.retry.max_retry_after)

    def on_response(self, seconds: float, *, listing: bool = False) -> None:
        """Record that a poll, or a listing, had a response after so many seconds."""
        self.latency = (
            seconds if not self.latency else self.latency + 0.2 * (seconds - self.latency)
        )
        self._failures = self._rate_limited = 0
        # The latency of a listing depends on its size.
        self.rate_limiter.on_response(time.monotonic(), None if listing else seconds)
        self._report_rate()

    def on_failure(self, failure: DiffioError) -> None:
        """Record a failed poll: pause all polls if the API demands it or failures persist."""
        self._failures += 1
        self._rate_limited = self._rate_limited + 1 if isinstance(failure, RateLimited) else 0
        # Jobs that were paused together do not resume at the same instant.
        spread = 1 + 0.05 * random.random()  # noqa: S311 - jitter needs no secrecy
        now, before = time.monotonic(), max(self._paused_until, self._slow_until)
        if isinstance(failure, ApiError) and failure.retry_after:
            seconds = self.retry_after(failure) * spread
            self._paused_until = max(self._paused_until, now + seconds)
        elif self._rate_limited:
            self._slow_until = max(before, now + self._backoff(self._rate_limited - 1) * spread)
        elif self._failures >= _MIN_FAILURES:
            pause = self._backoff(self._failures - _MIN_FAILURES)
            self._slow_until = max(before, now + pause * spread)
        until = max(self._paused_until, self._slow_until)
        if until > max(before, now):
            self.rate_limiter.drain(until)
            if before < now:
                if self._rate_limited or self._paused_until == until:
                    self.rate_limiter.on_throttled(now)
                    self._report_rate()
                reason = f"{type(failure).__name__}: {failure}"
                self.sender.emit(PollingPaused(until - now, reason))

    def _report_rate(self) -> None:
        rate = self.rate_limiter.rate
        if abs(rate - self._reported_rate) >= _MIN_RATE_CHANGE * self._reported_rate:
            self._reported_rate = rate
            self.sender.emit(PollRateChanged(rate, self._number))

    def _backoff(self, attempt: int) -> float:
        return backoff(attempt + 1, self.policy.min_interval, self.policy.max_interval)

    # Events.

    def on_push(self, progress: GenerationProgress, *, by: Scheduler | None = None) -> None:
        """Handle progress that an event reported; may be called on any thread.

        Args:
            progress: The progress.
            by: The scheduler whose source reported it. None passes it to all schedulers. Those that
                follow the source themselves are left out, or each of n would handle an event
                n times.
        """
        self.on_push_confirmed(proven=True)
        for loop, scheduler in list(self._schedulers.items()):
            if by is None or scheduler is by or not scheduler.has_push_source:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(scheduler.on_push, progress)

    def end_reported(self, generation_id: str) -> None:
        """Credit the events with an end: once, on however many loops it is waited for."""
        if generation_id not in self._reported:
            while len(self._reported) >= _MAX_REMEMBERED:
                self._reported.popitem(last=False)
            self._reported[generation_id] = None
            self.push_health.credit()

    @contextlib.contextmanager
    def push_active(self) -> Iterator[None]:
        """Expect events inside the block."""
        self.push_health.listen(1)
        try:
            yield
        finally:
            if self.push_health.listen(-1):
                self._reschedule()

    def on_push_missed(self, progress: GenerationProgress) -> None:
        """Record that a poll found an end that no event had reported."""
        if progress.generation_id and self.push_health.on_miss():
            self._reschedule()

    def on_push_confirmed(self, *, proven: bool) -> None:
        """Record that events arrive, or (not proven) arrived not long ago."""
        if self.push_health.confirm(proven=proven):
            self._reschedule()

    def _reschedule(self) -> None:
        for loop, scheduler in list(self._schedulers.items()):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(scheduler.reschedule_all)

    def on_end(
        self, timeline: JobTimeline, progress: GenerationProgress, now: float, *, exact: bool
    ) -> None:
        """Learn from the end of a job, and emit an event for observers.

        Args:
            timeline: The timeline of the job.
            progress: The final progress.
            now: The instant at which the end was observed.
            exact: Whether the job ended just then.
        """
        self.model.observe_end(timeline, now, complete=progress.complete, exact=exact)
        seen_at = timeline.last_polled_at
        self.sender.emit(
            GenerationEnded(
                progress.generation_id,
                progress.api_project_id,
                progress.status,
                max_delay=None if exact or seen_at is None else now - seen_at,
            )
        )

    def emit_progress(self, progress: GenerationProgress) -> None:
        """Emit an event for observers about progress that changed."""
        self.sender.emit(
            ProgressUpdated(
                progress.generation_id, progress.api_project_id, progress.status, progress.percent
            )
        )
