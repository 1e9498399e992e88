"""What answers teach about jobs to come. Pure: instants are arguments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from diffio_async._wire.entrances import Entrance, part_before
from diffio_async._wire.forecasts import TWO_CUT_OFF, last_stage_done, likely_end, unevenness
from diffio_async._wire.learned import Share, Steps

if TYPE_CHECKING:
    from diffio_async._wire.courses import Course
    from diffio_async._wire.learned import Learned

_ALL = 100.0
#: The deviation of what is evenly spread over a second.
_EVEN = 0.29
#: Whoever begins to wait in the first tenth of a life has seen all of it.
_SOON = 0.1
#: An entry that was seen worse, relative to the age, teaches nothing.
_VAGUE = 0.2
#: Two percentages tell of a speed when they are so many steps apart.
_FAR_ENOUGH = 10.0


def saw_alive(learned: Learned, before: Course, course: Course) -> None:
    """Learn from an answer that the job of `before` still runs."""
    if course.started is None or course.last is None or not course.entries:
        return
    stage, percent = course.entries[-1].stage, course.last.percent
    if percent is not None and 0 < percent < _ALL:
        steps = learned.steps.get(stage)
        if steps is None:
            steps = learned.steps[stage] = Steps()
        # A percentage that is read again says nothing new of the step.
        if course.moved == course.last.at:
            steps.add(percent)
        if before.last is before.first:  # once for each job, by the first two answers
            _see_entrance(learned, course, steps.step)
        uneven = unevenness(before, course, steps.step)
        if uneven is not None and steps.known:
            learned.unevenness.add(uneven)
    if not course.fresh or course.asked is None:
        return
    began = course.started.middle
    since = began if before.asked is None or before.started is None else before.asked
    learned.durations.alive(max(0.0, since - began), course.asked - began)


def _see_entrance(learned: Learned, course: Course, step: float) -> None:
    """By two answers about its last stage: when that began, and will end, at the speed between."""
    first, last = course.first, course.last
    if first is None or last is None or not first.percent or course.started is None:
        return
    moved, seconds = (last.percent or 0) - first.percent, last.at - first.at
    if moved < _FAR_ENOUGH * step or seconds <= 0 or last_stage_done(course, learned) is None:
        return
    gone, left = first.percent / moved * seconds, (_ALL - (last.percent or 0)) / moved * seconds
    before = first.at - gone - course.started.middle
    whole = before + gone + seconds + left
    _entrance(learned, course).add(before / whole, TWO_CUT_OFF * step / moved * gone / whole)


def _entrance(learned: Learned, course: Course) -> Entrance:
    return learned.entrances.setdefault(course.entries[-1].stage, Entrance())


def learn(
    learned: Learned, course: Course, ended: float, *, complete: bool, exact: bool = False
) -> None:
    """Learn from a job that ended between its last answer and `ended`, or (`exact`) just then."""
    if not course.fresh or (course.started is None and course.asked is not None):
        return
    began = course.began if course.started is None else course.started.middle
    seen = course.asked
    if seen is None:
        # Nobody asked before it was over: it lived from its making on, and somebody waited.
        if not exact and (course.watched or began) - began > _SOON * (ended - began):
            return
        seen = began
    at, error = (seen + ended) / 2, _EVEN * (ended - seen)
    forecast = likely_end(course, learned)
    if exact:
        at, error = ended, 0.0
    elif forecast is not None:
        at, error = forecast[0], min(error, forecast[1])
    age = min(max(at, seen), ended) - began
    learned.durations.alive(max(0.0, seen - began), age)
    learned.durations.ended(max(0.0, age))
    if complete and age > 0:
        _learn_stages(learned, course, began, age, error)


def _learn_stages(learned: Learned, course: Course, began: float, age: float, error: float) -> None:
    """Learn what part of a life that lasted `age` seconds, give or take, its stages took."""
    done = last_stage_done(course, learned)
    if done is not None and course.asked is not None:
        part = part_before(course.asked - began, done[0], age, error)
        _entrance(learned, course).add(*part)
    for entry in course.entries[1:]:
        gone = entry.middle - began
        if 0 < gone < age and entry.error < _VAGUE * gone:
            share = learned.shares.setdefault(entry.stage, Share())
            share.add(gone / age, math.hypot(entry.error / gone, error / age))
    learned.passed([entry.stage for entry in course.entries])
