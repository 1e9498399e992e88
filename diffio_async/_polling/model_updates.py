"""What answers teach about jobs to come. Pure: instants are arguments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from diffio_async._polling.eta import (
    TWO_CUT_OFF,
    estimate_end,
    final_stage_fraction,
    speed_variance,
)
from diffio_async._polling.poll_model import (
    ProgressGranularity,
    StageFraction,
    StageStartModel,
    fraction_before,
)

if TYPE_CHECKING:
    from diffio_async._polling.job_timeline import JobTimeline
    from diffio_async._polling.poll_model import PollModel

_ALL = 100.0
#: The deviation of what is evenly spread over a second.
_EVEN = 0.29
#: Whoever begins to wait in the first tenth of a life has seen all of it.
_SOON = 0.1
#: An entry that was seen worse, relative to the age, teaches nothing.
_VAGUE = 0.2
#: Two percentages tell of a speed when they are so many steps apart.
_FAR_ENOUGH = 10.0


def observe_sample(learned: PollModel, before: JobTimeline, course: JobTimeline) -> None:
    """Learn from an answer that the job of `before` still runs."""
    if course.dequeued is None or course.last is None or not course.entries:
        return
    stage, percent = course.entries[-1].stage, course.last.percent
    if percent is not None and 0 < percent < _ALL:
        steps = learned.steps.get(stage)
        if steps is None:
            steps = learned.steps[stage] = ProgressGranularity()
        # A percentage that is read again says nothing new of the step.
        if course.last_change_at == course.last.at:
            steps.add(percent)
        if before.last is before.first:  # once for each job, by the first two answers
            _observe_stage_start(learned, course, steps.step)
        uneven = speed_variance(before, course, steps.step)
        if uneven is not None and steps.known:
            learned.unevenness.add(uneven)
    if not course.start_known or course.last_polled_at is None:
        return
    began = course.dequeued.middle
    since = (
        began if before.last_polled_at is None or before.dequeued is None else before.last_polled_at
    )
    learned.durations.observe_running(max(0.0, since - began), course.last_polled_at - began)


def _observe_stage_start(learned: PollModel, course: JobTimeline, step: float) -> None:
    """By two answers about its last stage: when that began, and will end, at the speed between."""
    first, last = course.first, course.last
    if first is None or last is None or not first.percent or course.dequeued is None:
        return
    moved, seconds = (last.percent or 0) - first.percent, last.at - first.at
    if moved < _FAR_ENOUGH * step or seconds <= 0 or final_stage_fraction(course, learned) is None:
        return
    gone, left = first.percent / moved * seconds, (_ALL - (last.percent or 0)) / moved * seconds
    before = first.at - gone - course.dequeued.middle
    whole = before + gone + seconds + left
    _stage_start(learned, course).add(before / whole, TWO_CUT_OFF * step / moved * gone / whole)


def _stage_start(learned: PollModel, course: JobTimeline) -> StageStartModel:
    return learned.entrances.setdefault(course.entries[-1].stage, StageStartModel())


def observe_end(
    learned: PollModel, course: JobTimeline, ended: float, *, complete: bool, exact: bool = False
) -> None:
    """Learn from a job that ended between its last answer and `ended`, or (`exact`) just then."""
    if not course.start_known or (course.dequeued is None and course.last_polled_at is not None):
        return
    began = course.started_at if course.dequeued is None else course.dequeued.middle
    seen = course.last_polled_at
    if seen is None:
        # Nobody asked before it was over: it lived from its making on, and somebody waited.
        if not exact and (course.watch_started_at or began) - began > _SOON * (ended - began):
            return
        seen = began
    at, error = (seen + ended) / 2, _EVEN * (ended - seen)
    forecast = estimate_end(course, learned)
    if exact:
        at, error = ended, 0.0
    elif forecast is not None:
        at, error = forecast[0], min(error, forecast[1])
    age = min(max(at, seen), ended) - began
    learned.durations.observe_running(max(0.0, seen - began), age)
    learned.durations.observe_end(max(0.0, age))
    if complete and age > 0:
        _learn_stages(learned, course, began, age, error)


def _learn_stages(
    learned: PollModel, course: JobTimeline, began: float, age: float, error: float
) -> None:
    """Learn what part of a life that lasted `age` seconds, give or take, its stages took."""
    done = final_stage_fraction(course, learned)
    if done is not None and course.last_polled_at is not None:
        part = fraction_before(course.last_polled_at - began, done[0], age, error)
        _stage_start(learned, course).add(*part)
    for entry in course.entries[1:]:
        gone = entry.middle - began
        if 0 < gone < age and entry.error < _VAGUE * gone:
            share = learned.shares.setdefault(entry.stage, StageFraction())
            share.add(gone / age, math.hypot(entry.error / gone, error / age))
    learned.observe_stages([entry.stage for entry in course.entries])
