"""Whether facts from elsewhere tell of the ends, and how often that is looked into."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from diffio_async._logging import log
from diffio_async._polling import poll_responses, project_listing
from diffio_async.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Group, Job, Subscription
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import WaitPolicy

#: Seconds until a source that failed is tried again; questions are asked meanwhile.
RETRY_AFTER_SECONDS = 30.0
#: Jobs that are looked up at once.
_MAX_PER_TURN = 200


class PushSource(Protocol):
    """Knows of generations from elsewhere. Its methods may be called on several loops."""

    async def mark(self) -> tuple[int, float | None]:
        """A place in what is told from now on, and seconds since the last that was told before."""
        ...

    async def latest(self, generation_ids: Sequence[str]) -> list[GenerationProgress]:
        """The furthest that was told of each so far."""
        ...

    def following(self, mark: int) -> AsyncGenerator[list[GenerationProgress], None]:
        """What is told from a mark on, as it comes."""
        ...

    async def aclose(self) -> None:
        """Let go of what was opened."""
        ...


class PushListener:
    """One desk's: a task that follows the source, and one that looks up who is new."""

    def __init__(self, desk: Scheduler, source: PushSource) -> None:
        self._desk, self._source = desk, source
        self._new: list[Job] = []
        self._marked = asyncio.Event()
        #: Whether the source is followed just now; it is not for a while after a failure.
        self.following = False
        self._follower = desk.loop.create_task(self._follow())
        self._looker: asyncio.Task[None] | None = None

    def look_up(self, job: Job) -> None:
        """Find out what was told of a job before it was waited for."""
        self._new.append(job)
        if self._looker is None or self._looker.done():
            self._looker = self._desk.loop.create_task(self._look())

    def end(self, wait: Subscription) -> None:
        """Nobody waits any more: the last wait sees to the end of the tasks."""
        for task in (self._follower, self._looker):
            if task is not None and not task.done():
                wait.cancelled.add(task)
                task.add_done_callback(wait.cancelled.discard)
                task.cancel()

    async def _follow(self) -> None:
        pacer = self._desk.poller
        while True:
            try:
                mark, age = await self._source.mark()
                with pacer.push_active():
                    if age is not None and age < pacer.policy.push_check_interval:
                        pacer.on_push_confirmed(proven=False)
                    self.following = True
                    self._marked.set()
                    async for told in self._source.following(mark):
                        for progress in told:
                            pacer.on_push(progress, by=self._desk)
                reason = "it was closed"
            except DatabaseError as failure:
                reason = str(failure)
            finally:
                self.following = False
            self._marked.set()
            log.warning("waits ask again instead of listening to the inbox: %s", reason)
            await asyncio.sleep(RETRY_AFTER_SECONDS)

    async def _look(self) -> None:
        # What is told after the mark is followed, what was told before it is found here.
        await self._marked.wait()
        while self._new:
            batch, self._new = self._new[:_MAX_PER_TURN], self._new[_MAX_PER_TURN:]
            try:
                told = await self._source.latest([job.generation_id for job in batch])
            except DatabaseError:
                told = []
            known = {progress.generation_id for progress in told}
            for job in batch:
                # The events of one that was made just now may still be on their way.
                job.covered = job.generation_id in known or job.timeline.start_known
            for progress in told:
                self._desk.on_push(progress)
            self._place([job for job in batch if job.waiters])

    def _place(self, jobs: list[Job]) -> None:
        """Say when to ask about jobs that were held back."""
        desk = self._desk
        groups: set[Group] = set()
        for job in jobs:
            trust = desk.poller.push_health
            sure = job.covered and (trust.confirmed or not job.timeline.start_known)
            if sure or (job.timeline.start_known and not trust.holds):
                poll_responses.schedule_next(desk, job)
            else:
                # Of one made just now the first event may come before there is anything to ask.
                soon = desk.poller.policy.min_interval if job.timeline.start_known else 0.0
                job.next = desk.loop.time() + soon
                desk.schedule(job)
            if job.group is not None and job.group.active and job.group.task is None:
                groups.add(job.group)
        for group in groups:
            schedule_soon(desk, group)


def schedule_soon(desk: Scheduler, group: Group) -> None:
    """Say when a project's next listing is due: soon where something has to be found out."""
    if not group.active:
        return
    if desk.poller.push_health.holds and all(job.known for job in group.members.values()):
        project_listing.schedule_listing(desk, group)
        return
    first = min(job.next for job in group.members.values())
    soon = max(desk.loop.time(), first, group.responded_at + desk.poller.policy.min_interval)
    if not group.ticket or soon < group.due:
        desk.schedule_group(group, soon)


#: Checks that each end heard of allows: two in a hundred ends are looked into, however many wait.
_CREDIT_PER_EVENT = 0.02
#: And one check in each so many parts of the safety check's pause, where hardly anything ends.
_PARTS = 6.0
_MOST = 2.0


class PushHealth:
    """What is asked while facts come from elsewhere: safety checks, and few of them.

    It holds from the first fact that is heard while somebody listens, until a question finds an
    end that nobody had told, or nobody listens any more. Where facts only came a while before, it
    holds on probation: the first checks are as early as questions would be, and no more of them.
    """

    def __init__(self, policy: WaitPolicy) -> None:
        self._policy = policy
        self._listeners = 0
        self.confirmed = False
        self._tokens, self._at = 1.0, time.monotonic()
        self.holds = False

    def listen(self, more: int) -> bool:
        """One more listens (1), or one less (-1). True: it ended to hold."""
        self._listeners += more
        return not self._listeners and self.on_miss()

    def confirm(self, *, proven: bool) -> bool:
        """A fact was heard, or (not proven) some came not long ago. True: something changed."""
        before = self.holds, self.confirmed
        if self._listeners > 0:
            self.holds, self.confirmed = True, self.confirmed or proven
        return before != (self.holds, self.confirmed)

    def on_miss(self) -> bool:
        """Facts were missed. True: it ended to hold."""
        held, self.holds, self.confirmed = self.holds, False, False
        return held

    def credit(self) -> None:
        """An end was heard of."""
        self._tokens = min(_MOST, self._tokens + _CREDIT_PER_EVENT)

    def check_delay(self, jitter: float) -> float:
        """Seconds a question waits at least."""
        return self._policy.push_check_interval * (0.9 + 0.2 * jitter) if self.confirmed else 0.0

    def wait(self, now: float) -> float:
        """Seconds until a safety check may be made; `now` is `time.monotonic()`."""
        return max(0.0, 1 - self._filled(now)) * self._pause

    def acquire(self, now: float) -> None:
        """Count a safety check."""
        self._tokens, self._at = self._filled(now) - 1, now

    @property
    def _pause(self) -> float:
        return self._policy.push_check_interval / _PARTS

    def _filled(self, now: float) -> float:
        return min(_MOST, self._tokens + max(0.0, now - self._at) / self._pause + 1e-9)
