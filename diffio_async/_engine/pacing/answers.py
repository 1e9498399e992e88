"""Questions about single jobs, and what their answers, or the lack of them, mean for the waits."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._engine.pacing import checking, groups
from diffio_async._engine.pacing.ends import another, generation_failed, timed_out
from diffio_async._engine.sending import hearing
from diffio_async._wire import calls
from diffio_async._wire.courses import LISTED, after, failed, reading_of
from diffio_async._wire.learning import learn, saw_alive
from diffio_async._wire.listing import rank
from diffio_async._wire.pace import least_between, next_question
from diffio_async._wire.replay import transient
from diffio_async.errors import (
    AuthenticationFailed,
    ClientClosed,
    DiffioError,
    PermissionDenied,
    ResponseInvalid,
)

if TYPE_CHECKING:
    from diffio_async._engine.pacing.desk import Desk
    from diffio_async._engine.pacing.jobs import Heard, Job, Wait, Waiter
    from diffio_async._wire.courses import Course, Reading
    from diffio_async.models.generations import GenerationProgress

#: Unreadable answers in a row that are put down to a passing fault (a portal, a proxy).
MOST_UNREADABLE = 5
#: Questions that may fail to confirm an end that was told elsewhere.
MOST_TRIES = 3
#: Seconds that the first question about a job is held back for what is known of it already.
HOLD = 1.0
#: The first questions of a call that waits for many are held back for so many seconds: jobs of one
#: project gather meanwhile.
GATHER = 0.03
#: Jobs that are asked about early, while it is not known how long they take.
SCOUTS = 4
#: The others' first questions are drawn from so much of the shortest pause.
_APART = 0.1


def held(desk: Desk, wait: Wait, job: Job) -> float:
    """Seconds until the first question; none where progress is of interest, or asked for once."""
    pacer = desk.pacer
    least = HOLD if pacer.source is not None else 0.0 if wait.lone else GATHER
    if wait.wants or wait.timeout == 0:
        return least
    jitter = random.random()  # noqa: S311 - jitter needs no secrecy
    gap = gap_of(desk, job, jitter)
    patient = pacer.policy.first * (1 - _APART * jitter)
    if job.course.fresh and gap < patient and pacer.learned.durations.shape is None:
        # Nobody knows how long they take: a few find out, and the others go by that.
        if len(desk.scouts) >= SCOUTS:
            return max(least, patient)
        desk.scouts.add(job)
    return max(least, gap)


def gap_of(desk: Desk, job: Job, jitter: float) -> float:
    """Return the seconds until the next poll of a job; `jitter` is a random number from 0 to 1."""
    pacer, now = desk.pacer, desk.loop.time()
    gap = next_question(pacer.policy, job.course, pacer.learned, now, jitter, crowd=pacer.crowd)
    if pacer.trust.holds and not pacer.trust.proven:
        # Events are expected, but none came since: no more polls than a job may need.
        gap = max(gap, least_between(pacer.policy, job.course.waited(now)))
    return gap


async def ask(desk: Desk, job: Job) -> None:
    """Ask about one job, once."""
    heard: list[Heard] = []
    wanted = any(waiter.wait.hear is not None for waiter in job.waiters)
    hearing.set((lambda _, answer: heard.append(answer)) if wanted else None)
    call = calls.get_generation_progress(job.generation_id, job.api_project_id)
    began = time.monotonic()
    try:
        progress = await desk.pacer.sender.send(call, job.options)
    except DiffioError as failure:
        _failed(desk, job, failure)
    except Exception as bug:  # noqa: BLE001 - raised where it is waited for, or nobody would know
        for waiter in job.waiters.copy():
            waiter.wait.break_off(bug)
    else:
        took = time.monotonic() - began
        desk.pacer.answered(took)
        told(desk, job, progress, heard[-1] if heard else None)


def told(desk: Desk, job: Job, progress: GenerationProgress, heard: Heard) -> None:
    """An answer about one job."""
    now = desk.loop.time()
    known = job.known
    job.answered, job.failure, job.unreadable = now, None, 0
    desk.scouts.discard(job)
    if job.api_project_id is None and progress.api_project_id:
        job.api_project_id = progress.api_project_id
        groups.enter(desk, job)
    if progress.complete or progress.failed:
        checking.caught(job)
        if job.verdict is None and known:
            desk.pacer.missed(progress)
        finish(desk, job, progress, heard)
        return
    if job.verdict is not None:
        _unconfirmed(desk, job)
        return
    job.rank = max(job.rank, rank(progress.status))
    checking.agreed(job)
    progressed(desk, job, progress, heard, alone=True)
    course = _after(job, reading_of(progress, now))
    saw_alive(desk.pacer.learned, job.course, course)
    job.course = course
    again(desk, job)
    for waiter in job.waiters.copy():
        if waiter.once:
            desk.end(waiter, timed_out(waiter, progress))


def _after(job: Job, reading: Reading) -> Course:
    """The job's course with this answer; one that listings tell is only looked at in between."""
    course = job.course
    listed = bool(course.entries) and course.entries[-1].stage == LISTED
    if listed and not groups.asked_alone(job):
        return evolve(course, asked=reading.at, failures=0)
    return after(course, reading)


def progressed(
    desk: Desk, job: Job, progress: GenerationProgress, heard: Heard, *, alone: bool
) -> None:
    """Tell what changed to those who want to know; `alone` where one was asked about alone."""
    job.last = progress
    news = False
    for waiter in job.waiters:
        if progress != waiter.told and not _behind(progress, waiter, heard, alone=alone):
            waiter.told, waiter.alone, news = progress, alone, True
            if waiter.wait.wants:
                waiter.wait.changed(waiter, progress, heard)
    if news:
        desk.pacer.tell_progress(progress)


def _behind(progress: GenerationProgress, waiter: Waiter, heard: Heard, *, alone: bool) -> bool:
    """Whether it only seems to go back: listings have another scale than answers about one job."""
    told = waiter.told
    if told is None or waiter.alone == alone or rank(progress.status) != rank(told.status):
        return False
    return heard is None and progress.percent < told.percent


def again(desk: Desk, job: Job) -> None:
    """Say when the next question about a job is due."""
    now = desk.loop.time()
    jitter = random.random()  # noqa: S311 - jitter needs no secrecy
    pacer = desk.pacer
    gap = gap_of(desk, job, jitter)
    job.next = now + max(gap, pacer.least(job), pacer.trust.safety(jitter))
    desk.place(job)


def finish(desk: Desk, job: Job, progress: GenerationProgress, heard: Heard) -> None:
    """A job has ended: so do all waits for it."""
    learn(desk.pacer.learned, job.course, desk.loop.time(), complete=progress.complete)
    desk.pacer.tell_progress(progress)
    for waiter in job.waiters.copy():
        desk.leave(waiter)
        waiter.wait.ended(waiter, verdict_of(progress), heard)


def verdict_of(progress: GenerationProgress) -> GenerationProgress | DiffioError:
    """What a wait gives or raises at this end."""
    return progress if progress.complete else generation_failed(progress)


def told_elsewhere(desk: Desk, job: Job, progress: GenerationProgress, *, sure: bool) -> None:
    """A listing, or an event (`sure`), told that a job has ended.

    Whoever waits for many is content with that; who waits for one gets the whole answer, and what
    failed is asked for its reason.
    """
    asks = progress.failed and progress.reason is None
    for waiter in job.waiters.copy():
        if waiter.wait.hear is not None or (not sure and (waiter.wait.lone or asks)):
            job.verdict = progress
        else:
            if len(job.waiters) == 1:
                now, complete = desk.loop.time(), progress.complete
                learn(desk.pacer.learned, job.course, now, complete=complete, exact=sure)
            desk.end(waiter, verdict_of(progress))
    if job.verdict is not None:
        job.next = desk.loop.time()
        desk.place(job)
    else:
        desk.pacer.tell_progress(progress)


def _unconfirmed(desk: Desk, job: Job) -> None:
    """The end was told elsewhere, and this answer does not know of it yet, or there was none."""
    job.tries += 1
    if job.tries >= MOST_TRIES and job.verdict is not None:
        finish(desk, job, job.verdict, None)
    else:
        job.next = desk.loop.time() + desk.pacer.policy.first * job.tries
        desk.place(job)


def _failed(desk: Desk, job: Job, failure: DiffioError) -> None:
    if isinstance(failure, ClientClosed):
        end_all(desk, job, failure)
        return
    job.answered, job.failure = desk.loop.time(), failure
    desk.scouts.discard(job)
    unreadable = isinstance(failure, ResponseInvalid)
    job.unreadable = job.unreadable + 1 if unreadable else 0
    passing = job.unreadable < MOST_UNREADABLE if unreadable else transient(failure)
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
    desk.pacer.troubled(failure)
    if job.verdict is not None:
        _unconfirmed(desk, job)
        return
    job.course = failed(job.course)
    again(desk, job)
    for waiter in job.waiters.copy():
        if waiter.once:
            desk.end(waiter, timed_out(waiter, desk.latest(job)))


def end_all(desk: Desk, job: Job, failure: DiffioError) -> None:
    """End every wait for a job with an error, to each a copy of its own."""
    for waiter in job.waiters.copy():
        if isinstance(failure, ClientClosed):
            # It is the call that ends, not the wait for one job of many.
            waiter.wait.break_off(another(failure))
        else:
            desk.end(waiter, another(failure))
