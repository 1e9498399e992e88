"""The desk of one loop: who waits for what, what is due when, which questions are in the air."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._polling import groups, poll_responses, project_listing
from diffio_async._polling.generation_rows import status_rank
from diffio_async._polling.job_timeline import JobTimeline
from diffio_async._polling.poll_queue import PollQueue
from diffio_async._polling.push import PushListener, schedule_soon
from diffio_async._polling.subscriptions import Group, Job, Subscription, Waiter
from diffio_async._polling.wait_errors import wait_timeout
from diffio_async._storage.loops import running_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import Item
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions

#: The last question is placed so many seconds before the deadline, or twice what one takes.
LAST_MARGIN = 0.05


class Scheduler:
    """Where the waits of one loop are kept. Nothing runs while nobody waits.

    A timer is set for what is due next; each question runs in a task of its own, which ends with
    its last waiter. Only the loop's own thread may call.
    """

    def __init__(self, pacer: Poller) -> None:
        self.poller = pacer
        self.loop = running_loop()
        self.jobs: dict[tuple[RequestOptions, str], Job] = {}
        self.groups: dict[tuple[RequestOptions, str], Group] = {}
        self._count = itertools.count()
        #: Jobs that are asked about by a listing of their project, beyond the first of each.
        self.listed = 0
        #: Jobs that are asked about early, for all to learn how long they take.
        self.probes: set[Job] = set()
        self._shared_options: set[RequestOptions] = set()
        self.queue = PollQueue(self)
        self._push_listener: PushListener | None = None

    # Waits come and go.

    def join(self, wait: Subscription, generation_id: str, api_project_id: str | None) -> Waiter:
        """Begin to wait for a job."""
        now = self.loop.time()
        key = (wait.options, generation_id)
        job = self.jobs.get(key)
        if job is None:
            born = self.poller.age_of(generation_id)
            job = self.jobs[key] = Job(
                desk=self,
                number=next(self._count),
                generation_id=generation_id,
                api_project_id=api_project_id,
                options=wait.options,
                timeline=JobTimeline(
                    now - (born or 0.0), start_known=born is not None, watch_started_at=now
                ),
            )
            job.next = now + poll_responses.is_paused(self, wait, job)
            self._look_up(job)
        else:
            job.timeline = evolve(job.timeline, watch_started_at=now)
            if job.next > now and not (job.covered and self.poller.only_checks):
                # Somebody new wants to know: not later than the shortest pause allows.
                job.next = min(
                    job.next, max(now, job.responded_at + self.poller.policy.min_interval)
                )
        waiter = Waiter(wait, job)
        if wait.timeout == 0:
            waiter.poll_once = True
        elif wait.timeout is not None:
            waiter.deadline = now + wait.timeout
            self.queue.schedule_deadline(waiter)
        job.waiters.append(waiter)
        self._shared_options.add(wait.options)
        if job.api_project_id is None:
            job.api_project_id = api_project_id
        groups.enter(self, job)
        if job.last is not None:
            waiter.last_progress = job.last
            wait.changed(waiter, job.last, None)
        self.schedule(job)
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
            self.schedule(job)

    def forget(self, job: Job, wait: Subscription) -> None:
        """Drop a job that nobody waits for any more; what is in the air for it is cut."""
        self.jobs.pop((wait.options, job.generation_id), None)
        self.probes.discard(job)
        job.ticket = 0
        # Its traceback holds the client.
        job.failure = None
        self._cancel(job, wait)
        groups.leave(self, job, wait)
        if not self.jobs:
            self.queue.clear()
            self.poller.discard(self)
            ears, self._push_listener = self._push_listener, None
            if ears is not None:
                ears.end(wait)

    def drop(self, group: Group, wait: Subscription) -> None:
        """Drop a group that has no members."""
        self.groups.pop((group.options, group.api_project_id), None)
        group.ticket = 0
        self._cancel(group, wait)

    def _cancel(self, item: Item, wait: Subscription) -> None:
        task = item.task
        if task is None or task is asyncio.current_task(self.loop):
            return
        wait.cancelled.add(task)
        task.add_done_callback(wait.cancelled.discard)
        task.cancel()

    @property
    def polled(self) -> int:
        """How many requests it takes to poll every job once."""
        return len(self.jobs) - self.listed

    def jobs_named(self, generation_id: str) -> list[Job]:
        """The jobs of a generation, one for each set of options."""
        keys = [(options, generation_id) for options in self._shared_options]
        return [self.jobs[key] for key in keys if key in self.jobs]

    # What is told elsewhere.

    def _look_up(self, job: Job) -> None:
        if self.poller.source is not None:
            if self._push_listener is None:
                self._push_listener = PushListener(self, self.poller.source)
            self._push_listener.look_up(job)

    @property
    def follows(self) -> bool:
        """Whether it receives what the source reports by itself."""
        return self._push_listener is not None and self._push_listener.following

    def on_push(self, progress: GenerationProgress) -> None:
        """Take a fact about a generation."""
        jobs = self.jobs_named(progress.generation_id)
        if jobs and status_rank(progress.status) > 1:
            self.poller.end_reported(progress.generation_id)
        for job in jobs:
            job.covered = True
            if not progress.api_project_id:
                progress = evolve(progress, api_project_id=job.api_project_id or "")
            if status_rank(progress.status) > 1:
                poll_responses.on_reported_end(self, job, progress, sure=True)
            elif status_rank(progress.status) > job.rank:
                job.rank = status_rank(progress.status)
                poll_responses.notify_progress(self, job, progress, None, alone=False)

    def resume(self) -> None:
        """Trust in what is told elsewhere began, or ended: ask accordingly."""
        for job in list(self.jobs.values()):
            if job.known or not self.poller.push_health.holds:
                poll_responses.schedule_next(self, job)
        for group in list(self.groups.values()):
            if group.task is None:
                schedule_soon(self, group)

    # What is due when.

    def schedule(self, job: Job) -> None:
        """Put a job where its next question is due."""
        if job.task is not None:
            return
        now, due, beat = self.loop.time(), math.inf, math.inf
        for waiter in job.waiters:
            wait = waiter.wait
            chance = waiter.deadline - max(LAST_MARGIN, 2 * self.poller.took)
            if chance <= max(now, job.responded_at):
                chance = math.inf
            if wait.poll_interval is not None:
                beat = min(
                    beat,
                    chance,
                    job.responded_at + max(wait.poll_interval, self.poller.min_delay(job)),
                )
            elif waiter.poll_once and wait.lone:
                beat = now
            elif groups.polled_alone(job):
                due = min(due, chance, job.next)
        if beat <= due:
            self.queue.schedule(job, max(beat, now), beat=True)
        elif due < math.inf:
            safety = self.poller.only_checks and job.known and job.reported_end is None
            self.queue.schedule(job, due, check=safety and due == job.next and not job.checking)
        else:
            job.ticket = 0

    def schedule_group(self, group: Group, due: float, *, check: bool = False) -> None:
        """Put a group where its next listing is due; `check` where it is only a safety check."""
        self.queue.schedule(group, due, check=check)

    def start_poll(self, item: Item, *, counted: bool) -> bool:
        """Ask about an item that is due; whether a question was sent."""
        if isinstance(item, Group):
            if not groups.ready(self, item):
                return False
            wait = next(iter(item.members.values())).waiters[0].wait
            self._start(
                item, project_listing.poll_listing(self, item), wait.context.copy(), counted=True
            )
        elif isinstance(item, Job):
            context = item.waiters[0].wait.context.copy()
            self._start(item, poll_responses.poll(self, item), context, counted=counted)
        return True

    def _start(
        self, item: Item, asking: Coroutine[None, None, None], context: Context, *, counted: bool
    ) -> None:
        task = self.loop.create_task(asking, context=context)
        item.task = task
        self.queue.polling += counted

        def over(_: asyncio.Task[None]) -> None:
            self.queue.polling -= counted
            if item.task is task:
                item.task = None
            if self.jobs:
                if isinstance(item, Job) and item.waiters:
                    self.schedule(item)
                self.queue.set_timer()

        task.add_done_callback(over)

    def expire(self, waiter: Waiter) -> None:
        """A deadline has come."""
        job = waiter.job
        end = job.reported_end
        if end is None:
            self.end(waiter, wait_timeout(waiter, self.latest(job)))
        else:
            self.end(waiter, poll_responses.reported_end_of(end))

    def end(self, waiter: Waiter, end: GenerationProgress | DiffioError) -> None:
        """End one wait for a job; others may go on."""
        self.leave(waiter)
        waiter.wait.ended(waiter, end, None)

    def latest(self, job: Job) -> GenerationProgress | None:
        """The last that is known of a job."""
        return project_listing.latest(job)
