"""Delay before the next poll. Pure: time and randomness are arguments.

A poll costs as much as some seconds of delay in detecting the end (`POLL_COST`). The end has a
distribution: an estimate from percentages or from the stages entered so far, combined with the
durations of earlier jobs. Polls are spaced so that the integral of sqrt(hazard) between polls is
constant, which minimises the cost. Near a precise estimate that is one poll shortly after the
estimated end.

An estimate only shortens the gap between two polls of a job that has the rate limit for itself:
that gap is at most `max_poll_gap`. Polls are only saved by waiting for the estimated end if so many
jobs wait that the rate limit is reached.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._polling.job_timeline import completed_stage, queue_eta, stage_eta
from diffio_async._protocol.retry import backoff

if TYPE_CHECKING:
    from diffio_async._polling.job_timeline import JobTimeline
    from diffio_async._polling.poll_model import PollModel
    from diffio_async.options import WaitPolicy

#: Seconds of delay that one poll is worth, per second of the policy's `min_interval`.
POLL_COST = 0.07
#: Jitter of +/-20 %, so that jobs do not synchronise.
_JITTER = 0.2
#: Jitter of polls at an estimated end or at the shortest pause, where more would spoil them.
_SMALL_JITTER = 0.05
#: Delay without any estimate, as a share of the time waited.
_BACKOFF_SHARE = 0.1
#: Delay of a running job while no durations are known, by the root of its price and age: the
#: optimum if the hazard is inversely proportional to the age.
_UNKNOWN = 2.0
#: Longest gap between two polls of a job that waits alone, as a share of the time waited: half of
#: it is the mean delay without an estimate. And its lower limit, as a share of `min_interval`, for
#: jobs that end at once.
_ALONE, _ALONE_MIN = 0.15, 0.25
#: Delay of the first poll of such a job, as a share of `min_interval`: it may have ended at once,
#: and one poll costs little.
_ALONE_FIRST = 0.1
#: Longest such gap in the first time, as a share of `min_interval`, so that short jobs are detected
#: as soon as by a loop with that interval; and later, as a share of the time waited.
_ALONE_SHORT, _ALONE_LONG = 0.5, 0.05
#: At most so many jobs are polled as if each waited alone.
_FEW_JOBS = 10
#: The same share if more jobs wait, as long as they do not reach the rate limit.
_AMONG_OTHERS = 0.25
#: Standard errors, and seconds, after an estimated end or start of a stage at which to poll.
_AFTER_ESTIMATE, _MARGIN = 1.3, 0.05
#: Largest error, as a share of `min_interval`, of an estimate that is polled at.
_PRECISE = 0.4
#: Least delay of such a poll, as a share of `min_interval`.
_PRECISE_DELAY = 0.4
#: Standard errors after the estimated end from which on a job is late.
_LATE = 3.0
#: Delay of a job that is late or at 100 %, as a share of the time since then.
_LATE_GAP = 0.3
#: Overdue steps of a percentage from which on it is stalled.
_STALLED = 3.0
#: Largest error of a useful estimate, as a share of the deviation of all durations.
_USEFUL = 0.7
#: That deviation (of logarithms) while it is unknown.
_PRIOR_DEVIATION = 0.7
#: Delay of a queued job, as a share of the time until its start, or until its earliest end.
_QUEUED = 0.5
#: Delay while the start of the next stage is searched, by its value for the estimate and its error.
_SEARCH, _SEARCH_ERROR = 0.8, 1.5

#: Seconds added to the intervals for each second that polls wait for the rate limit.
_LATE_MIN, _LATE_MAX = 2.0, 4.0

#: Range, and step of the integral, of logarithms of durations in standard deviations.
_MAX_Z, _STEP = 4.0, 0.05


def _normal_root(z: float) -> float:
    """Return sqrt(hazard) of the normal distribution."""
    return math.sqrt(math.sqrt(2 / math.pi) * math.exp(-z * z / 2) / math.erfc(z / math.sqrt(2)))


_ROOTS = tuple(_STEP * _normal_root(_STEP * n - _MAX_Z) for n in range(int(2 * _MAX_Z / _STEP) + 1))


def backoff_delay(policy: WaitPolicy, waited: float, jitter: float) -> float:
    """Return the delay before the next poll if nothing is known, in seconds.

    Args:
        policy: The shortest and the longest pause.
        waited: Seconds since the wait began.
        jitter: A random number from 0 to 1.
    """
    delay = min(policy.max_interval, max(policy.min_interval, waited * _BACKOFF_SHARE))
    return _with_jitter(delay, jitter)


def rate_limited_gap(policy: WaitPolicy, jobs: int, rate: float) -> float:
    """Return the gap between polls of each of `jobs` that share the rate limit, in seconds.

    Args:
        policy: The shortest and the longest pause.
        jobs: The number of jobs; those of a listing count as one.
        rate: Polls per second that the rate limit allows; a high limit is not used up.
    """
    return jobs * max(1 / rate, policy.min_interval / _FEW_JOBS)


def max_poll_gap(policy: WaitPolicy, waited: float, rate_gap: float) -> float:
    """Return the longest gap until the next poll that no estimate may exceed, in seconds.

    Args:
        policy: The shortest and the longest pause.
        waited: Seconds since the wait began.
        rate_gap: Seconds between two polls of a job that jobs together allow (`rate_limited_gap`).
    """
    if rate_gap <= policy.min_interval:
        short = min(_ALONE * waited, _ALONE_SHORT * policy.min_interval)
        return max(_ALONE_MIN * policy.min_interval, short, _ALONE_LONG * waited, rate_gap)
    usual = max(policy.min_interval, _AMONG_OTHERS * waited)
    # If such gaps exceeded the rate limit, polls are saved for the jobs whose end is near.
    return usual * max(1.0, rate_gap / usual) ** 2


def sufficient_gap(policy: WaitPolicy, waited: float) -> float:
    """Return the gap between polls that suffices if events are expected, in seconds."""
    return max(policy.min_interval, _ALONE * waited)


def next_poll_delay(
    policy: WaitPolicy,
    timeline: JobTimeline,
    model: PollModel,
    now: float,
    jitter: float,
    *,
    rate_gap: float = 0.0,
    late: float = 0.0,
) -> float:
    """Return the delay before the next poll in seconds, at most `policy.max_interval`.

    Polls that wait for the rate limit come late by some seconds anyway. The intervals grow by a
    multiple of that, so that fewer polls are due, and those near the estimated ends come in time.

    Args:
        policy: The shortest and the longest pause.
        timeline: The timeline of the job.
        model: What was learned of earlier jobs.
        now: The instant, on the clock of the timeline.
        jitter: A random number from 0 to 1.
        rate_gap: Seconds between two polls of a job that jobs together allow (`rate_limited_gap`).
        late: Seconds for which the last poll of the job waited for the rate limit.
    """
    waited = timeline.waited(now)
    max_gap = max_poll_gap(policy, waited, rate_gap)
    if timeline.last_polled_at is None and rate_gap <= policy.min_interval:
        max_gap = min(max_gap, max(_ALONE_FIRST * policy.min_interval, rate_gap))
    if timeline.failures:
        # The delay doubles after each failure, with an estimate or without.
        pause = backoff(timeline.failures, policy.min_interval, policy.max_interval)
        pause = max(pause, min(policy.max_interval, waited * _BACKOFF_SHARE))
        longest = backoff(timeline.failures, max(policy.min_interval, max_gap), math.inf)
        return min(_with_jitter(pause, jitter), longest)
    if late:
        policy = evolve(
            policy,
            min_interval=policy.min_interval + _LATE_MIN * late,
            max_interval=policy.max_interval + _LATE_MAX * late,
        )
    return min(
        _cheapest_delay(policy, timeline, model, now, jitter), max_gap * (1 - _JITTER * jitter)
    )


def _cheapest_delay(
    policy: WaitPolicy, timeline: JobTimeline, model: PollModel, now: float, jitter: float
) -> float:
    """Return the delay with the lowest cost by the distribution of the end, in seconds."""
    age = max(0.0, now - timeline.started_at)
    if timeline.last_polled_at is None:
        if not timeline.start_known:
            return 0.0
        # It was created just now: it will most likely run as long as others did.
        return min(policy.max_interval, max(0.0, _delay_by_durations(policy, model, 0.0) - age))
    if timeline.dequeued is None:
        return _delay_when_queued(policy, timeline, model, age, jitter)
    price = POLL_COST * policy.min_interval
    age = max(0.0, now - timeline.dequeued.middle)
    estimate = _estimate_duration(timeline, model)
    precise = None if estimate is None else _delay_to_eta(*estimate, age, policy.min_interval)
    if precise is not None:
        gap = precise
    elif estimate is not None:
        gap = _delay_by_hazard(*estimate, age, policy.min_interval, price)
    else:
        gap = _delay_by_durations(policy, model, age)
    gap = min(
        gap,
        _delay_to_stage_change(timeline, model, now, price),
        _delay_when_done(timeline, model, now),
    )
    gap = max(gap, _delay_when_stalled(timeline, model, now))
    # With a precise estimate the next poll is most likely the last one.
    least = policy.min_interval if precise is None else _PRECISE_DELAY * policy.min_interval
    if gap <= least:
        return least * (1 + _SMALL_JITTER * jitter)
    return min(policy.max_interval, gap * (1 + _SMALL_JITTER * (jitter - 0.5)))


def _with_jitter(delay: float, jitter: float) -> float:
    return delay * (1 - _JITTER + 2 * _JITTER * jitter)


def _delay_when_queued(
    policy: WaitPolicy, timeline: JobTimeline, model: PollModel, waited: float, jitter: float
) -> float:
    """Return the delay before the next poll of a queued job, in seconds."""
    until_start = queue_eta(timeline)
    if until_start is not None:
        pause = min(policy.max_interval, _with_jitter(_QUEUED * until_start, jitter))
        return max(policy.min_interval, pause)
    pause = backoff_delay(policy, waited, jitter)
    moments = model.durations.log_moments
    if moments is None or not model.has_progress:
        return pause
    # Its start need not be known well: it cannot end at once, and its percentages show the rest.
    soonest = math.exp(moments[0] - 2 * moments[1])
    return max(pause, min(policy.max_interval, _with_jitter(_QUEUED * soonest, jitter)))


def _estimate_duration(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """Return mean and deviation of the log of the duration, None if only other jobs show it."""
    estimate = model.estimate_end(timeline)
    if estimate is None or timeline.dequeued is None:
        return None
    duration = max(1e-3, estimate[0] - timeline.dequeued.middle)
    mean, error = math.log(duration), max(1e-6, estimate[1] / duration)
    moments = model.durations.log_moments
    if error >= _USEFUL * (_PRIOR_DEVIATION if moments is None else moments[1]):
        return None
    if moments is not None:
        # Two estimates of the logarithm of the duration are weighted by their precision.
        own, prior = error**-2, moments[1] ** -2
        mean = (mean * own + moments[0] * prior) / (own + prior)
        error = (own + prior) ** -0.5
    return mean, error


def _delay_to_eta(mean: float, error: float, age: float, min_interval: float) -> float | None:
    """Return the delay to shortly after the estimated end, None if it is not precise enough."""
    duration = math.exp(mean)
    delay = duration + _AFTER_ESTIMATE * error * duration - age
    precise = error * duration <= _PRECISE * min_interval
    return delay + _MARGIN if precise and delay > 0 else None


def _delay_by_durations(policy: WaitPolicy, model: PollModel, age: float) -> float:
    """Return the delay of a job of which only its age is known, in seconds."""
    moments, price = model.durations.log_moments, POLL_COST * policy.min_interval
    if moments is None:
        return _UNKNOWN * math.sqrt(price * (age + _ALONE_MIN * policy.min_interval))
    return _delay_by_hazard(*moments, age, policy.min_interval, price)


def _delay_by_hazard(
    mean: float, error: float, age: float, min_interval: float, price: float
) -> float:
    """Return the delay by the hazard of a lognormal duration at some age, in seconds."""
    duration = math.exp(mean)
    now = (math.log(max(age, 1e-3)) - mean) / error
    if now > _LATE:
        return max(min_interval, _LATE_GAP * (age - duration))
    aim, z = math.sqrt(2 * price), max(now, -_MAX_Z)
    while aim > 0 and z < _MAX_Z:
        part = _ROOTS[int((z + _MAX_Z) / _STEP)] * math.sqrt(error * math.exp(mean + error * z))
        z += _STEP * min(1.0, aim / part)
        aim -= part
    return max(0.0, math.exp(mean + error * z) - age)


def _delay_to_stage_change(
    timeline: JobTimeline, model: PollModel, now: float, price: float
) -> float:
    """Return the delay to a poll that observes the start of the next stage, if that is useful."""
    stage = timeline.entries[-1].stage
    share = model.share(model.after(stage))
    eta = stage_eta(timeline, model.step(stage))
    if eta is not None:
        # Percentages show the end of this stage; the duration of what follows may be unknown.
        return max(0.0, eta.at - now) + eta.error + _MARGIN if share is None else math.inf
    moments = model.durations.log_moments
    if share is None or moments is None or timeline.dequeued is None:
        return math.inf
    if share.error >= _USEFUL * moments[1]:
        return math.inf
    age = now - timeline.dequeued.middle
    likely = share.fraction * math.exp(moments[0])
    soonest = likely * math.exp(-2 * moments[1])
    if age < soonest:
        return soonest - age + _MARGIN
    # (2 A / B)^(2/3): A seconds are searched, and an entry known to within g seconds makes the rest
    # cost B sqrt(g).
    searched = max(likely, age)
    rest = 2 / 3 * math.sqrt(2 / (price * share.fraction))
    worth = math.pow(2 * searched / rest, 2 / 3)
    return max(_SEARCH * worth, _SEARCH_ERROR * share.error * searched)


def _delay_when_done(timeline: JobTimeline, model: PollModel, now: float) -> float:
    """Return the delay of a job at 100 % that is not complete yet, in seconds."""
    completed = completed_stage(timeline.entries[-1].stage)
    if completed is None or model.after(completed) or timeline.first is None:
        return math.inf
    return _LATE_GAP * (now - timeline.first.at)


def _delay_when_stalled(timeline: JobTimeline, model: PollModel, now: float) -> float:
    """Return the least delay of a job whose percentage is stalled, for example at 99."""
    step = model.step(timeline.entries[-1].stage)
    eta = stage_eta(timeline, step)
    if eta is None:
        return 0.0
    return _LATE_GAP * (now - timeline.last_change_at - _STALLED * step * eta.per_percent)
