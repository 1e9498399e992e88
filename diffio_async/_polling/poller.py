"""Poller shared by all waits of a client: what is polled next, and when.

Waits (`single_wait.py`, `multi_wait.py`) subscribe to a `Scheduler`, one for each event loop, and
are notified of progress and of ends. The scheduler keeps a heap of due polls, spends the rate
limit of the client on the earliest ones, and requests the listing of a project in place of
several single polls.

`Poller.on_push(progress)` receives a fact from elsewhere, for example a webhook event as a
`GenerationProgress`. It ends or advances the waits for that generation on every loop, and may be
called from any thread, twice, late or out of order. A subscription that needs a response of the
API (`compat`) is polled once at once instead. `with poller.push_active():` says that such facts are
expected. From the first one on, each generation is polled every `WaitPolicy.push_check_interval`
seconds only (`PushHealth`). Normal polling returns when a check finds an end that was not
reported, or when nothing listens any more. With a `Poller.source`, each scheduler listens by
itself while it has subscriptions (`PushListener`).
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from typing import TYPE_CHECKING

from diffio_async._polling.interval import crowd_of
from diffio_async._polling.poll_model import PollModel
from diffio_async._polling.push import PushHealth
from diffio_async._polling.rate_limiter import RateLimiter
from diffio_async._polling.scheduler import Scheduler
from diffio_async._storage.loops import running_loop
from diffio_async.errors import ApiError, RateLimited
from diffio_async.events import PollingPaused, ProgressUpdated

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from diffio_async._http.transport import ApiTransport
    from diffio_async._polling.push import PushSource
    from diffio_async._polling.subscriptions import Job
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress

#: Generations whose beginning, or reported end, is remembered.
_MAX_CREATED = 10_000
#: So few jobs are polled until an event shows that events arrive.
_FEW = 4
#: Failures in a row, of whatever jobs, from which on everybody slows down.
_MANY = 6


class Poller:
    """Paces the waits of one client, on all its loops."""

    def __init__(self, sender: ApiTransport, source: PushSource | None = None) -> None:
        self.sender = sender
        #: Who tells of generations from elsewhere, if anybody does.
        self.source = source
        self.policy = sender.options.wait
        self.rate_limiter = RateLimiter(self.policy.max_polls_per_second, self.policy.burst)
        self._widths: list[float] = []
        self.model = PollModel()
        #: Seconds that a question takes.
        self.took = 0.0
        self._schedulers: dict[asyncio.AbstractEventLoop, Scheduler] = {}
        self._created_at: dict[str, float] = {}
        #: Generations whose end was reported by an event, the oldest first.
        self._reported: dict[str, None] = {}
        self._paused_until = float("-inf")
        self._slow_until = float("-inf")
        self._failures = self._refused = 0
        self.push_health = PushHealth(self.policy)

    def __reduce__(self) -> tuple[type[Poller], tuple[ApiTransport, PushSource | None]]:
        """Pickle what it was made from: what was learned, and who waits, stay where they are."""
        return Poller, (self.sender, self.source)

    def scheduler(self) -> Scheduler:
        """The running loop's desk."""
        loop = running_loop()
        if loop not in self._schedulers:
            for ended in [known for known in self._schedulers if known.is_closed()]:
                del self._schedulers[ended]
            self._schedulers[loop] = Scheduler(self)
        return self._schedulers[loop]

    def discard(self, desk: Scheduler) -> None:
        """Nobody waits at this desk any more."""
        if self._schedulers.get(desk.loop) is desk:
            del self._schedulers[desk.loop]

    @property
    def crowd(self) -> float:
        """How far apart polls of each job must be, for all to share the rate limit, in seconds."""
        return crowd_of(self.policy, self._polled, self.rate_limiter.rate)

    @property
    def _polled(self) -> int:
        return sum(desk.polled for desk in self._schedulers.values())

    @property
    def only_checks(self) -> bool:
        """Whether polls only check what events report, and few are needed.

        Until an event was received since somebody listens, few jobs are polled as without events.
        """
        return self.push_health.holds and (self.push_health.confirmed or self._polled > _FEW)

    # Births: ages are counted from them.

    def record_created(self, generation_id: str) -> None:
        """A generation was made just now."""
        while len(self._created_at) >= _MAX_CREATED:
            self._created_at.pop(next(iter(self._created_at)), None)
        self._created_at[generation_id] = time.monotonic()

    def age_of(self, generation_id: str) -> float | None:
        """Seconds since a generation was made, where this client made it."""
        at = self._created_at.pop(generation_id, None)
        return None if at is None else time.monotonic() - at

    # Trouble.

    def paused_for(self, now: float, *, beat: bool) -> float:
        """Seconds for which nothing may be asked; only the server's word stops a fixed beat."""
        until = self._paused_until if beat else max(self._paused_until, self._slow_until)
        return max(0.0, until - now)

    def min_delay(self, job: Job) -> float:
        """Seconds that the server asked to wait before this job is asked about again."""
        failure = job.failure
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        return min(asked or 0.0, self.sender.options.retry.max_retry_after)

    def on_response(self, took: float) -> None:
        """A question was answered, `took` seconds after it was asked."""
        self.took = took if not self.took else self.took + 0.2 * (took - self.took)
        self._failures = self._refused = 0

    def on_failure(self, failure: DiffioError) -> None:
        """A question failed: everybody pauses where the server asks for it, or it goes on so."""
        self._failures += 1
        self._refused = self._refused + 1 if isinstance(failure, RateLimited) else 0
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        # A fleet that was told the same does not come back at the same instant.
        spread = 1 + 0.05 * random.random()  # noqa: S311 - jitter needs no secrecy
        now, before = time.monotonic(), max(self._paused_until, self._slow_until)
        if asked:
            cap = self.sender.options.retry.max_retry_after
            self._paused_until = max(self._paused_until, now + min(asked, cap) * spread)
        elif self._refused:
            self._slow_until = max(before, now + self._slower(self._refused - 1) * spread)
        elif self._failures >= _MANY:
            pause = self._slower(self._failures - _MANY)
            self._slow_until = max(before, now + pause * spread)
        until = max(self._paused_until, self._slow_until)
        if until > max(before, now):
            self.rate_limiter.empty(until)
            if before < now:
                reason = f"{type(failure).__name__}: {failure}"
                self.sender.emit(PollingPaused(until - now, reason))

    def _slower(self, times: int) -> float:
        return min(self.policy.max_interval, self.policy.min_interval * 2.0 ** min(times, 10))

    @contextlib.contextmanager
    def slowdown(self, times: float) -> Iterator[None]:
        """Within the body, so many times the budget's questions may be asked, or more."""
        self._widths.append(max(1.0, times))
        self._widen()
        try:
            yield
        finally:
            self._widths.remove(max(1.0, times))
            self._widen()

    def _widen(self) -> None:
        times = max(self._widths, default=1.0)
        burst = math.ceil(self.policy.burst * times)
        self.rate_limiter = RateLimiter(self.policy.max_polls_per_second * times, burst)

    # Signals.

    def on_push(self, progress: GenerationProgress, *, by: Scheduler | None = None) -> None:
        """Take a fact about a generation from elsewhere; from any thread.

        Args:
            progress: The fact.
            by: The desk whose source reported it; None hands it to all. Desks that follow the
                source themselves are left out, or each of n would handle an event n times.
        """
        self.on_push_confirmed(proven=True)
        for loop, desk in list(self._schedulers.items()):
            if by is None or desk is by or not desk.follows:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(desk.on_push, progress)

    def end_reported(self, generation_id: str) -> None:
        """Credit the events with an end: once, on however many loops it is waited for."""
        if generation_id not in self._reported:
            while len(self._reported) >= _MAX_CREATED:
                self._reported.pop(next(iter(self._reported)), None)
            self._reported[generation_id] = None
            self.push_health.credit()

    @contextlib.contextmanager
    def push_active(self) -> Iterator[None]:
        """Within the body, facts from elsewhere are expected."""
        self.push_health.listen(1)
        try:
            yield
        finally:
            if self.push_health.listen(-1):
                self._push_changed()

    def on_push_missed(self, progress: GenerationProgress) -> None:
        """A question found an end that nobody had told."""
        if progress.generation_id and self.push_health.on_miss():
            self._push_changed()

    def on_push_confirmed(self, *, proven: bool) -> None:
        """Facts from elsewhere come, or (not proven) came not long ago."""
        if self.push_health.confirm(proven=proven):
            self._push_changed()

    def _push_changed(self) -> None:
        for loop, desk in list(self._schedulers.items()):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(desk.resume)

    def emit_progress(self, progress: GenerationProgress) -> None:
        """Tell observers of progress that changed."""
        self.sender.emit(
            ProgressUpdated(
                progress.generation_id, progress.api_project_id, progress.status, progress.percent
            )
        )
