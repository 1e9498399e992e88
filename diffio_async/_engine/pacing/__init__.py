"""One pacer for every wait of a client: what is asked next, and when.

**Waits** (`_engine/waiting.py`, `_engine/waiting_many.py`) join a `Desk`, one for each loop, and
are told of changes and ends. The desk keeps a heap of due questions, spends the client's budget on
them, earliest due first, and asks for a project's listing in place of several single questions.

**Signals**: `Pacer.hear(progress)` takes a fact from elsewhere (a webhook's event as a
`GenerationProgress` with `generation_id`, `api_project_id`, `status`, and `error` or
`transcription` where told) and ends, or advances, the waits for that generation at once, on
whichever loop they are; it may be called from any thread, twice, late or out of order. A wait that
needs the service's own words (`compat`) asks once instead, at once. `with pacer.listening():`
says that such facts are expected: from the first one on, questions fall to safety checks: of a job
every `WaitPolicy.safety` seconds, and of all jobs together not many more than two for each hundred
ends (`Trust`); as soon as a check finds an end that no signal told, or nobody listens any more,
polling takes over again. With a `Pacer.source` each desk listens by itself while anybody waits
there (`Ears`).
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from typing import TYPE_CHECKING

from diffio_async._engine.loops import running_loop
from diffio_async._engine.pacing.budget import Budget
from diffio_async._engine.pacing.desk import Desk
from diffio_async._engine.pacing.trust import Trust
from diffio_async._wire.learned import Learned
from diffio_async._wire.pace import crowd_of
from diffio_async.errors import ApiError, RateLimited
from diffio_async.events import ProgressRead, WaitsPaused

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from diffio_async._engine.pacing.ears import Source
    from diffio_async._engine.pacing.jobs import Job
    from diffio_async._engine.sending import Sender
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress

#: Generations whose beginning, or reported end, is remembered.
_MOST_BIRTHS = 10_000
#: So few jobs are polled until an event shows that events arrive.
_FEW = 4
#: Failures in a row, of whatever jobs, from which on everybody slows down.
_MANY = 6


class Pacer:
    """Paces the waits of one client, on all its loops."""

    def __init__(self, sender: Sender, source: Source | None = None) -> None:
        self.sender = sender
        #: Who tells of generations from elsewhere, if anybody does.
        self.source = source
        self.policy = sender.options.wait
        self.budget = Budget(self.policy.budget, self.policy.burst)
        self._widths: list[float] = []
        self.learned = Learned()
        #: Seconds that a question takes.
        self.took = 0.0
        self._desks: dict[asyncio.AbstractEventLoop, Desk] = {}
        self._births: dict[str, float] = {}
        #: Generations whose end was reported by an event, the oldest first.
        self._reported: dict[str, None] = {}
        self._quiet_until = float("-inf")
        self._slow_until = float("-inf")
        self._failures = self._refused = 0
        self.trust = Trust(self.policy)

    def __reduce__(self) -> tuple[type[Pacer], tuple[Sender, Source | None]]:
        """Pickle what it was made from: what was learned, and who waits, stay where they are."""
        return Pacer, (self.sender, self.source)

    def desk(self) -> Desk:
        """The running loop's desk."""
        loop = running_loop()
        if loop not in self._desks:
            for ended in [known for known in self._desks if known.is_closed()]:
                del self._desks[ended]
            self._desks[loop] = Desk(self)
        return self._desks[loop]

    def dismiss(self, desk: Desk) -> None:
        """Nobody waits at this desk any more."""
        if self._desks.get(desk.loop) is desk:
            del self._desks[desk.loop]

    @property
    def crowd(self) -> float:
        """How far apart polls of each job must be, for all to share the rate limit, in seconds."""
        return crowd_of(self.policy, self._polled, self.budget.rate)

    @property
    def _polled(self) -> int:
        return sum(desk.polled for desk in self._desks.values())

    @property
    def only_checks(self) -> bool:
        """Whether polls only check what events report, and few are needed.

        Until an event was received since somebody listens, few jobs are polled as without events.
        """
        return self.trust.holds and (self.trust.proven or self._polled > _FEW)

    # Births: ages are counted from them.

    def bear(self, generation_id: str) -> None:
        """A generation was made just now."""
        while len(self._births) >= _MOST_BIRTHS:
            self._births.pop(next(iter(self._births)), None)
        self._births[generation_id] = time.monotonic()

    def born(self, generation_id: str) -> float | None:
        """Seconds since a generation was made, where this client made it."""
        at = self._births.pop(generation_id, None)
        return None if at is None else time.monotonic() - at

    # Trouble.

    def quiet(self, now: float, *, beat: bool) -> float:
        """Seconds for which nothing may be asked; only the server's word stops a fixed beat."""
        until = self._quiet_until if beat else max(self._quiet_until, self._slow_until)
        return max(0.0, until - now)

    def least(self, job: Job) -> float:
        """Seconds that the server asked to wait before this job is asked about again."""
        failure = job.failure
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        return min(asked or 0.0, self.sender.options.retry.retry_after_cap)

    def answered(self, took: float) -> None:
        """A question was answered, `took` seconds after it was asked."""
        self.took = took if not self.took else self.took + 0.2 * (took - self.took)
        self._failures = self._refused = 0

    def troubled(self, failure: DiffioError) -> None:
        """A question failed: everybody pauses where the server asks for it, or it goes on so."""
        self._failures += 1
        self._refused = self._refused + 1 if isinstance(failure, RateLimited) else 0
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        # A fleet that was told the same does not come back at the same instant.
        spread = 1 + 0.05 * random.random()  # noqa: S311 - jitter needs no secrecy
        now, before = time.monotonic(), max(self._quiet_until, self._slow_until)
        if asked:
            cap = self.sender.options.retry.retry_after_cap
            self._quiet_until = max(self._quiet_until, now + min(asked, cap) * spread)
        elif self._refused:
            self._slow_until = max(before, now + self._slower(self._refused - 1) * spread)
        elif self._failures >= _MANY:
            pause = self._slower(self._failures - _MANY)
            self._slow_until = max(before, now + pause * spread)
        until = max(self._quiet_until, self._slow_until)
        if until > max(before, now):
            self.budget.empty(until)
            if before < now:
                reason = f"{type(failure).__name__}: {failure}"
                self.sender.tell(WaitsPaused(until - now, reason))

    def _slower(self, times: int) -> float:
        return min(self.policy.longest, self.policy.first * 2.0 ** min(times, 10))

    @contextlib.contextmanager
    def widened(self, times: float) -> Iterator[None]:
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
        self.budget = Budget(self.policy.budget * times, burst)

    # Signals.

    def hear(self, progress: GenerationProgress, *, by: Desk | None = None) -> None:
        """Take a fact about a generation from elsewhere; from any thread.

        Args:
            progress: The fact.
            by: The desk whose source reported it; None hands it to all. Desks that follow the
                source themselves are left out, or each of n would handle an event n times.
        """
        self.relied(proven=True)
        for loop, desk in list(self._desks.items()):
            if by is None or desk is by or not desk.follows:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(desk.hear, progress)

    def end_reported(self, generation_id: str) -> None:
        """Credit the events with an end: once, on however many loops it is waited for."""
        if generation_id not in self._reported:
            while len(self._reported) >= _MOST_BIRTHS:
                self._reported.pop(next(iter(self._reported)), None)
            self._reported[generation_id] = None
            self.trust.earn()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within the body, facts from elsewhere are expected."""
        self.trust.listen(1)
        try:
            yield
        finally:
            if self.trust.listen(-1):
                self._turned()

    def missed(self, progress: GenerationProgress) -> None:
        """A question found an end that nobody had told."""
        if progress.generation_id and self.trust.lose():
            self._turned()

    def relied(self, *, proven: bool) -> None:
        """Facts from elsewhere come, or (not proven) came not long ago."""
        if self.trust.gain(proven=proven):
            self._turned()

    def _turned(self) -> None:
        for loop, desk in list(self._desks.items()):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(desk.resume)

    def tell_progress(self, progress: GenerationProgress) -> None:
        """Tell observers of progress that changed."""
        self.sender.tell(
            ProgressRead(
                progress.generation_id, progress.api_project_id, progress.status, progress.percent
            )
        )
