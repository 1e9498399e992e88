"""The desk of one loop: who waits for what, what is due when, which questions are in the air."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._engine.loops import running_loop
from diffio_async._engine.pacing import answers, groups, listings
from diffio_async._engine.pacing.agenda import Agenda
from diffio_async._engine.pacing.ears import Ears, hasten
from diffio_async._engine.pacing.ends import timed_out
from diffio_async._engine.pacing.jobs import Group, Job, Wait, Waiter
from diffio_async._wire.courses import Course
from diffio_async._wire.listing import rank

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context

    from diffio_async._engine.pacing import Pacer
    from diffio_async._engine.pacing.jobs import Item
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions

#: The last question is placed so many seconds before the deadline, or twice what one takes.
LAST_MARGIN = 0.05


class Desk:
    """Where the waits of one loop are kept. Nothing runs while nobody waits.

    A timer is set for what is due next; each question runs in a task of its own, which ends with
    its last waiter. Only the loop's own thread may call.
    """

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.loop = running_loop()
        self.jobs: dict[tuple[RequestOptions, str], Job] = {}
        self.groups: dict[tuple[RequestOptions, str], Group] = {}
        self._count = itertools.count()
        #: Jobs that are asked about by a listing of their project, beyond the first of each.
        self.listed = 0
        #: Jobs that are asked about early, for all to learn how long they take.
        self.scouts: set[Job] = set()
        self._kinds: set[RequestOptions] = set()
        self.agenda = Agenda(self)
        self._ears: Ears | None = None

    # Waits come and go.

    def join(self, wait: Wait, generation_id: str, api_project_id: str | None) -> Waiter:
        """Begin to wait for a job."""
        now = self.loop.time()
        key = (wait.options, generation_id)
        job = self.jobs.get(key)
        if job is None:
            born = self.pacer.born(generation_id)
            job = self.jobs[key] = Job(
                desk=self,
                number=next(self._count),
                generation_id=generation_id,
                api_project_id=api_project_id,
                options=wait.options,
                course=Course(now - (born or 0.0), fresh=born is not None, watched=now),
            )
            job.next = now + answers.held(self, wait, job)
            self._look_up(job)
        else:
            job.course = evolve(job.course, watched=now)
            if job.next > now and not (job.covered and self.pacer.only_checks):
                # Somebody new wants to know: not later than the shortest pause allows.
                job.next = min(job.next, max(now, job.answered + self.pacer.policy.first))
        waiter = Waiter(wait, job)
        if wait.timeout == 0:
            waiter.once = True
        elif wait.timeout is not None:
            waiter.deadline = now + wait.timeout
            self.agenda.put_deadline(waiter)
        job.waiters.append(waiter)
        self._kinds.add(wait.options)
        if job.api_project_id is None:
            job.api_project_id = api_project_id
        groups.enter(self, job)
        if job.last is not None:
            waiter.told = job.last
            wait.changed(waiter, job.last, None)
        self.place(job)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting; the last to leave ends the questions about the job."""
        if waiter.gone:
            return
        waiter.gone = True
        job = waiter.job
        job.waiters.remove(waiter)
        if not job.waiters:
            self.forget(job, waiter.wait)
        else:
            groups.enter(self, job)
            self.place(job)

    def forget(self, job: Job, wait: Wait) -> None:
        """Drop a job that nobody waits for any more; what is in the air for it is cut."""
        self.jobs.pop((wait.options, job.generation_id), None)
        self.scouts.discard(job)
        job.ticket = 0
        # Its traceback holds the client.
        job.failure = None
        self._cut(job, wait)
        groups.leave(self, job, wait)
        if not self.jobs:
            self.agenda.clear()
            self.pacer.dismiss(self)
            ears, self._ears = self._ears, None
            if ears is not None:
                ears.end(wait)

    def drop(self, group: Group, wait: Wait) -> None:
        """Drop a group that has no members."""
        self.groups.pop((group.options, group.api_project_id), None)
        group.ticket = 0
        self._cut(group, wait)

    def _cut(self, item: Item, wait: Wait) -> None:
        task = item.task
        if task is None or task is asyncio.current_task(self.loop):
            return
        wait.cut.add(task)
        task.add_done_callback(wait.cut.discard)
        task.cancel()

    @property
    def polled(self) -> int:
        """How many requests it takes to poll every job once."""
        return len(self.jobs) - self.listed

    def named(self, generation_id: str) -> list[Job]:
        """The jobs of a generation, one for each set of options."""
        keys = [(options, generation_id) for options in self._kinds]
        return [self.jobs[key] for key in keys if key in self.jobs]

    # What is told elsewhere.

    def _look_up(self, job: Job) -> None:
        if self.pacer.source is not None:
            if self._ears is None:
                self._ears = Ears(self, self.pacer.source)
            self._ears.look_up(job)

    @property
    def follows(self) -> bool:
        """Whether it receives what the source reports by itself."""
        return self._ears is not None and self._ears.following

    def hear(self, progress: GenerationProgress) -> None:
        """Take a fact about a generation."""
        jobs = self.named(progress.generation_id)
        if jobs and rank(progress.status) > 1:
            self.pacer.end_reported(progress.generation_id)
        for job in jobs:
            job.covered = True
            if not progress.api_project_id:
                progress = evolve(progress, api_project_id=job.api_project_id or "")
            if rank(progress.status) > 1:
                answers.told_elsewhere(self, job, progress, sure=True)
            elif rank(progress.status) > job.rank:
                job.rank = rank(progress.status)
                answers.progressed(self, job, progress, None, alone=False)

    def resume(self) -> None:
        """Trust in what is told elsewhere began, or ended: ask accordingly."""
        for job in list(self.jobs.values()):
            if job.known or not self.pacer.trust.holds:
                answers.again(self, job)
        for group in list(self.groups.values()):
            if group.task is None:
                hasten(self, group)

    # What is due when.

    def place(self, job: Job) -> None:
        """Put a job where its next question is due."""
        if job.task is not None:
            return
        now, due, beat = self.loop.time(), math.inf, math.inf
        for waiter in job.waiters:
            wait = waiter.wait
            chance = waiter.deadline - max(LAST_MARGIN, 2 * self.pacer.took)
            if chance <= max(now, job.answered):
                chance = math.inf
            if wait.beat is not None:
                beat = min(beat, chance, job.answered + max(wait.beat, self.pacer.least(job)))
            elif waiter.once and wait.lone:
                beat = now
            elif groups.asked_alone(job):
                due = min(due, chance, job.next)
        if beat <= due:
            self.agenda.put(job, max(beat, now), beat=True)
        elif due < math.inf:
            safety = self.pacer.only_checks and job.known and job.verdict is None
            self.agenda.put(job, due, check=safety and due == job.next and not job.checking)
        else:
            job.ticket = 0

    def place_group(self, group: Group, due: float, *, check: bool = False) -> None:
        """Put a group where its next listing is due; `check` where it is only a safety check."""
        self.agenda.put(group, due, check=check)

    def ask(self, item: Item, *, counted: bool) -> bool:
        """Ask about an item that is due; whether a question was sent."""
        if isinstance(item, Group):
            if not groups.ready(self, item):
                return False
            wait = next(iter(item.members.values())).waiters[0].wait
            self._start(item, listings.ask(self, item), wait.context.copy(), counted=True)
        elif isinstance(item, Job):
            context = item.waiters[0].wait.context.copy()
            self._start(item, answers.ask(self, item), context, counted=counted)
        return True

    def _start(
        self, item: Item, asking: Coroutine[None, None, None], context: Context, *, counted: bool
    ) -> None:
        task = self.loop.create_task(asking, context=context)
        item.task = task
        self.agenda.asking += counted

        def over(_: asyncio.Task[None]) -> None:
            self.agenda.asking -= counted
            if item.task is task:
                item.task = None
            if self.jobs:
                if isinstance(item, Job) and item.waiters:
                    self.place(item)
                self.agenda.set_timer()

        task.add_done_callback(over)

    def expire(self, waiter: Waiter) -> None:
        """A deadline has come."""
        job = waiter.job
        end = job.verdict
        if end is None:
            self.end(waiter, timed_out(waiter, self.latest(job)))
        else:
            self.end(waiter, answers.verdict_of(end))

    def end(self, waiter: Waiter, end: GenerationProgress | DiffioError) -> None:
        """End one wait for a job; others may go on."""
        self.leave(waiter)
        waiter.wait.ended(waiter, end, None)

    def latest(self, job: Job) -> GenerationProgress | None:
        """The last that is known of a job."""
        return listings.latest(job)
