"""Whether listings can be trusted: now and then single jobs of a group are asked about alone.

The more often that finds an end which the listing had not told, the more are.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._polling import groups, poll_responses
from diffio_async._polling.generation_rows import parse_rows, progress_from_row, status_rank
from diffio_async._polling.interval import crowd_of, most_between
from diffio_async._polling.job_timeline import LISTING, ProgressSample, with_sample
from diffio_async._polling.model_updates import observe_sample
from diffio_async._polling.wait_errors import wait_timeout
from diffio_async._protocol import endpoints
from diffio_async._protocol.retry import is_retryable
from diffio_async.errors import AuthenticationFailed, ClientClosed, DiffioError, PermissionDenied

if TYPE_CHECKING:
    from diffio_async._polling.generation_rows import GenerationRow
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Group, Job
    from diffio_async.models.generations import GenerationProgress

#: So many members are followed closely, of so many of these the pace is taken.
CONFIRM_LIMIT, SAMPLE = 200, 32
#: That a job still runs is noted when it was not for this part of its age.
STALE_SECONDS = 0.05
#: A listing takes at most one part in so many of the time.
SHARE = 40
#: Listings that lacked a job before it is asked about alone.
MAX_MISSING = 2
#: Failures in a row before a project's jobs are asked about one by one, and seconds until the
#: listing is tried again.
MAX_FAILURES = 3
BREAK_SECONDS = 30.0
#: Bytes of a single answer, and how many times as much a listing may cost for a few jobs.
SINGLE_POLL_SHARE, EXPENSIVE_SECONDS, MIN_MEMBERS = 800, 20, 10


async def poll_listing(desk: Scheduler, group: Group) -> None:
    """Ask for the listing, once."""
    call = endpoints.list_project_generations(group.api_project_id)
    asked = desk.loop.time()
    try:
        body = await desk.poller.sender.body(call, group.options)
        began = time.thread_time()
        _apply(desk, group, body, asked)
        group.cost = time.thread_time() - began
    except DiffioError as failure:
        _failed(desk, group, failure)
    except Exception as bug:  # noqa: BLE001 - raised where it is waited for, or nobody would know
        for job in list(group.members.values()):
            for waiter in job.waiters.copy():
                waiter.wait.break_off(bug)
    else:
        desk.poller.on_response(desk.loop.time() - asked)
        group.failures = 0
        members = len(group.members)
        if members <= MIN_MEMBERS and len(body) > EXPENSIVE_SECONDS * SINGLE_POLL_SHARE * max(
            1, members
        ):
            _break(desk, group, BREAK_SECONDS)
        else:
            check_some(desk, group)
            schedule_listing(desk, group)


def schedule_listing(desk: Scheduler, group: Group, least: float = 0.0) -> None:
    """Say when the next listing is due: the pace of its members, put together."""
    if not group.active or not group.members:
        return
    now, pacer = desk.loop.time(), desk.poller
    jitter = random.random()  # noqa: S311 - jitter needs no secrecy
    members = list(group.members.values())
    every = _every(group)
    sample = [job for job in members if job.number % every == 0] or members
    if len(sample) > SAMPLE:
        sample = random.sample(sample, SAMPLE)
    gaps = [poll_responses.gap_of(desk, job, jitter) for job in sample]
    often = sum(1 / max(gap, 0.1) ** 2 for gap in gaps)
    gap = 1 / math.sqrt(often * len(members) / len(sample))
    # A listing of a few jobs may come as soon as polls of each of them might.
    few = most_between(
        pacer.policy, 0.0, crowd_of(pacer.policy, len(members), pacer.rate_limiter.rate)
    )
    floor = min(pacer.policy.min_interval * (1 + 0.2 * jitter), max(few, min(gaps)))
    gap = max(gap, floor, SHARE * group.cost, pacer.push_health.check_delay(jitter), least)
    deadline = min(waiter.deadline for job in members for waiter in job.waiters)
    chance = deadline - max(0.05, 2 * pacer.took) - group.cost
    last = now < chance < now + gap
    desk.schedule_group(group, chance if last else now + gap, check=pacer.only_checks and not last)


def _every(group: Group) -> int:
    """One in so many of the members is followed closely; the others are much like it."""
    return max(1, len(group.members) // CONFIRM_LIMIT)


def _apply(desk: Scheduler, group: Group, body: bytes, asked: float) -> None:
    """Take over what a listing says that is new; never backwards."""
    now = desk.loop.time()
    group.round += 1
    before, every = group.responded_at, _every(group)
    for row in parse_rows(body):
        job = group.members.get(row.generation_id)
        if job is not None:
            job.round, job.missing = group.round, 0
            _apply_row(desk, job, row, asked, before, followed=job.number % every == 0)
    group.polled_at, group.responded_at = asked, now
    for job in [each for each in group.members.values() if each.round != group.round]:
        job.missing += 1
        if job.missing >= MAX_MISSING and not job.alone:
            job.alone, job.next = True, now
            desk.schedule(job)


def _long_ago(job: Job, now: float) -> bool:
    asked = job.timeline.last_polled_at
    return asked is not None and now - asked > STALE_SECONDS * (now - job.timeline.started_at)


def _apply_row(
    desk: Scheduler, job: Job, row: GenerationRow, asked: float, before: float, *, followed: bool
) -> None:
    place_in_life = status_rank(row.status)
    if place_in_life < job.rank:
        return
    now = desk.loop.time()
    if place_in_life > 1:
        if job.reported_end is None:
            if job.timeline.last_polled_at is not None and before > job.timeline.last_polled_at:
                job.timeline = evolve(job.timeline, last_polled_at=before)
            progress = progress_from_row(row, job.api_project_id or "")
            if job.known:
                desk.poller.on_push_missed(progress)
            poll_responses.on_reported_end(desk, job, progress, sure=False)
        return
    known = job.row
    backwards = known is not None and (row.percent or 0) < (known.percent or 0)
    moved = known is None or row.status != known.status or row.percent != known.percent
    if asked >= job.responded_at and moved and (place_in_life > job.rank or not backwards):
        job.row, job.rank, job.alone = row, place_in_life, False
        if followed:
            course = with_sample(
                job.timeline, ProgressSample(now, LISTING if place_in_life else "", row.percent)
            )
            observe_sample(desk.poller.model, job.timeline, course)
            job.timeline = course
        if any(waiter.wait.wants_progress for waiter in job.waiters):
            poll_responses.notify_progress(
                desk, job, progress_from_row(row, job.api_project_id or ""), None, alone=False
            )
        else:
            job.last = None
    elif followed and _long_ago(job, now):
        course = evolve(job.timeline, last_polled_at=now, failures=0)
        observe_sample(desk.poller.model, job.timeline, course)
        job.timeline = course
    for waiter in job.waiters.copy():
        if waiter.poll_once and not waiter.wait.lone:
            desk.end(waiter, wait_timeout(waiter, latest(job)))


def latest(job: Job) -> GenerationProgress | None:
    """The last that is known of a job, from a listing where that is all there is."""
    if job.last is None and job.row is not None:
        return progress_from_row(job.row, job.api_project_id or "")
    return job.last


def _failed(desk: Scheduler, group: Group, failure: DiffioError) -> None:
    if isinstance(failure, (AuthenticationFailed, ClientClosed)):
        for job in list(group.members.values()):
            poll_responses.end_all(desk, job, failure)
        return
    if is_retryable(failure):
        group.failures += 1
        desk.poller.on_failure(failure)
        if group.failures < MAX_FAILURES:
            schedule_listing(desk, group, desk.poller.policy.min_interval * 2.0**group.failures)
            return
        _break(desk, group, BREAK_SECONDS)
        return
    if isinstance(failure, PermissionDenied):
        group.refused = failure
    _break(desk, group, 4 * BREAK_SECONDS)


def _break(desk: Scheduler, group: Group, seconds: float) -> None:
    """Do without listings for a while."""
    now = desk.loop.time()
    group.paused_until = now + seconds
    groups.tune(desk, group)
    desk.schedule_group(group, group.paused_until)


#: A single job is checked when it was not for so many of the shortest pauses, or half of its age.
CHECK_FRACTION = 3.0
#: Single questions for each listing: at least for a large group, and at most.
INITIAL_DOUBT, MAX_DOUBT = 0.1, 8.0


def check_some(desk: Scheduler, group: Group) -> None:
    """Ask about a few jobs alone."""
    now = desk.loop.time()
    least = max(INITIAL_DOUBT, min(1.0, 5 / max(1, len(group.members))))
    group.doubt = min(MAX_DOUBT, max(group.doubt, least))
    group.allowance = min(MAX_DOUBT, group.allowance + group.doubt)
    for job in list(group.members.values())[: 2 * int(MAX_DOUBT)]:
        if group.allowance < 1:
            break
        # Whoever was looked at goes to the end.
        group.members[job.generation_id] = group.members.pop(job.generation_id)
        since = max(job.responded_at, job.timeline.started_at)
        if (
            now - since
            < max(
                CHECK_FRACTION * desk.poller.policy.min_interval,
                0.5 * (now - job.timeline.started_at),
            )
            or job.task is not None
        ):
            continue
        group.allowance -= 1
        job.checking, job.next = True, now
        desk.schedule(job)


def disagreed(job: Job) -> None:
    """A single question found an end that the listing had not told."""
    if job.checking and job.group is not None:
        job.group.doubt = min(MAX_DOUBT, 4 * max(job.group.doubt, INITIAL_DOUBT))
    job.checking = False


def agreed(job: Job) -> None:
    """A single question found what the listing had told."""
    if job.checking and job.group is not None:
        job.group.doubt *= 0.7
    job.checking = False
