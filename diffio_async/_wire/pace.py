"""When to ask for progress next. Pure: time and randomness are arguments.

A question costs as much as some seconds of delay in learning of the end (`PRICE`). Whatever is
known of the end is a distribution of its instant: a forecast from percentages, from the stages
entered so far, or the durations of earlier jobs. The least cost is reached when questions lie so
that the integral of the root of the hazard from one to the next is the same; near a good forecast
that is: one question shortly before the likely end, one shortly after.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from diffio_async._wire.courses import speed
from diffio_async._wire.learned import Share

if TYPE_CHECKING:
    from diffio_async._wire.courses import Course
    from diffio_async._wire.learned import Learned
    from diffio_async.options import WaitPolicy

#: Seconds of delay that one question is worth, for each second of the policy's `first`.
PRICE = 0.06
#: A pause is drawn this far around its middle, so that a fleet does not march in step.
_SPREAD = 0.2
#: The share of the time waited so far that learning of the end may cost on top.
_SHARE = 0.1
#: What a forecast is wrong by beside what the percentages cut off, of the time that is left.
_MODEL = 0.03
#: A question that lands on a forecast lies so many standard errors behind it, and so many seconds.
_BEHIND = 1.3
_MARGIN = 0.05
#: Forecasts are good from so many times `first` on: the question lands on them.
_GOOD = 0.4

_Z = tuple(-4 + 0.05 * n for n in range(161))


def _normal_sums() -> tuple[float, ...]:
    total, sums = 0.0, []
    for z in _Z:
        alive = 0.5 * math.erfc(z / math.sqrt(2))
        total += 0.05 * math.sqrt(math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / alive)
        sums.append(total)
    return tuple(sums)


#: The integral of the root of the normal distribution's hazard.
_SUMS = _normal_sums()


def next_pause(policy: WaitPolicy, waited: float, jitter: float) -> float:
    """Seconds until the next question where nothing is known.

    Args:
        policy: The shortest and the longest pause.
        waited: Seconds since the wait began.
        jitter: A random number from 0 to 1.
    """
    middle = min(policy.longest, max(policy.first, waited * _SHARE))
    return _spread(middle, jitter)


def next_question(
    policy: WaitPolicy, course: Course, learned: Learned, now: float, jitter: float
) -> float:
    """Seconds from `now` until the next question, `policy.longest` at most.

    Args:
        policy: The shortest and the longest pause.
        course: What is known of the job.
        learned: What is known of its kind.
        now: The instant, on the clock of the course.
        jitter: A random number from 0 to 1.
    """
    waited = max(0.0, now - course.began)
    if course.asked is None and not course.failures:
        return 0.0
    if course.failures:
        doubled = policy.first * 2.0 ** min(course.failures - 1, 20)
        return _spread(min(policy.longest, max(doubled, waited * _SHARE)), jitter)
    if course.started is None:
        return next_pause(policy, waited, jitter)
    forecast = likely_end(course, learned)
    price = PRICE * policy.first
    if forecast is not None:
        end, error = forecast
        gap = _towards(end - now, error, policy.first, price)
    elif learned.durations.enough:
        gap = learned.durations.gap(max(0.0, now - course.started.middle), price)
    else:
        return next_pause(policy, max(0.0, now - course.started.middle), jitter)
    if gap <= policy.first:
        return policy.first * (1 + _SPREAD * jitter)
    # Not around a forecast's instant: the jitter would spoil it. A twentieth breaks the step.
    return min(policy.longest, gap * (1 + 0.05 * (jitter - 0.5)))


def _spread(middle: float, jitter: float) -> float:
    return middle * (1 - _SPREAD + 2 * _SPREAD * jitter)


def _towards(left: float, error: float, first: float, price: float) -> float:
    """Seconds to the next question, where an end is forecast `left` seconds away."""
    if left < -2 * error:
        # It is late: the forecast was wrong, by as much again, maybe.
        return max(first, -0.3 * left)
    if error <= _GOOD * first:
        return left + _BEHIND * error + _MARGIN
    at = max(-4.0, -left / error)
    aim = _SUMS[min(len(_Z) - 1, int((at + 4) / 0.05))] + math.sqrt(2 * price / error)
    index = bisect_left(_SUMS, aim)
    return left + error * _Z[index] if index < len(_Z) else max(first, left + 4 * error)


def likely_end(course: Course, learned: Learned) -> tuple[float, float] | None:
    """The instant a job is likely to end, and its standard error in seconds; None: unknown."""
    if course.last is None or course.started is None or not course.entries:
        return None
    began = course.started.middle
    stage_end = speed(course)
    stage = course.entries[-1]
    then = learned.following.get(stage.stage)
    if stage_end is not None:
        end, error = stage_end
        share = learned.shares.get(then) if then is not None else None
        if share is not None and share.known:
            whole = (end - began) / share.fraction
            error = math.hypot(error / share.fraction, whole * share.error)
            end = began + whole
        left = max(0.0, end - course.last.at)
        return end, math.hypot(error, _MODEL * left)
    share = learned.shares.get(stage.stage)
    if share is None or not share.known:
        return None
    gone = stage.middle - began
    if gone <= 0:
        return None
    whole = gone / share.fraction
    error = whole * math.hypot(share.error, math.hypot(stage.error, course.started.error) / gone)
    return began + whole, error


def learn(learned: Learned, course: Course, ended: float, *, complete: bool) -> None:
    """Learn from a job that ended between its last answer and the instant `ended`."""
    if course.started is None or not course.fresh or course.asked is None:
        return
    forecast = likely_end(course, learned)
    at = (course.asked + ended) / 2 if forecast is None else forecast[0]
    at = min(max(at, course.asked), ended)
    began = course.started.middle
    age = at - began
    learned.durations.alive(max(0.0, course.asked - began), age)
    learned.durations.ended(age)
    if not complete or age <= 0:
        return
    for entry in course.entries[1:]:
        fraction = (entry.middle - began) / age
        if 0 < fraction < 1 and entry.error < 0.1 * age:
            share = learned.shares.get(entry.stage)
            if share is None:
                share = learned.shares[entry.stage] = Share()
            share.add(fraction)
    for earlier, later in itertools.pairwise(course.entries):
        learned.following[earlier.stage] = later.stage


def saw_alive(learned: Learned, before: Course, course: Course) -> None:
    """Learn from an answer that the job of `before` still runs."""
    if course.started is None or not course.fresh or course.asked is None:
        return
    began = course.started.middle
    since = began if before.asked is None or before.started is None else before.asked
    learned.durations.alive(max(0.0, since - began), course.asked - began)
