"""What one desk hears from elsewhere, an inbox of webhooks say, while anybody waits there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from diffio_async._engine.pacing import answers, listings
from diffio_async._logging import log
from diffio_async.errors import DatabaseUnusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from diffio_async._engine.pacing.desk import Desk
    from diffio_async._engine.pacing.jobs import Group, Job, Wait
    from diffio_async.models.generations import GenerationProgress


#: Seconds until a source that failed is tried again; questions are asked meanwhile.
AGAIN = 30.0
#: Jobs that are looked up at once.
_AT_ONCE = 200


class Source(Protocol):
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


class Ears:
    """One desk's: a task that follows the source, and one that looks up who is new."""

    def __init__(self, desk: Desk, source: Source) -> None:
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

    def end(self, wait: Wait) -> None:
        """Nobody waits any more: the last wait sees to the end of the tasks."""
        for task in (self._follower, self._looker):
            if task is not None and not task.done():
                wait.cut.add(task)
                task.add_done_callback(wait.cut.discard)
                task.cancel()

    async def _follow(self) -> None:
        pacer = self._desk.pacer
        while True:
            try:
                mark, age = await self._source.mark()
                with pacer.listening():
                    if age is not None and age < pacer.policy.safety:
                        pacer.relied(proven=False)
                    self.following = True
                    self._marked.set()
                    async for told in self._source.following(mark):
                        for progress in told:
                            pacer.hear(progress, by=self._desk)
                reason = "it was closed"
            except DatabaseUnusable as failure:
                reason = str(failure)
            finally:
                self.following = False
            self._marked.set()
            log.warning("waits ask again instead of listening to the inbox: %s", reason)
            await asyncio.sleep(AGAIN)

    async def _look(self) -> None:
        # What is told after the mark is followed, what was told before it is found here.
        await self._marked.wait()
        while self._new:
            batch, self._new = self._new[:_AT_ONCE], self._new[_AT_ONCE:]
            try:
                told = await self._source.latest([job.generation_id for job in batch])
            except DatabaseUnusable:
                told = []
            known = {progress.generation_id for progress in told}
            for job in batch:
                # The events of one that was made just now may still be on their way.
                job.covered = job.generation_id in known or job.course.fresh
            for progress in told:
                self._desk.hear(progress)
            self._place([job for job in batch if job.waiters])

    def _place(self, jobs: list[Job]) -> None:
        """Say when to ask about jobs that were held back."""
        desk = self._desk
        groups: set[Group] = set()
        for job in jobs:
            trust = desk.pacer.trust
            sure = job.covered and (trust.proven or not job.course.fresh)
            if sure or (job.course.fresh and not trust.holds):
                answers.again(desk, job)
            else:
                # Of one made just now the first event may come before there is anything to ask.
                soon = desk.pacer.policy.first if job.course.fresh else 0.0
                job.next = desk.loop.time() + soon
                desk.place(job)
            if job.group is not None and job.group.active and job.group.task is None:
                groups.add(job.group)
        for group in groups:
            hasten(desk, group)


def hasten(desk: Desk, group: Group) -> None:
    """Say when a project's next listing is due: soon where something has to be found out."""
    if not group.active:
        return
    if desk.pacer.trust.holds and all(job.known for job in group.members.values()):
        listings.place(desk, group)
        return
    first = min(job.next for job in group.members.values())
    soon = max(desk.loop.time(), first, group.answered + desk.pacer.policy.first)
    if not group.ticket or soon < group.due:
        desk.place_group(group, soon)
