"""Questions about single jobs, and what their answers, or the lack of them, mean for the waits."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._http.transport import response_tap
from diffio_async._polling import groups, project_listing
from diffio_async._polling.generation_rows import status_rank
from diffio_async._polling.interval import least_between, next_poll_delay
from diffio_async._polling.job_timeline import LISTING, sample_from, with_failure, with_sample
from diffio_async._polling.model_updates import observe_end, observe_sample
from diffio_async._polling.wait_errors import copy_error, generation_failed, wait_timeout
from diffio_async._protocol import endpoints
from diffio_async._protocol.retry import is_retryable
from diffio_async.errors import (
    AuthenticationFailed,
    ClientClosed,
    DiffioError,
    InvalidResponse,
    PermissionDenied,
)

if TYPE_CHECKING:
    from diffio_async._polling.job_timeline import JobTimeline, ProgressSample
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Job, PushOrigin, Subscription, Waiter
    from diffio_async.models.generations import GenerationProgress

#: Unreadable answers in a row that are put down to a passing fault (a portal, a proxy).
MAX_INVALID_RESPONSES = 5
#: Questions that may fail to confirm an end that was told elsewhere.
MAX_ATTEMPTS = 3
#: Seconds that the first question about a job is held back for what is known of it already.
HOLD = 1.0
#: The first questions of a call that waits for many are held back for so many seconds: jobs of one
#: project gather meanwhile.
GATHER = 0.03
#: Jobs that are asked about early, while it is not known how long they take.
PROBES = 4
#: The others' first questions are drawn from so much of the shortest pause.
_APART = 0.1


def is_paused(desk: Scheduler, wait: Subscription, job: Job) -> float:
    """Seconds until the first question; none where progress is of interest, or asked for once."""
    pacer = desk.poller
    least = HOLD if pacer.source is not None else 0.0 if wait.lone else GATHER
    if wait.wants_progress or wait.timeout == 0:
        return least
    jitter = random.random()  # noqa: S311 - jitter needs no secrecy
    gap = gap_of(desk, job, jitter)
    patient = pacer.policy.min_interval * (1 - _APART * jitter)
    if job.timeline.start_known and gap < patient and pacer.model.durations.log_moments is None:
        # Nobody knows how long they take: a few find out, and the others go by that.
        if len(desk.probes) >= PROBES:
            return max(least, patient)
        desk.probes.add(job)
    return max(least, gap)


def gap_of(desk: Scheduler, job: Job, jitter: float) -> float:
    """Return the seconds until the next poll of a job; `jitter` is a random number from 0 to 1."""
    pacer, now = desk.poller, desk.loop.time()
    gap = next_poll_delay(pacer.policy, job.timeline, pacer.model, now, jitter, crowd=pacer.crowd)
    if pacer.push_health.holds and not pacer.push_health.confirmed:
        # Events are expected, but none came since: no more polls than a job may need.
        gap = max(gap, least_between(pacer.policy, job.timeline.waited(now)))
    return gap


async def poll(desk: Scheduler, job: Job) -> None:
    """Ask about one job, once."""
    heard: list[PushOrigin] = []
    wanted = any(waiter.wait.receives_push is not None for waiter in job.waiters)
    response_tap.set((lambda _, answer: heard.append(answer)) if wanted else None)
    call = endpoints.get_generation_progress(job.generation_id, job.api_project_id)
    began = time.monotonic()
    try:
        progress = await desk.poller.sender.send(call, job.options)
    except DiffioError as failure:
        _failed(desk, job, failure)
    except Exception as bug:  # noqa: BLE001 - raised where it is waited for, or nobody would know
        for waiter in job.waiters.copy():
            waiter.wait.break_off(bug)
    else:
        took = time.monotonic() - began
        desk.poller.on_response(took)
        on_progress(desk, job, progress, heard[-1] if heard else None)


def on_progress(desk: Scheduler, job: Job, progress: GenerationProgress, heard: PushOrigin) -> None:
    """An answer about one job."""
    now = desk.loop.time()
    known = job.known
    job.responded_at, job.failure, job.invalid_responses = now, None, 0
    desk.probes.discard(job)
    if job.api_project_id is None and progress.api_project_id:
        job.api_project_id = progress.api_project_id
        groups.enter(desk, job)
    if progress.complete or progress.failed:
        project_listing.disagreed(job)
        if job.reported_end is None and known:
            desk.poller.on_push_missed(progress)
        finish(desk, job, progress, heard)
        return
    if job.reported_end is not None:
        _unconfirmed(desk, job)
        return
    job.rank = max(job.rank, status_rank(progress.status))
    project_listing.agreed(job)
    notify_progress(desk, job, progress, heard, alone=True)
    course = _after(job, sample_from(progress, now))
    observe_sample(desk.poller.model, job.timeline, course)
    job.timeline = course
    schedule_next(desk, job)
    for waiter in job.waiters.copy():
        if waiter.poll_once:
            desk.end(waiter, wait_timeout(waiter, progress))


def _after(job: Job, reading: ProgressSample) -> JobTimeline:
    """The job's course with this answer; one that listings tell is only looked at in between."""
    course = job.timeline
    listed = bool(course.entries) and course.entries[-1].stage == LISTING
    if listed and not groups.polled_alone(job):
        return evolve(course, last_polled_at=reading.at, failures=0)
    return with_sample(course, reading)


def notify_progress(
    desk: Scheduler, job: Job, progress: GenerationProgress, heard: PushOrigin, *, alone: bool
) -> None:
    """Tell what changed to those who want to know; `alone` where one was asked about alone."""
    job.last = progress
    news = False
    for waiter in job.waiters:
        if progress != waiter.last_progress and not _is_stale(progress, waiter, heard, alone=alone):
            waiter.last_progress, waiter.alone, news = progress, alone, True
            if waiter.wait.wants_progress:
                waiter.wait.changed(waiter, progress, heard)
    if news:
        desk.poller.emit_progress(progress)


def _is_stale(
    progress: GenerationProgress, waiter: Waiter, heard: PushOrigin, *, alone: bool
) -> bool:
    """Whether it only seems to go back: listings have another scale than answers about one job."""
    told = waiter.last_progress
    if (
        told is None
        or waiter.alone == alone
        or status_rank(progress.status) != status_rank(told.status)
    ):
        return False
    return heard is None and progress.percent < told.percent


def schedule_next(desk: Scheduler, job: Job) -> None:
    """Say when the next question about a job is due."""
    now = desk.loop.time()
    jitter = random.random()  # noqa: S311 - jitter needs no secrecy
    pacer = desk.poller
    gap = gap_of(desk, job, jitter)
    job.next = now + max(gap, pacer.min_delay(job), pacer.push_health.check_delay(jitter))
    desk.schedule(job)


def finish(desk: Scheduler, job: Job, progress: GenerationProgress, heard: PushOrigin) -> None:
    """A job has ended: so do all waits for it."""
    observe_end(desk.poller.model, job.timeline, desk.loop.time(), complete=progress.complete)
    desk.poller.emit_progress(progress)
    for waiter in job.waiters.copy():
        desk.leave(waiter)
        waiter.wait.ended(waiter, reported_end_of(progress), heard)


def reported_end_of(progress: GenerationProgress) -> GenerationProgress | DiffioError:
    """What a wait gives or raises at this end."""
    return progress if progress.complete else generation_failed(progress)


def on_reported_end(desk: Scheduler, job: Job, progress: GenerationProgress, *, sure: bool) -> None:
    """A listing, or an event (`sure`), told that a job has ended.

    Whoever waits for many is content with that; who waits for one gets the whole answer, and what
    failed is asked for its reason.
    """
    asks = progress.failed and progress.reason is None
    for waiter in job.waiters.copy():
        if waiter.wait.receives_push is not None or (not sure and (waiter.wait.lone or asks)):
            job.reported_end = progress
        else:
            if len(job.waiters) == 1:
                now, complete = desk.loop.time(), progress.complete
                observe_end(desk.poller.model, job.timeline, now, complete=complete, exact=sure)
            desk.end(waiter, reported_end_of(progress))
    if job.reported_end is not None:
        job.next = desk.loop.time()
        desk.schedule(job)
    else:
        desk.poller.emit_progress(progress)


def _unconfirmed(desk: Scheduler, job: Job) -> None:
    """The end was told elsewhere, and this answer does not know of it yet, or there was none."""
    job.attempts += 1
    if job.attempts >= MAX_ATTEMPTS and job.reported_end is not None:
        finish(desk, job, job.reported_end, None)
    else:
        job.next = desk.loop.time() + desk.poller.policy.min_interval * job.attempts
        desk.schedule(job)


def _failed(desk: Scheduler, job: Job, failure: DiffioError) -> None:
    if isinstance(failure, ClientClosed):
        end_all(desk, job, failure)
        return
    job.responded_at, job.failure = desk.loop.time(), failure
    desk.probes.discard(job)
    unreadable = isinstance(failure, InvalidResponse)
    job.invalid_responses = job.invalid_responses + 1 if unreadable else 0
    passing = job.invalid_responses < MAX_INVALID_RESPONSES if unreadable else is_retryable(failure)
    if isinstance(failure, AuthenticationFailed):
        # The same key asks for all of them.
        for other in [each for each in desk.jobs.values() if each.options == job.options]:
            end_all(desk, other, failure)
        return
    if not passing:
        group = job.group
        end_all(desk, job, failure)
        if isinstance(failure, PermissionDenied) and group is not None and group.refused:
            for other in list(group.members.values()):
                end_all(desk, other, failure)
        return
    desk.poller.on_failure(failure)
    if job.reported_end is not None:
        _unconfirmed(desk, job)
        return
    job.timeline = with_failure(job.timeline)
    schedule_next(desk, job)
    for waiter in job.waiters.copy():
        if waiter.poll_once:
            desk.end(waiter, wait_timeout(waiter, desk.latest(job)))


def end_all(desk: Scheduler, job: Job, failure: DiffioError) -> None:
    """End every wait for a job with an error, to each a copy of its own."""
    for waiter in job.waiters.copy():
        if isinstance(failure, ClientClosed):
            # It is the call that ends, not the wait for one job of many.
            waiter.wait.break_off(copy_error(failure))
        else:
            desk.end(waiter, copy_error(failure))
