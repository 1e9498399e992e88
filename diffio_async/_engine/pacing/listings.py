"""One listing in place of many questions, for the jobs of a project; and what guards against it.

A listing may lack a job: what it lacks twice is asked about alone. It may lag: see `checking`.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._engine.pacing import answers, checking, groups
from diffio_async._engine.pacing.ends import timed_out
from diffio_async._wire import calls
from diffio_async._wire.courses import LISTED, Reading, after
from diffio_async._wire.learning import saw_alive
from diffio_async._wire.listing import progress_of, rank, rows
from diffio_async._wire.pace import crowd_of, most_between
from diffio_async._wire.replay import transient
from diffio_async.errors import AuthenticationFailed, ClientClosed, DiffioError, PermissionDenied

if TYPE_CHECKING:
    from diffio_async._engine.pacing.desk import Desk
    from diffio_async._engine.pacing.jobs import Group, Job
    from diffio_async._wire.listing import Row
    from diffio_async.models.generations import GenerationProgress

#: So many members are followed closely, of so many of these the pace is taken.
FOLLOWED, SAMPLE = 200, 32
#: That a job still runs is noted when it was not for this part of its age.
OLD = 0.05
#: A listing takes at most one part in so many of the time.
SHARE = 40
#: Listings that lacked a job before it is asked about alone.
LACKED = 2
#: Failures in a row before a project's jobs are asked about one by one, and seconds until the
#: listing is tried again.
MOST_FAILURES = 3
BROKEN = 30.0
#: Bytes of a single answer, and how many times as much a listing may cost for a few jobs.
SINGLE, DEAR, FEW = 800, 20, 10


async def ask(desk: Desk, group: Group) -> None:
    """Ask for the listing, once."""
    call = calls.list_project_generations(group.api_project_id)
    asked = desk.loop.time()
    try:
        body = await desk.pacer.sender.body(call, group.options)
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
        desk.pacer.answered(desk.loop.time() - asked)
        group.failures = 0
        members = len(group.members)
        if members <= FEW and len(body) > DEAR * SINGLE * max(1, members):
            _break(desk, group, BROKEN)
        else:
            checking.check_some(desk, group)
            place(desk, group)


def place(desk: Desk, group: Group, least: float = 0.0) -> None:
    """Say when the next listing is due: the pace of its members, put together."""
    if not group.active or not group.members:
        return
    now, pacer = desk.loop.time(), desk.pacer
    jitter = random.random()  # noqa: S311 - jitter needs no secrecy
    members = list(group.members.values())
    every = _every(group)
    sample = [job for job in members if job.number % every == 0] or members
    if len(sample) > SAMPLE:
        sample = random.sample(sample, SAMPLE)
    gaps = [answers.gap_of(desk, job, jitter) for job in sample]
    often = sum(1 / max(gap, 0.1) ** 2 for gap in gaps)
    gap = 1 / math.sqrt(often * len(members) / len(sample))
    # A listing of a few jobs may come as soon as polls of each of them might.
    few = most_between(pacer.policy, 0.0, crowd_of(pacer.policy, len(members), pacer.budget.rate))
    floor = min(pacer.policy.first * (1 + 0.2 * jitter), max(few, min(gaps)))
    gap = max(gap, floor, SHARE * group.cost, pacer.trust.safety(jitter), least)
    deadline = min(waiter.deadline for job in members for waiter in job.waiters)
    chance = deadline - max(0.05, 2 * pacer.took) - group.cost
    last = now < chance < now + gap
    desk.place_group(group, chance if last else now + gap, check=pacer.only_checks and not last)


def _every(group: Group) -> int:
    """One in so many of the members is followed closely; the others are much like it."""
    return max(1, len(group.members) // FOLLOWED)


def _apply(desk: Desk, group: Group, body: bytes, asked: float) -> None:
    """Take over what a listing says that is new; never backwards."""
    now = desk.loop.time()
    group.round += 1
    before, every = group.answered, _every(group)
    for row in rows(body):
        job = group.members.get(row.generation_id)
        if job is not None:
            job.round, job.missing = group.round, 0
            _take(desk, job, row, asked, before, followed=job.number % every == 0)
    group.asked, group.answered = asked, now
    for job in [each for each in group.members.values() if each.round != group.round]:
        job.missing += 1
        if job.missing >= LACKED and not job.alone:
            job.alone, job.next = True, now
            desk.place(job)


def _long_ago(job: Job, now: float) -> bool:
    asked = job.course.asked
    return asked is not None and now - asked > OLD * (now - job.course.began)


def _take(desk: Desk, job: Job, row: Row, asked: float, before: float, *, followed: bool) -> None:
    place_in_life = rank(row.status)
    if place_in_life < job.rank:
        return
    now = desk.loop.time()
    if place_in_life > 1:
        if job.verdict is None:
            if job.course.asked is not None and before > job.course.asked:
                job.course = evolve(job.course, asked=before)
            progress = progress_of(row, job.api_project_id or "")
            if job.known:
                desk.pacer.missed(progress)
            answers.told_elsewhere(desk, job, progress, sure=False)
        return
    known = job.row
    backwards = known is not None and (row.percent or 0) < (known.percent or 0)
    moved = known is None or row.status != known.status or row.percent != known.percent
    if asked >= job.answered and moved and (place_in_life > job.rank or not backwards):
        job.row, job.rank, job.alone = row, place_in_life, False
        if followed:
            course = after(job.course, Reading(now, LISTED if place_in_life else "", row.percent))
            saw_alive(desk.pacer.learned, job.course, course)
            job.course = course
        if any(waiter.wait.wants for waiter in job.waiters):
            answers.progressed(
                desk, job, progress_of(row, job.api_project_id or ""), None, alone=False
            )
        else:
            job.last = None
    elif followed and _long_ago(job, now):
        course = evolve(job.course, asked=now, failures=0)
        saw_alive(desk.pacer.learned, job.course, course)
        job.course = course
    for waiter in job.waiters.copy():
        if waiter.once and not waiter.wait.lone:
            desk.end(waiter, timed_out(waiter, latest(job)))


def latest(job: Job) -> GenerationProgress | None:
    """The last that is known of a job, from a listing where that is all there is."""
    if job.last is None and job.row is not None:
        return progress_of(job.row, job.api_project_id or "")
    return job.last


def _failed(desk: Desk, group: Group, failure: DiffioError) -> None:
    if isinstance(failure, (AuthenticationFailed, ClientClosed)):
        for job in list(group.members.values()):
            answers.end_all(desk, job, failure)
        return
    if transient(failure):
        group.failures += 1
        desk.pacer.troubled(failure)
        if group.failures < MOST_FAILURES:
            place(desk, group, desk.pacer.policy.first * 2.0**group.failures)
            return
        _break(desk, group, BROKEN)
        return
    if isinstance(failure, PermissionDenied):
        group.refused = failure
    _break(desk, group, 4 * BROKEN)


def _break(desk: Desk, group: Group, seconds: float) -> None:
    """Do without listings for a while."""
    now = desk.loop.time()
    group.broken_until = now + seconds
    groups.tune(desk, group)
    desk.place_group(group, group.broken_until)
