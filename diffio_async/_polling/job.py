"""One generation that is waited for: when it is polled, and what a response means for the waits."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from diffio_async._http.transport import response_tap
from diffio_async._polling.job_timeline import (
    LISTING,
    progress_from_row,
    sample_from,
    status_rank,
    with_failure,
    with_sample,
)
from diffio_async._polling.poll_queue import Item
from diffio_async._polling.subscriptions import Waiter, copy_error, result_of
from diffio_async._protocol import endpoints
from diffio_async._protocol.retry import is_retryable
from diffio_async.errors import (
    AuthenticationFailed,
    ClientClosed,
    DiffioError,
    InvalidResponse,
    PermissionDenied,
)
from diffio_async.models.generations import GenerationProgress

if TYPE_CHECKING:
    from contextvars import Context

    from diffio_async._polling.job_timeline import GenerationRow, JobTimeline, ProgressSample
    from diffio_async._polling.project_listing import ProjectListing
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import RawResponse, Subscription
    from diffio_async.options import RequestOptions

#: Unreadable responses in a row that are treated as a passing fault (a portal, a proxy).
MAX_INVALID_RESPONSES = 5
#: Polls that may fail to confirm an end that a listing or an event reported.
MAX_CONFIRM_ATTEMPTS = 3
#: Seconds that the first poll of a job is delayed while its earlier events are looked up.
PUSH_GRACE = 1.0
#: Seconds that the first polls of a call for many jobs are delayed, until jobs of one project are
#: together and can share a listing.
COALESCE_SECONDS = 0.03
#: Jobs that are polled early while no durations are known, so that the others can be polled late.
MAX_PROBES = 4
#: Share of the shortest pause from which the first polls of the other jobs are drawn.
_FIRST_POLL_SPREAD = 0.1
#: Seconds before the deadline of the last poll, or twice the latency of a poll if that is longer.
_FINAL_POLL_MARGIN = 0.05


@define(eq=False, kw_only=True)
class Job(Item):
    """One generation under one set of options, with all waiters for it."""

    scheduler: Scheduler
    number: int
    generation_id: str
    api_project_id: str | None
    options: RequestOptions | None
    timeline: JobTimeline
    waiters: list[Waiter] = field(factory=list)
    listing: ProjectListing | None = None
    #: When the next poll is due, fixed intervals of subscriptions apart.
    next_poll_at: float = 0.0
    #: When the last single poll had a response, or failed.
    responded_at: float = -math.inf
    last_progress: GenerationProgress | None = None
    #: The last row of a listing that contained a change.
    last_row: GenerationRow | None = None
    status_rank: int = 0
    #: An end that a listing or an event reported and that a single poll is to confirm.
    reported_end: GenerationProgress | None = None
    confirm_attempts: int = 0
    failure: DiffioError | None = None
    invalid_responses: int = 0
    #: Listings in a row without this job; after several of them it is polled individually.
    missing_rows: int = 0
    absent_from_listing: bool = False
    listing_round: int = 0
    #: Whether the next poll checks the listing.
    checking: bool = False
    #: Whether events report on it, or will: it need not be polled at once.
    push_covered: bool = False

    # Schedule.

    @property
    def context(self) -> Context:
        """A copy of the context of the first waiter's call."""
        return self.waiters[0].context.copy()

    @property
    def known(self) -> bool:
        """Whether anything was learned of it since the wait began."""
        return self.push_covered or self.responded_at > -math.inf or self.last_row is not None

    @property
    def polled_individually(self) -> bool:
        """Whether it is polled by itself, not by its project's listing."""
        if self.listing is None or not self.listing.active:
            return True
        return self.absent_from_listing or self.checking or self.reported_end is not None

    def initial_delay(self, subscription: Subscription) -> float:
        """Return the seconds until the first poll; short if progress or one response is wanted."""
        poller, probes = self.scheduler.poller, self.scheduler.probes
        coalesce = 0.0 if subscription.is_single else COALESCE_SECONDS
        shortest = coalesce if poller.source is None else PUSH_GRACE
        if subscription.wants_progress or subscription.timeout == 0:
            return shortest
        jitter = random.random()  # noqa: S311 - jitter needs no secrecy
        delay = self.poll_delay(jitter)
        late = poller.policy.min_interval * (1 - _FIRST_POLL_SPREAD * jitter)
        early = self.timeline.start_known and delay < late
        if early and poller.model.durations.log_moments is None:
            # A few jobs are polled early to learn the durations; the others wait for that.
            if len(probes) >= MAX_PROBES:
                return max(shortest, late)
            probes.add(self)
        return max(shortest, delay)

    def poll_delay(self, jitter: float) -> float:
        """Return the seconds until the next poll; `jitter` is a random number from 0 to 1."""
        return self.scheduler.poll_delay(self.timeline, jitter, self.late)

    def schedule_next(self) -> None:
        """Choose when to poll next, and schedule it."""
        poller = self.scheduler.poller
        jitter = random.random()  # noqa: S311 - jitter needs no secrecy
        delay = max(
            self.poll_delay(jitter),
            poller.retry_after(self.failure),
            poller.push_health.check_delay(jitter),
        )
        self.schedule_at(self.scheduler.loop.time() + delay)

    def schedule_at(self, instant: float) -> None:
        """Schedule the next poll for an instant of the loop."""
        self.next_poll_at = instant
        self.schedule()

    def schedule(self) -> None:
        """Schedule the next poll by `next_poll_at`, deadlines and fixed intervals."""
        if self.task is not None:
            return
        poller, queue = self.scheduler.poller, self.scheduler.queue
        now, run_at, fixed_at = self.scheduler.loop.time(), math.inf, math.inf
        for waiter in self.waiters:
            subscription = waiter.subscription
            final = waiter.deadline - max(_FINAL_POLL_MARGIN, 2 * poller.latency)
            if final <= max(now, self.responded_at):
                final = math.inf
            if subscription.poll_interval is not None:
                interval = max(subscription.poll_interval, poller.retry_after(self.failure))
                fixed_at = min(fixed_at, final, self.responded_at + interval)
            elif waiter.poll_once and subscription.is_single:
                fixed_at = now
            elif self.polled_individually:
                run_at = min(run_at, final, self.next_poll_at)
        if fixed_at <= run_at:
            queue.schedule(self, max(fixed_at, now), fixed=True)
        elif run_at < math.inf:
            only_check = poller.only_checks and self.known and self.reported_end is None
            queue.schedule(
                self,
                run_at,
                check=only_check and run_at == self.next_poll_at and not self.checking,
            )
        else:
            self.entry_id = 0

    def on_poll_done(self) -> None:
        """Schedule the next poll."""
        if self.waiters:
            self.schedule()

    # Responses of single polls.

    async def poll(self) -> None:
        """Request the progress once, and handle the response or the failure."""
        raw: list[RawResponse] = []
        wanted = any(waiter.subscription.on_raw_response is not None for waiter in self.waiters)
        response_tap.set((lambda _, response: raw.append(response)) if wanted else None)
        call = endpoints.get_generation_progress(self.generation_id, self.api_project_id)
        sent_at = time.monotonic()
        try:
            progress = await self.scheduler.poller.sender.send(call, self.options, retry=False)
        except DiffioError as failure:
            self._on_failure(failure)
        except Exception as bug:  # noqa: BLE001 - raised by the waiting call, where it is seen
            self.abort(bug)
        else:
            self.scheduler.poller.on_response(time.monotonic() - sent_at)
            self._on_response(progress, raw[-1] if raw else None)

    def _on_response(self, progress: GenerationProgress, raw: RawResponse) -> None:
        scheduler, known = self.scheduler, self.known
        now = scheduler.loop.time()
        self.responded_at, self.failure, self.invalid_responses = now, None, 0
        scheduler.probes.discard(self)
        if self.api_project_id is None and progress.api_project_id:
            self.api_project_id = progress.api_project_id
            scheduler.assign_listing(self)
        ended = progress.complete or progress.failed
        if ended or self.reported_end is None:
            self._finish_check(stale=ended)
        if ended:
            if self.reported_end is None and known:
                scheduler.poller.on_push_missed(progress)
            self._finish(progress, raw)
            return
        if self.reported_end is not None:
            self._retry_confirmation()
            return
        self.status_rank = max(self.status_rank, status_rank(progress.status))
        self.report_progress(progress, raw, from_single_poll=True)
        timeline = self._timeline_with(sample_from(progress, now))
        scheduler.poller.model.observe_sample(self.timeline, timeline)
        self.timeline = timeline
        self.schedule_next()
        for waiter in self.waiters.copy():
            if waiter.poll_once:
                self.end(waiter, waiter.timeout_error(progress))

    def _finish_check(self, *, stale: bool) -> None:
        """Report to the listing whether it was stale, if this poll was a check of it."""
        if self.checking and self.listing is not None:
            self.listing.on_check(stale=stale)
        self.checking = False

    def _timeline_with(self, sample: ProgressSample) -> JobTimeline:
        """Return the timeline with a sample; the percentages of a listed job are another scale."""
        timeline = self.timeline
        listed = bool(timeline.entries) and timeline.entries[-1].stage == LISTING
        if listed and not self.polled_individually:
            return evolve(timeline, last_polled_at=sample.at, failures=0)
        return with_sample(timeline, sample)

    def _on_failure(self, failure: DiffioError) -> None:
        scheduler = self.scheduler
        if isinstance(failure, ClientClosed):
            self.fail(failure)
            return
        self.responded_at, self.failure = scheduler.loop.time(), failure
        scheduler.probes.discard(self)
        if isinstance(failure, InvalidResponse):
            self.invalid_responses += 1
            transient = self.invalid_responses < MAX_INVALID_RESPONSES
        else:
            self.invalid_responses = 0
            transient = is_retryable(failure)
        if isinstance(failure, AuthenticationFailed):
            # All jobs with these options use the same key.
            for other in [job for job in scheduler.jobs.values() if job.options == self.options]:
                other.fail(failure)
            return
        if not transient:
            listing = self.listing
            self.fail(failure)
            if isinstance(failure, PermissionDenied) and listing is not None and listing.denied:
                listing.fail(failure)
            return
        scheduler.poller.on_failure(failure)
        if self.reported_end is not None:
            self._retry_confirmation()
            return
        self.timeline = with_failure(self.timeline)
        self.schedule_next()
        for waiter in self.waiters.copy():
            if waiter.poll_once:
                self.end(waiter, waiter.timeout_error(self.latest_progress))

    # Reports by listings and events.

    def on_reported_end(self, progress: GenerationProgress, *, reliable: bool) -> None:
        """Handle an end that a listing or (`reliable`) an event reported.

        A wait for many jobs ends with that. A wait for one job needs the complete response, and a
        failure without a reason is polled for its reason.
        """
        lacks_reason = progress.failed and progress.reason is None
        for waiter in self.waiters.copy():
            subscription = waiter.subscription
            unsure = not reliable and (subscription.is_single or lacks_reason)
            if unsure or subscription.on_raw_response is not None:
                self.reported_end = progress
            else:
                if len(self.waiters) == 1:
                    self._observe_end(progress, exact=reliable)
                self.end(waiter, result_of(progress))
        if self.reported_end is not None:
            self.schedule_at(self.scheduler.loop.time())
        else:
            self.scheduler.poller.emit_progress(progress)

    def _retry_confirmation(self) -> None:
        """Poll again after a poll that did not confirm the reported end, or believe the report."""
        self.confirm_attempts += 1
        if self.confirm_attempts >= MAX_CONFIRM_ATTEMPTS and self.reported_end is not None:
            self._finish(self.reported_end, None)
        else:
            pause = self.scheduler.poller.policy.min_interval * self.confirm_attempts
            self.schedule_at(self.scheduler.loop.time() + pause)

    def report_progress(
        self, progress: GenerationProgress, raw: RawResponse, *, from_single_poll: bool
    ) -> None:
        """Report progress to the waiters for which it is new."""
        if not any(waiter.subscription.keeps_details for waiter in self.waiters):
            progress = GenerationProgress(
                generation_id=self.generation_id,
                api_project_id=self.api_project_id or "",
                status=progress.status,
                extra={"progress": progress.percent},  # as in a listing
            )
        self.last_progress = progress
        changed = False
        for waiter in self.waiters:
            rescaled = raw is None and waiter.is_rescaled(
                progress, from_single_poll=from_single_poll
            )
            if progress == waiter.last_progress or rescaled:
                continue
            waiter.last_progress, waiter.from_single_poll = progress, from_single_poll
            changed = True
            if waiter.subscription.wants_progress:
                waiter.subscription.on_progress(waiter, progress, raw)
        if changed:
            self.scheduler.poller.emit_progress(progress)

    @property
    def latest_progress(self) -> GenerationProgress | None:
        """The last progress, from a listing if there is no other."""
        if self.last_progress is None and self.last_row is not None:
            return progress_from_row(self.last_row, self.api_project_id or "")
        return self.last_progress

    # Ends.

    def _observe_end(self, progress: GenerationProgress, *, exact: bool = False) -> None:
        now = self.scheduler.loop.time()
        self.scheduler.poller.on_end(self.timeline, progress, now, exact=exact)

    def _finish(self, progress: GenerationProgress, raw: RawResponse) -> None:
        """End all waits with the final progress."""
        self._observe_end(progress)
        self.scheduler.poller.emit_progress(progress)
        for waiter in self.waiters.copy():
            self.leave(waiter)
            waiter.subscription.on_end(waiter, result_of(progress), raw)

    def fail(self, failure: DiffioError) -> None:
        """End all waits with copies of an error."""
        for waiter in self.waiters.copy():
            if isinstance(failure, ClientClosed):
                # The whole call ends, not only the wait for one of its jobs.
                waiter.subscription.abort(copy_error(failure))
            else:
                self.end(waiter, copy_error(failure))

    def abort(self, error: BaseException) -> None:
        """End all calls that wait for this job with an error."""
        for waiter in self.waiters.copy():
            waiter.subscription.abort_wait(waiter, error)

    def expire(self, waiter: Waiter) -> None:
        """End a wait whose deadline has passed."""
        if self.reported_end is None:
            self.end(waiter, waiter.timeout_error(self.latest_progress))
        else:
            self.end(waiter, result_of(self.reported_end))

    def end(self, waiter: Waiter, end: GenerationProgress | DiffioError) -> None:
        """End one wait; others continue."""
        self.leave(waiter)
        waiter.subscription.on_end(waiter, end, None)

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter; the job is removed with its last one."""
        if waiter.closed:
            return
        waiter.closed = True
        self.waiters.remove(waiter)
        if not self.waiters:
            self.scheduler.remove(self, waiter.subscription)
        else:
            self.scheduler.assign_listing(self)
            self.schedule()
