"""When to ask for progress next. Pure: time and randomness are arguments.

A question costs as much as some seconds of delay in learning of the end (`POLL_COST`). Whatever is
known of the end is a distribution of its instant: a forecast from percentages or from the stages
entered so far, weighed against the durations of earlier jobs. The least cost is reached when
questions lie so that the integral of the root of the hazard from one to the next is the same;
near a good forecast that is: one question shortly behind the likely end.

A forecast only ever shortens the gap between two polls of a job that has the rate limit for itself:
that gap is at most `most_between`, whatever was reported. Only where so many jobs wait that the
limit is reached are polls saved by leaving a job alone until its likely end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from diffio_async._polling.eta import estimate_end, queue_eta, stage_eta
from diffio_async._polling.job_timeline import completed_stage

if TYPE_CHECKING:
    from diffio_async._polling.job_timeline import JobTimeline
    from diffio_async._polling.poll_model import PollModel
    from diffio_async.options import WaitPolicy

#: Seconds of delay that one question is worth, for each second of the policy's `first`.
POLL_COST = 0.07
#: A pause is drawn this far around its middle, so that a fleet does not march in step.
_SPREAD = 0.2
#: Not around a forecast's instant, nor beyond the shortest pause: that would spoil them. This much
#: breaks the step.
_STEP_BROKEN = 0.05
#: The share of the time waited so far that learning of the end may cost on top.
_SHARE = 0.1
#: The longest gap between two polls of a job that waits alone, as a share of the time waited: half
#: of it is the mean delay of detection where nothing foretells the end. And the least value of
#: that, as a share of the policy's `first`, for jobs that end at once.
_ALONE = 0.15
_ALONE_FIRST = 0.25
#: So many jobs are few: each is polled as if it waited alone.
_FEW = 10
#: The same where more jobs wait, as long as they do not reach the rate limit.
_AMONG_OTHERS = 0.25
#: A question that lands on a forecast lies so many standard errors behind it, and so many seconds.
_BEHIND = 1.3
_MARGIN = 0.05
#: Forecasts are good from so many times `first` on: the question lands on them.
_GOOD = 0.4
#: Such a question may come so much of `first` after the one before.
_SURE = 0.4
#: So many standard errors behind the likely end, a job is late.
_LATE = 3.0
#: A job that is late, or has done all, is left alone for so much of the time since then.
_LATE_GAP = 0.3
#: Percentages stand still when so many steps of theirs are due.
_STILL = 3.0
#: A forecast is of use where its error is so much of the deviation of all durations, or less.
_USEFUL = 0.7
#: That deviation (of logarithms), before it is known.
_VARIED = 0.7
#: A queued job is asked about after that share of the time until its turn, or its soonest end.
_QUEUED = 0.5
#: Stages are searched for as finely as their entry tells the end, and no finer than that.
_SEARCH = 0.8
_SEARCH_ERROR = 1.5

_STEP = 0.05
_Z = tuple(-4 + _STEP * n for n in range(161))


def _normal_roots() -> tuple[float, ...]:
    """The root of the normal distribution's hazard, from one of `_Z` to the next."""
    roots = []
    for z in _Z:
        alive = 0.5 * math.erfc(z / math.sqrt(2))
        roots.append(_STEP * math.sqrt(math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / alive))
    return tuple(roots)


_ROOTS = _normal_roots()


def backoff_delay(policy: WaitPolicy, waited: float, jitter: float) -> float:
    """Seconds until the next question where nothing is known.

    Args:
        policy: The shortest and the longest pause.
        waited: Seconds since the wait began.
        jitter: A random number from 0 to 1.
    """
    middle = min(policy.max_interval, max(policy.min_interval, waited * _SHARE))
    return _with_jitter(middle, jitter)


def crowd_of(policy: WaitPolicy, jobs: int, rate: float) -> float:
    """Return how far apart polls of each job must be, for `jobs` to share the limit, in seconds.

    Args:
        policy: The shortest and the longest pause.
        jobs: How many are waited for, those of a listing counted as one.
        rate: Polls a second that the rate limit allows; the surplus of a high one is not used up.
    """
    return jobs * max(1 / rate, policy.min_interval / _FEW)


def most_between(policy: WaitPolicy, waited: float, crowd: float) -> float:
    """Return the longest gap until the next poll that no forecast may exceed, in seconds.

    Args:
        policy: The shortest and the longest pause.
        waited: Seconds since the wait began.
        crowd: Seconds between two polls of a job that jobs together allow (`crowd_of`).
    """
    if crowd <= policy.min_interval:
        return max(_ALONE_FIRST * policy.min_interval, _ALONE * waited, crowd)
    usual = max(policy.min_interval, _AMONG_OTHERS * waited)
    # Where such gaps would exceed the rate limit, polls are kept for those whose end is near.
    return usual * max(1.0, crowd / usual) ** 2


def least_between(policy: WaitPolicy, waited: float) -> float:
    """Return the gap between polls that suffices where events are expected to report the end."""
    return max(policy.min_interval, _ALONE * waited)


def next_poll_delay(
    policy: WaitPolicy,
    timeline: JobTimeline,
    model: PollModel,
    now: float,
    jitter: float,
    *,
    crowd: float = 0.0,
) -> float:
    """Seconds from `now` until the next question, `policy.longest` at most.

    Args:
        policy: The shortest and the longest pause.
        timeline: What is known of the job.
        model: What is known of its kind.
        now: The instant, on the clock of the timeline.
        jitter: A random number from 0 to 1.
        crowd: Seconds between two polls of a job that jobs together allow (`crowd_of`).
    """
    waited = timeline.waited(now)
    most = most_between(policy, waited, crowd)
    if timeline.failures:
        # A service in trouble is left alone twice as long after each failure, with a forecast or
        # without.
        doubling = 2.0 ** min(timeline.failures - 1, 20)
        pause = max(policy.min_interval * doubling, waited * _SHARE)
        return min(
            _with_jitter(min(policy.max_interval, pause), jitter),
            max(policy.min_interval, most) * doubling,
        )
    return min(_wanted(policy, timeline, model, now, jitter), most * (1 - _SPREAD * jitter))


def _wanted(
    policy: WaitPolicy, timeline: JobTimeline, model: PollModel, now: float, jitter: float
) -> float:
    """Seconds until the poll that costs least, by what is known of the job's end."""
    age = max(0.0, now - timeline.started_at)
    if timeline.last_polled_at is None:
        if not timeline.start_known:
            return 0.0
        # It was made just now: what others lived through, it will most likely live through, too.
        first = model.durations.next_poll_delay(0.0, POLL_COST * policy.min_interval)
        return min(policy.max_interval, max(0.0, first - age))
    if timeline.dequeued is None:
        return _delay_when_queued(policy, timeline, model, age, jitter)
    price = POLL_COST * policy.min_interval
    age = max(0.0, now - timeline.dequeued.middle)
    forecast = _estimate_end(timeline, model)
    landing = None if forecast is None else _delay_to_eta(*forecast, age, policy.min_interval)
    if landing is not None:
        gap = landing
    elif forecast is not None:
        gap = _delay_by_hazard(*forecast, age, policy.min_interval, price)
    else:
        gap = model.durations.next_poll_delay(age, price)
    gap = min(
        gap,
        _delay_to_stage_change(timeline, model, now, price),
        _delay_when_done(timeline, model, now),
    )
    gap = max(gap, _delay_when_stalled(timeline, model, now))
    # Where the end is as good as seen, no other question is worth as much as the next one.
    least = policy.min_interval if landing is None else _SURE * policy.min_interval
    if gap <= least:
        return least * (1 + _STEP_BROKEN * jitter)
    return min(policy.max_interval, gap * (1 + _STEP_BROKEN * (jitter - 0.5)))


def _with_jitter(middle: float, jitter: float) -> float:
    return middle * (1 - _SPREAD + 2 * _SPREAD * jitter)


def _delay_when_queued(
    policy: WaitPolicy, timeline: JobTimeline, model: PollModel, waited: float, jitter: float
) -> float:
    """Seconds to the next question of a job that has not begun."""
    turn = queue_eta(timeline)
    if turn is not None:
        return max(
            policy.min_interval, min(policy.max_interval, _with_jitter(_QUEUED * turn, jitter))
        )
    pause = backoff_delay(policy, waited, jitter)
    usual = model.durations.log_moments
    if usual is None or not model.has_progress:
        return pause
    # When it began need not be known well: it cannot end at once, and its percentages will tell.
    soonest = math.exp(usual[0] - 2 * usual[1])
    return max(pause, min(policy.max_interval, _with_jitter(_QUEUED * soonest, jitter)))


def _estimate_end(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """The duration as a lognormal, None where only those of others tell of it."""
    forecast = estimate_end(timeline, model)
    if forecast is None or timeline.dequeued is None:
        return None
    whole = max(1e-3, forecast[0] - timeline.dequeued.middle)
    mean, error = math.log(whole), max(1e-6, forecast[1] / whole)
    usual = model.durations.log_moments
    if error >= _USEFUL * (_VARIED if usual is None else usual[1]):
        return None
    if usual is not None:
        # Two witnesses of the logarithm of the duration: each counts by its precision.
        seen, known = error**-2, usual[1] ** -2
        mean = (mean * seen + usual[0] * known) / (seen + known)
        error = (seen + known) ** -0.5
    return mean, error


def _delay_to_eta(mean: float, error: float, age: float, first: float) -> float | None:
    """Seconds to a question shortly behind the end, None where that is not known well enough."""
    whole = math.exp(mean)
    good = whole + _BEHIND * error * whole - age
    return good + _MARGIN if error * whole <= _GOOD * first and good > 0 else None


def _delay_by_hazard(mean: float, error: float, age: float, first: float, price: float) -> float:
    """Seconds to the next question of a job of some age, whose duration is lognormal."""
    whole = math.exp(mean)
    now = (math.log(max(age, 1e-3)) - mean) / error
    if now > _LATE:
        return max(first, _LATE_GAP * (age - whole))
    aim, at, ends = math.sqrt(2 * price), max(0, int((now + 4) / _STEP)), age
    while aim > 0 and at + 1 < len(_Z):
        at += 1
        ends = math.exp(mean + error * _Z[at])
        aim -= _ROOTS[at] * math.sqrt(error * ends)
    return max(0.0, ends - age)


def _delay_to_stage_change(
    timeline: JobTimeline, model: PollModel, now: float, price: float
) -> float:
    """Seconds to a question that finds when the next stage began, where that tells the end."""
    stage = timeline.entries[-1].stage
    share = model.shares.get(model.after(stage) or "")
    here = stage_eta(timeline, model.step(stage))
    if here is not None:
        # Its own percentages tell when; what follows is not known as well.
        known = share is not None and share.known
        return math.inf if known else max(0.0, here.at - now) + here.error + _MARGIN
    usual = model.durations.log_moments
    if share is None or not share.known or usual is None or timeline.dequeued is None:
        return math.inf
    if share.error >= _USEFUL * usual[1]:
        return math.inf
    age = now - timeline.dequeued.middle
    likely = share.fraction * math.exp(usual[0])
    soonest = likely * math.exp(-2 * usual[1])
    if age < soonest:
        return soonest - age + _MARGIN
    # `2 A / B` to the power of 2/3, where A seconds are searched and an entry seen to within g
    # seconds makes the rest cost B √g.
    searched = max(likely, age)
    rest = 2 / 3 * math.sqrt(2 / (price * share.fraction))
    worth = math.pow(2 * searched / rest, 2 / 3)
    return max(_SEARCH * worth, _SEARCH_ERROR * share.error * searched)


def _delay_when_done(timeline: JobTimeline, model: PollModel, now: float) -> float:
    """Seconds to the next question of a job that has done all and is not complete yet."""
    done = completed_stage(timeline.entries[-1].stage)
    if done is None or model.after(done) is not None or timeline.first is None:
        return math.inf
    return _LATE_GAP * (now - timeline.first.at)


def _delay_when_stalled(timeline: JobTimeline, model: PollModel, now: float) -> float:
    """Seconds to leave a job alone whose percentages stand still, at 99 say."""
    step = model.step(timeline.entries[-1].stage)
    here = stage_eta(timeline, step)
    if here is None:
        return 0.0
    return _LATE_GAP * (now - timeline.last_change_at - _STILL * step * here.per_percent)
