"""Updates of the model by responses and ends. Pure: instants are arguments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from diffio_async._polling.eta import (
    TWO_ROUNDINGS,
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
#: Standard deviation of a uniform distribution over one second.
_UNIFORM_ERROR = 0.29
#: Share of a duration in which a wait may start for the duration to count as observed.
_MAX_LATE_START = 0.1
#: Largest error of the entry into a stage, relative to the age, that the model is updated by.
_MAX_ENTRY_ERROR = 0.2
#: Steps between two percentages that show a speed.
_MIN_STEPS = 10.0


def observe_sample(model: PollModel, before: JobTimeline, timeline: JobTimeline) -> None:
    """Update the model by a response: the job of the timeline `before` is still running."""
    if timeline.dequeued is None or timeline.last is None or not timeline.entries:
        return
    stage, percent = timeline.entries[-1].stage, timeline.last.percent
    if percent is not None and 0 < percent < _ALL:
        steps = model.steps.get(stage)
        if steps is None:
            steps = model.steps[stage] = ProgressGranularity()
        # A percentage that has not changed is no evidence of the step.
        if timeline.last_change_at == timeline.last.at:
            steps.add(percent)
        if before.last is before.first:  # once for each job, by the first two samples
            _observe_stage_start(model, timeline, steps.step)
        variance = speed_variance(before, timeline, steps.step)
        if variance is not None and steps.known:
            model.unevenness.add(variance)
    if not timeline.start_known or timeline.last_polled_at is None:
        return
    started_at = timeline.dequeued.middle
    since = (
        started_at
        if before.last_polled_at is None or before.dequeued is None
        else before.last_polled_at
    )
    model.durations.observe_running(
        max(0.0, since - started_at), timeline.last_polled_at - started_at
    )


def _observe_stage_start(model: PollModel, timeline: JobTimeline, step: float) -> None:
    """Record the start of the last stage by the speed between its first two samples."""
    first, last = timeline.first, timeline.last
    if first is None or last is None or not first.percent or timeline.dequeued is None:
        return
    moved, seconds = (last.percent or 0) - first.percent, last.at - first.at
    if moved < _MIN_STEPS * step or seconds <= 0 or final_stage_fraction(timeline, model) is None:
        return
    passed, left = first.percent / moved * seconds, (_ALL - (last.percent or 0)) / moved * seconds
    before = first.at - passed - timeline.dequeued.middle
    duration = before + passed + seconds + left
    _stage_start(model, timeline).add(
        before / duration, TWO_ROUNDINGS * step / moved * passed / duration
    )


def _stage_start(model: PollModel, timeline: JobTimeline) -> StageStartModel:
    return model.entrances.setdefault(timeline.entries[-1].stage, StageStartModel())


def observe_end(
    model: PollModel, timeline: JobTimeline, ended: float, *, complete: bool, exact: bool = False
) -> None:
    """Update the model by a job that ended between its last response and `ended`.

    Args:
        model: The model.
        timeline: The timeline of the job.
        ended: The instant at which the end was observed.
        complete: Whether the job is complete, not failed.
        exact: Whether the job ended just then.
    """
    if not timeline.start_known or (
        timeline.dequeued is None and timeline.last_polled_at is not None
    ):
        return
    started_at = timeline.started_at if timeline.dequeued is None else timeline.dequeued.middle
    last_seen_at = timeline.last_polled_at
    if last_seen_at is None:
        # There was no response before the end: the duration counts if the wait was long enough.
        if not exact and (
            timeline.watch_started_at or started_at
        ) - started_at > _MAX_LATE_START * (ended - started_at):
            return
        last_seen_at = started_at
    at, error = (last_seen_at + ended) / 2, _UNIFORM_ERROR * (ended - last_seen_at)
    estimate = estimate_end(timeline, model)
    if exact:
        at, error = ended, 0.0
    elif estimate is not None:
        at, error = estimate[0], min(error, estimate[1])
    age = min(max(at, last_seen_at), ended) - started_at
    model.durations.observe_running(max(0.0, last_seen_at - started_at), age)
    model.durations.observe_end(max(0.0, age))
    if complete and age > 0:
        _observe_stages(model, timeline, started_at, age, error)


def _observe_stages(
    model: PollModel, timeline: JobTimeline, started_at: float, age: float, error: float
) -> None:
    """Record the fractions of a duration of `age` seconds at which its stages started."""
    done = final_stage_fraction(timeline, model)
    if done is not None and timeline.last_polled_at is not None:
        fraction = fraction_before(timeline.last_polled_at - started_at, done[0], age, error)
        _stage_start(model, timeline).add(*fraction)
    for entry in timeline.entries[1:]:
        passed = entry.middle - started_at
        if 0 < passed < age and entry.error < _MAX_ENTRY_ERROR * passed:
            share = model.shares.setdefault(entry.stage, StageFraction())
            share.add(passed / age, math.hypot(entry.error / passed, error / age))
    model.observe_stages([entry.stage for entry in timeline.entries])
