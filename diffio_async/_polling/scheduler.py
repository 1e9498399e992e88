"""Poll scheduler of one event loop: registers waits and starts the polls that are due."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._polling.job import Job
from diffio_async._polling.job_timeline import JobTimeline, status_rank
from diffio_async._polling.next_poll import next_poll_delay, rate_limited_gap, sufficient_gap
from diffio_async._polling.poll_queue import PollQueue
from diffio_async._polling.project_listing import ProjectListing
from diffio_async._polling.push import PushListener
from diffio_async._polling.subscriptions import Waiter
from diffio_async._storage.loops import running_loop

if TYPE_CHECKING:
    from diffio_async._polling.poll_queue import Item
    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import Subscription
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions

    _ProjectKey = tuple[RequestOptions | None, str]


class Scheduler:
    """Registry of the waits on one event loop; idle without waits.

    A timer is set for the next poll. Each poll runs in a task of its own, which is cancelled with
    the last waiter for its job. Methods may be called on the thread of the loop only.
    """

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.loop = running_loop()
        self.jobs: dict[tuple[RequestOptions | None, str], Job] = {}
        self.listings: dict[_ProjectKey, ProjectListing] = {}
        #: Jobs of projects that have one: most of a batch, and a listing takes memory.
        self._lone_jobs: dict[_ProjectKey, Job] = {}
        self._numbers = itertools.count()
        #: Jobs that are polled by a listing of their project, not counting the first of each.
        self.listed = 0
        #: Jobs that are polled early to learn how long jobs take.
        self.probes: set[Job] = set()
        self._shared_options: set[RequestOptions | None] = set()
        self.queue = PollQueue(self, self.loop, poller)
        self._push_listener: PushListener | None = None

    # Registration.

    def subscribe(
        self, subscription: Subscription, generation_id: str, api_project_id: str | None
    ) -> Waiter:
        """Start to wait for a job."""
        now = self.loop.time()
        job = self.jobs.get((subscription.options, generation_id))
        if job is None:
            job = self._create_job(subscription, generation_id, api_project_id)
        else:
            job.timeline = evolve(job.timeline, watch_started_at=now)
            if job.next_poll_at > now and not (job.push_covered and self.poller.only_checks):
                # Poll for the new waiter as soon as the shortest pause allows.
                earliest = job.responded_at + self.poller.policy.min_interval
                job.next_poll_at = min(job.next_poll_at, max(now, earliest))
        waiter = Waiter(subscription, job)
        if subscription.timeout == 0:
            waiter.poll_once = True
        elif subscription.timeout is not None:
            waiter.deadline = now + subscription.timeout
            self.queue.schedule_deadline(waiter)
        job.waiters.append(waiter)
        self._shared_options.add(subscription.options)
        if job.api_project_id is None:
            job.api_project_id = api_project_id
        self.assign_listing(job)
        if job.last_progress is not None:
            waiter.last_progress = job.last_progress
            subscription.on_progress(waiter, job.last_progress, None)
        job.schedule()
        return waiter

    def _create_job(
        self, subscription: Subscription, generation_id: str, api_project_id: str | None
    ) -> Job:
        now, age = self.loop.time(), self.poller.age_of(generation_id)
        job = Job(
            scheduler=self,
            number=next(self._numbers),
            generation_id=generation_id,
            api_project_id=api_project_id,
            options=subscription.options,
            timeline=JobTimeline(
                now - (age or 0.0), start_known=age is not None, watch_started_at=now
            ),
        )
        self.jobs[subscription.options, generation_id] = job
        job.next_poll_at = now + job.initial_delay(subscription)
        if self.poller.source is not None:
            if self._push_listener is None:
                self._push_listener = PushListener(self, self.poller, self.poller.source)
            self._push_listener.look_up(job)
        return job

    def remove(self, job: Job, subscription: Subscription) -> None:
        """Remove a job without waiters; `subscription` was the last and waits for its task."""
        self.jobs.pop((job.options, job.generation_id), None)
        self.probes.discard(job)
        # The traceback of the failure refers to the client.
        job.failure = None
        self._cancel(job, subscription)
        self._leave_listing(job, subscription)
        if not self.jobs:
            self.queue.clear()
            self.poller.remove_scheduler(self)
            listener, self._push_listener = self._push_listener, None
            if listener is not None:
                listener.stop(subscription)

    def assign_listing(self, job: Job) -> None:
        """Poll a job by its project's listing, if its waiters allow it.

        There is a listing if the project is known and has several jobs.
        """
        if all(_needs_single_polls(waiter) for waiter in job.waiters):
            self._leave_listing(job, job.waiters[0].subscription)
        elif job.listing is None and job.api_project_id:
            key = (job.options, job.api_project_id)
            listing = self.listings.get(key)
            if listing is None:
                first = self._lone_jobs.setdefault(key, job)
                if first is job:
                    return
                listing = self.listings[key] = ProjectListing(
                    scheduler=self, api_project_id=job.api_project_id, options=job.options
                )
                listing.add(self._lone_jobs.pop(key))
            listing.add(job)

    def _leave_listing(self, job: Job, subscription: Subscription) -> None:
        if job.listing is not None:
            job.listing.remove(job, subscription)
        elif job.api_project_id:
            key = (job.options, job.api_project_id)
            if self._lone_jobs.get(key) is job:
                del self._lone_jobs[key]

    def remove_listing(self, listing: ProjectListing, subscription: Subscription) -> None:
        """Remove a listing without members; `subscription` waits for the end of its task."""
        self.listings.pop((listing.options, listing.api_project_id), None)
        self._cancel(listing, subscription)

    def _cancel(self, item: Item, subscription: Subscription) -> None:
        item.entry_id = 0
        task = item.task
        if task is None or task is asyncio.current_task(self.loop):
            return
        subscription.cancelled_polls.add(task)
        task.add_done_callback(subscription.cancelled_polls.discard)
        task.cancel()

    @property
    def requests_per_round(self) -> int:
        """Requests that it takes to poll every job once."""
        return len(self.jobs) - self.listed

    # Events.

    @property
    def has_push_source(self) -> bool:
        """Whether it receives the events of the source by itself."""
        return self._push_listener is not None and self._push_listener.connected

    def on_push(self, progress: GenerationProgress) -> None:
        """Handle a generation's progress that an event reported."""
        keys = [(options, progress.generation_id) for options in self._shared_options]
        jobs = [self.jobs[key] for key in keys if key in self.jobs]
        rank = status_rank(progress.status)
        if jobs and rank > 1:
            self.poller.end_reported(progress.generation_id)
        for job in jobs:
            job.push_covered = True
            if not progress.api_project_id:
                progress = evolve(progress, api_project_id=job.api_project_id or "")
            if rank > 1:
                job.on_reported_end(progress, reliable=True)
            elif rank > job.status_rank:
                job.status_rank = rank
                job.report_progress(progress, None, from_single_poll=False)

    def reschedule_all(self) -> None:
        """Schedule all polls again after a change of the push health."""
        for job in list(self.jobs.values()):
            if job.known or not self.poller.push_health.holds:
                job.schedule_next()
        for listing in list(self.listings.values()):
            if listing.task is None:
                listing.schedule_soon()

    # Polls.

    def poll_delay(self, timeline: JobTimeline, jitter: float, late: float) -> float:
        """Return the seconds until the next poll of a job: see `next_poll_delay`."""
        poller, now = self.poller, self.loop.time()
        gap = rate_limited_gap(poller.policy, poller.requests_per_round, poller.rate_limiter.rate)
        delay = next_poll_delay(
            poller.policy, timeline, poller.model, now, jitter, rate_gap=gap, late=late
        )
        health = poller.push_health
        if health.holds and not health.confirmed:
            # Events are expected, but none came since: no more polls than a job may need.
            delay = max(delay, sufficient_gap(poller.policy, timeline.waited(now)))
        return delay

    def start_poll(self, item: Item, *, counted: bool) -> bool:
        """Poll an item whose time has come; return whether a request is sent.

        Args:
            item: The item.
            counted: Whether the poll counts towards the limit of polls in flight.
        """
        if not item.ready():
            return False
        task = self.loop.create_task(item.poll(), context=item.context)
        item.task = task
        self.queue.in_flight += counted

        def on_done(_: asyncio.Task[None]) -> None:
            self.queue.in_flight -= counted
            if item.task is task:
                item.task = None
            if self.jobs:
                item.on_poll_done()
                self.queue.set_timer()

        task.add_done_callback(on_done)
        return True


def _needs_single_polls(waiter: Waiter) -> bool:
    subscription = waiter.subscription
    return subscription.poll_interval is not None or (waiter.poll_once and subscription.is_single)
