"""Events that report the ends of generations, and how much polling remains beside them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from diffio_async._protocol.rate_limit import TokenBucket
from diffio_async._reporting import log
from diffio_async.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from diffio_async._polling.job import Job
    from diffio_async._polling.poller import Poller
    from diffio_async._polling.project_listing import ProjectListing
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Subscription
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import WaitPolicy

#: Seconds after which a source that failed is opened again; jobs are polled meanwhile.
RETRY_AFTER_SECONDS = 30.0
#: Jobs that are looked up at once.
_MAX_BATCH = 200


class PushSource(Protocol):
    """Source of events about generations. Its methods may be called on several loops."""

    async def cursor(self) -> tuple[int, float | None]:
        """Return the position of the next event, and the seconds since the last event."""
        ...

    async def latest(self, generation_ids: Sequence[str]) -> list[GenerationProgress]:
        """Return the most advanced progress of each generation that has events so far."""
        ...

    def stream(self, cursor: int) -> AsyncGenerator[list[GenerationProgress], None]:
        """Yield the progress that events report, from a cursor on."""
        ...

    async def aclose(self) -> None:
        """Release the resources of the source."""
        ...


class PushListener:
    """Tasks of one scheduler that follow a source and look up earlier events of new jobs."""

    def __init__(self, scheduler: Scheduler, poller: Poller, source: PushSource) -> None:
        self._scheduler, self._poller, self._source = scheduler, poller, source
        self._new_jobs: list[Job] = []
        self._cursor_known = asyncio.Event()
        #: Whether events arrive; not for a while after a failure of the source.
        self.connected = False
        self._stream_task = scheduler.loop.create_task(self._stream())
        self._look_up_task: asyncio.Task[None] | None = None

    def look_up(self, job: Job) -> None:
        """Look up the events of a job that were received before the wait began."""
        self._new_jobs.append(job)
        if self._look_up_task is None or self._look_up_task.done():
            self._look_up_task = self._scheduler.loop.create_task(self._look_up())

    def stop(self, subscription: Subscription) -> None:
        """Cancel the tasks; the last subscription waits for their end."""
        for task in (self._stream_task, self._look_up_task):
            if task is not None and not task.done():
                subscription.cancelled_polls.add(task)
                task.add_done_callback(subscription.cancelled_polls.discard)
                task.cancel()

    async def _stream(self) -> None:
        poller = self._poller
        while True:
            try:
                cursor, age = await self._source.cursor()
                with poller.push_active():
                    if age is not None and age < poller.policy.push_check_interval:
                        poller.on_push_confirmed(proven=False)
                    self.connected = True
                    self._cursor_known.set()
                    async for batch in self._source.stream(cursor):
                        for progress in batch:
                            poller.on_push(progress, by=self._scheduler)
                reason = "it was closed"
            except DatabaseError as failure:
                reason = str(failure)
            finally:
                self.connected = False
            self._cursor_known.set()
            log.warning("the inbox cannot be followed, generations are polled instead: %s", reason)
            await asyncio.sleep(RETRY_AFTER_SECONDS)

    async def _look_up(self) -> None:
        # Events after the cursor are streamed; those before it are found here.
        await self._cursor_known.wait()
        while self._new_jobs:
            batch, self._new_jobs = self._new_jobs[:_MAX_BATCH], self._new_jobs[_MAX_BATCH:]
            try:
                found = await self._source.latest([job.generation_id for job in batch])
            except DatabaseError:
                found = []
            known = {progress.generation_id for progress in found}
            for job in batch:
                # The events of a job that was just created may still be on their way.
                job.push_covered = job.generation_id in known or job.timeline.start_known
            for progress in found:
                self._scheduler.on_push(progress)
            self._schedule([job for job in batch if job.waiters])

    def _schedule(self, jobs: list[Job]) -> None:
        """Schedule the first polls, which were delayed until here."""
        health, policy = self._poller.push_health, self._poller.policy
        listings: set[ProjectListing] = set()
        for job in jobs:
            start_known = job.timeline.start_known
            covered = job.push_covered and (health.confirmed or not start_known)
            if covered or (start_known and not health.holds):
                job.schedule_next()
            else:
                # The first event of a job that was just created may arrive before a poll helps.
                soon = policy.min_interval if start_known else 0.0
                job.schedule_at(self._scheduler.loop.time() + soon)
            if job.listing is not None and job.listing.active and job.listing.task is None:
                listings.add(job.listing)
        for listing in listings:
            listing.schedule_soon()


#: Checks that each reported end allows: two in a hundred ends are checked, however many wait.
_CREDIT_PER_EVENT = 0.02
#: Checks that each `push_check_interval` allows, where hardly anything ends.
_CHECKS_PER_INTERVAL = 6.0
_MAX_CHECKS = 2.0


class PushHealth:
    """Limits polling to a few checks while events are delivered.

    It holds from the first event that is received while there is a listener, until a poll finds
    an end that was not reported or the last listener leaves. If events were only received shortly
    before, it holds but is not confirmed: the first checks come as early as polls would, and are
    no more than these.
    """

    def __init__(self, policy: WaitPolicy) -> None:
        self._policy = policy
        self._listeners = 0
        self.confirmed = False
        #: Limit of the checks.
        self.checks = TokenBucket(
            _CHECKS_PER_INTERVAL / policy.push_check_interval, _MAX_CHECKS, 1.0, time.monotonic()
        )
        self.holds = False

    def listen(self, change: int) -> bool:
        """Add a listener (1) or remove one (-1); return whether the health ceased to hold."""
        self._listeners += change
        return not self._listeners and self.on_miss()

    def confirm(self, *, proven: bool) -> bool:
        """Record an event, or (not proven) a recent one; return whether anything changed."""
        before = self.holds, self.confirmed
        if self._listeners > 0:
            self.holds, self.confirmed = True, self.confirmed or proven
        return before != (self.holds, self.confirmed)

    def on_miss(self) -> bool:
        """Record that an event was missed; return whether the health ceased to hold."""
        held, self.holds, self.confirmed = self.holds, False, False
        return held

    def credit(self) -> None:
        """Record a reported end."""
        self.checks.add(_CREDIT_PER_EVENT)

    def check_delay(self, jitter: float) -> float:
        """Return the least delay of a poll, in seconds; `jitter` is a random number from 0 to 1."""
        return self._policy.push_check_interval * (0.9 + 0.2 * jitter) if self.confirmed else 0.0
