"""Polling of a whole project: one listing in place of a poll for each of its jobs.

A listing may lag behind, so single jobs are polled as a check: the more of them, the more often a
check finds an end that the listing did not contain.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from diffio_async._polling.job_timeline import (
    LISTING,
    ProgressSample,
    parse_rows,
    progress_from_row,
    status_rank,
    with_sample,
)
from diffio_async._polling.next_poll import max_poll_gap, rate_limited_gap
from diffio_async._polling.poll_queue import Item
from diffio_async._protocol import endpoints
from diffio_async._protocol.retry import backoff, is_retryable
from diffio_async.errors import AuthenticationFailed, ClientClosed, DiffioError, PermissionDenied

if TYPE_CHECKING:
    from contextvars import Context

    from diffio_async._polling.job import Job
    from diffio_async._polling.job_timeline import GenerationRow
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Subscription
    from diffio_async.options import RequestOptions

#: Jobs of one project from which on it is listed.
MIN_MEMBERS = 2
#: Members whose timelines are kept up to date, and how many of these determine the interval.
MAX_TRACKED, MAX_SAMPLED = 200, 32
#: Share of a job's age after which the timeline records again that the job still runs.
STALE_FRACTION = 0.05
#: Interval between listings as a multiple of the CPU time that one takes.
MIN_COST_MULTIPLE = 40
#: Listings in a row without a job before that is polled individually.
MAX_MISSING_ROWS = 2
#: Failures in a row before a project's jobs are polled individually, and seconds until the listing
#: is tried again.
MAX_FAILURES = 3
PAUSE_SECONDS = 30.0
#: Bytes of the response of a single poll, and the size of a listing, as a multiple of the single
#: polls that it replaces, from which it is not worth it for at most so many members.
SINGLE_POLL_BYTES, MAX_SIZE_MULTIPLE, FEW_MEMBERS = 800, 20, 10
#: A job is checked if the last check is so many of the shortest pauses ago, or half of its age.
CHECK_INTERVALS = 3.0
#: Checks for each listing: the minimum in a large project, and the maximum.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 0.1, 8.0


@define(eq=False, kw_only=True)
class ProjectListing(Item):
    """The jobs of one project under one set of options; listed while there are several."""

    scheduler: Scheduler
    api_project_id: str
    options: RequestOptions | None
    members: dict[str, Job] = field(factory=dict)
    active: bool = False
    #: The listing is unavailable until this instant: its jobs are polled individually.
    paused_until: float = -math.inf
    failures: int = 0
    #: Whether the last listing was refused with 403.
    denied: bool = False
    round: int = 0
    #: When the last listing was requested, and received.
    polled_at: float = -math.inf
    responded_at: float = -math.inf
    #: Checks for each listing, and the fraction of a check that is saved up.
    sample_rate: float = 0.0
    sample_credit: float = 0.0
    #: Seconds of CPU time that the last listing took.
    cpu_cost: float = 0.0

    # Members.

    def add(self, job: Job) -> None:
        """Poll a job by this listing."""
        job.listing = self
        self.members[job.generation_id] = job
        self.scheduler.listed += self.active
        self.update_mode()
        if self.active and self.task is None:
            soon = max(job.next_poll_at, self._earliest)
            if soon < self.run_at:
                self.scheduler.queue.schedule(self, soon)

    def remove(self, job: Job, subscription: Subscription) -> None:
        """Poll a job no more; the listing is removed with its last member."""
        job.listing = None
        self.members.pop(job.generation_id, None)
        self.scheduler.listed -= self.active
        if self.members:
            self.update_mode()
        else:
            self.scheduler.remove_listing(self, subscription)

    def update_mode(self) -> None:
        """Start or stop listing by the number of members."""
        scheduler = self.scheduler
        active = len(self.members) >= MIN_MEMBERS and scheduler.loop.time() >= self.paused_until
        if active == self.active:
            return
        self.active = active
        others = len(self.members) - 1
        scheduler.listed += others if active else -others
        if active:
            for job in self.members.values():
                job.schedule()
            if self.task is None:
                scheduler.queue.schedule(self, max(self._first_due, self._earliest))
        else:
            self.entry_id = 0
            for job in self.members.values():
                if job.task is None:
                    job.schedule_next()

    @property
    def _first_due(self) -> float:
        return min(job.next_poll_at for job in self.members.values())

    @property
    def _earliest(self) -> float:
        """When the next listing may be requested."""
        return self.responded_at + self.scheduler.poller.policy.min_interval

    # Schedule.

    @property
    def context(self) -> Context:
        """A copy of the context of the first member's first call."""
        return next(iter(self.members.values())).context

    def ready(self) -> bool:
        """Return whether to request the listing now; after a pause, try to activate it first."""
        if not self.active:
            self.update_mode()
            return False
        return self.task is None

    def on_poll_done(self) -> None:
        """Do nothing: `poll` schedules the next listing."""

    def schedule(self, min_delay: float = 0.0) -> None:
        """Schedule the next listing by the combined intervals of the members."""
        if not self.active or not self.members:
            return
        scheduler, poller = self.scheduler, self.scheduler.poller
        now = scheduler.loop.time()
        jitter = random.random()  # noqa: S311 - jitter needs no secrecy
        members = list(self.members.values())
        stride = self._stride
        sample = [job for job in members if job.number % stride == 0] or members
        if len(sample) > MAX_SAMPLED:
            sample = random.sample(sample, MAX_SAMPLED)
        delays = [job.poll_delay(jitter) for job in sample]
        frequency = sum(1 / max(delay, 0.1) ** 2 for delay in delays)
        delay = 1 / math.sqrt(frequency * len(members) / len(sample))
        # A listing of a few jobs may come as soon as polls of each of them might.
        rate_gap = rate_limited_gap(poller.policy, len(members), poller.rate_limiter.rate)
        few = max_poll_gap(poller.policy, 0.0, rate_gap)
        delay = max(
            delay,
            min(poller.policy.min_interval * (1 + 0.2 * jitter), max(few, min(delays))),
            MIN_COST_MULTIPLE * self.cpu_cost,
            poller.push_health.check_delay(jitter),
            min_delay,
        )
        deadline = min(waiter.deadline for job in members for waiter in job.waiters)
        final = deadline - max(0.05, 2 * poller.latency) - self.cpu_cost
        is_final = now < final < now + delay
        scheduler.queue.schedule(
            self,
            final if is_final else now + delay,
            check=poller.only_checks and not is_final,
        )

    def schedule_soon(self) -> None:
        """Schedule the next listing as early as allowed if it is needed to learn anything."""
        if not self.active:
            return
        if self.scheduler.poller.push_health.holds and all(
            job.known for job in self.members.values()
        ):
            self.schedule()
            return
        soon = max(self.scheduler.loop.time(), self._first_due, self._earliest)
        if not self.entry_id or soon < self.run_at:
            self.scheduler.queue.schedule(self, soon)

    @property
    def _stride(self) -> int:
        """One in so many members is tracked; the others are much like it."""
        return max(1, len(self.members) // MAX_TRACKED)

    # Responses.

    async def poll(self) -> None:
        """Request the listing once, and handle the response or the failure."""
        scheduler = self.scheduler
        call = endpoints.list_project_generations(self.api_project_id)
        sent_at = scheduler.loop.time()
        for job in self.members.values():
            job.late = self.late
        try:
            body = await scheduler.poller.sender.body(call, self.options)
            started_at = time.thread_time()
            self._apply(body, sent_at)
            self.cpu_cost = time.thread_time() - started_at
        except DiffioError as failure:
            self._on_failure(failure)
        except Exception as bug:  # noqa: BLE001 - raised by the waiting calls, where it is seen
            for job in list(self.members.values()):
                job.abort(bug)
        else:
            scheduler.poller.on_response(scheduler.loop.time() - sent_at, listing=True)
            self.failures = 0
            if self._is_too_large(len(body)):
                self._pause(PAUSE_SECONDS)
            else:
                self._sample_members()
                self.schedule()

    def _is_too_large(self, size: int) -> bool:
        members = len(self.members)
        worth = MAX_SIZE_MULTIPLE * SINGLE_POLL_BYTES * max(1, members)
        return members <= FEW_MEMBERS and size > worth

    def _apply(self, body: bytes, sent_at: float) -> None:
        """Apply what is new in a listing; statuses never go back."""
        now = self.scheduler.loop.time()
        self.round += 1
        previous, stride = self.responded_at, self._stride
        for row in parse_rows(body):
            job = self.members.get(row.generation_id)
            if job is not None:
                job.listing_round, job.missing_rows = self.round, 0
                if status_rank(row.status) > 1:
                    self._apply_end(job, row, previous)
                elif job.status_rank <= status_rank(row.status):
                    self._apply_row(job, row, sent_at, tracked=job.number % stride == 0)
        self.polled_at, self.responded_at = sent_at, now
        for job in [each for each in self.members.values() if each.listing_round != self.round]:
            job.missing_rows += 1
            if job.missing_rows >= MAX_MISSING_ROWS and not job.absent_from_listing:
                job.absent_from_listing = True
                job.schedule_at(now)

    def _apply_end(self, job: Job, row: GenerationRow, previous: float) -> None:
        if job.reported_end is not None:
            return
        last_polled_at = job.timeline.last_polled_at
        if last_polled_at is not None and previous > last_polled_at:
            job.timeline = evolve(job.timeline, last_polled_at=previous)
        progress = progress_from_row(row, job.api_project_id or "")
        if job.known:
            self.scheduler.poller.on_push_missed(progress)
        job.on_reported_end(progress, reliable=False)

    def _apply_row(self, job: Job, row: GenerationRow, sent_at: float, *, tracked: bool) -> None:
        now, model = self.scheduler.loop.time(), self.scheduler.poller.model
        rank, last, timeline = status_rank(row.status), job.last_row, None
        backwards = last is not None and (row.percent or 0) < (last.percent or 0)
        changed = last is None or row.status != last.status or row.percent != last.percent
        if sent_at >= job.responded_at and changed and (rank > job.status_rank or not backwards):
            job.last_row, job.status_rank, job.absent_from_listing = row, rank, False
            if tracked:
                sample = ProgressSample(now, LISTING if rank else "", row.percent)
                timeline = with_sample(job.timeline, sample)
        elif tracked and _is_stale(job, now):
            timeline = evolve(job.timeline, last_polled_at=now, failures=0)
        if timeline is not None:
            model.observe_sample(job.timeline, timeline)
            job.timeline = timeline
        if job.last_row is row:
            if any(waiter.subscription.wants_progress for waiter in job.waiters):
                progress = progress_from_row(row, job.api_project_id or "")
                job.report_progress(progress, None, from_single_poll=False)
            else:
                job.last_progress = None
        for waiter in job.waiters.copy():
            if waiter.poll_once and not waiter.subscription.is_single:
                job.end(waiter, waiter.timeout_error(job.latest_progress))

    def _on_failure(self, failure: DiffioError) -> None:
        if isinstance(failure, (AuthenticationFailed, ClientClosed)):
            self.fail(failure)
            return
        if is_retryable(failure):
            self.failures += 1
            self.scheduler.poller.on_failure(failure)
            if self.failures < MAX_FAILURES:
                min_interval = self.scheduler.poller.policy.min_interval
                self.schedule(backoff(self.failures + 1, min_interval, math.inf))
            else:
                self._pause(PAUSE_SECONDS)
            return
        self.denied = self.denied or isinstance(failure, PermissionDenied)
        self._pause(4 * PAUSE_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Poll the members individually for a while."""
        self.paused_until = self.scheduler.loop.time() + seconds
        self.update_mode()
        self.scheduler.queue.schedule(self, self.paused_until)

    def fail(self, failure: DiffioError) -> None:
        """End the waits for all members with copies of an error."""
        for job in list(self.members.values()):
            job.fail(failure)

    # Checks.

    def _sample_members(self) -> None:
        """Poll a few members individually to check the listing."""
        now, min_interval = self.scheduler.loop.time(), self.scheduler.poller.policy.min_interval
        min_rate = max(MIN_SAMPLE_RATE, min(1.0, 5 / max(1, len(self.members))))
        self.sample_rate = min(MAX_SAMPLE_RATE, max(self.sample_rate, min_rate))
        self.sample_credit = min(MAX_SAMPLE_RATE, self.sample_credit + self.sample_rate)
        for job in list(self.members.values())[: 2 * int(MAX_SAMPLE_RATE)]:
            if self.sample_credit < 1:
                break
            # Members take turns: this one moves to the end.
            self.members[job.generation_id] = self.members.pop(job.generation_id)
            started_at = job.timeline.started_at
            pause = max(CHECK_INTERVALS * min_interval, 0.5 * (now - started_at))
            if now - max(job.responded_at, started_at) < pause or job.task is not None:
                continue
            self.sample_credit -= 1
            job.checking = True
            job.schedule_at(now)

    def on_check(self, *, stale: bool) -> None:
        """Adapt the number of checks; `stale`: one found an end that the listing lacked."""
        if stale:
            self.sample_rate = min(MAX_SAMPLE_RATE, 4 * max(self.sample_rate, MIN_SAMPLE_RATE))
        else:
            self.sample_rate *= 0.7


def _is_stale(job: Job, now: float) -> bool:
    polled_at = job.timeline.last_polled_at
    return polled_at is not None and now - polled_at > STALE_FRACTION * (
        now - job.timeline.started_at
    )
