"""Estimated end of a job by its own percentages and stages, and what its responses teach. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._polling.poll_model import ProgressGranularity, StageFraction

if TYPE_CHECKING:
    from diffio_async._polling.job_timeline import JobTimeline
    from diffio_async._polling.poll_model import PollModel

_ALL = 100.0
#: Standard errors, in steps, of a number rounded down to whole steps, and of the difference of two.
ROUNDING = 0.29
TWO_ROUNDINGS = 0.41
#: Expected steps of percentages from which on two samples show the variance of the speed.
_MIN_STEPS = 4.0
#: Largest error of an estimate, relative to the time left, that shows the variance of the speed.
_MAX_ERROR = 0.3
#: Intervals below so many seconds are empty.
_INSTANT = 1e-6
#: Standard deviation of a uniform distribution over one second.
_UNIFORM_ERROR = 0.29
#: Share of a duration in which a wait may start for the duration to count as observed.
_MAX_LATE_START = 0.1
#: Largest error of the entry into a stage, relative to the age, that the model is updated by.
_MAX_ENTRY_ERROR = 0.2


@frozen
class StageEta:
    """Estimated end of a stage at its present speed, with the standard error, in seconds.

    `per_percent` is the duration of one percent.
    """

    at: float
    error: float
    per_percent: float


def stage_eta(timeline: JobTimeline, step: float) -> StageEta | None:
    """Return the estimated end of the present stage, None if the percentages do not show it.

    Args:
        timeline: The timeline of the job.
        step: The step of its percentages.
    """
    first, last = timeline.first, timeline.last
    if first is None or last is None or last.percent is None or not 0 < last.percent < _ALL:
        return None
    origins = []
    if first.percent is not None and last.percent > first.percent:
        origins.append((first.at, first.percent + step / 2, TWO_ROUNDINGS * step, 0.0))
    if timeline.entries and (timeline.start_known or len(timeline.entries) > 1):
        entered = timeline.entries[-1]
        origins.append((entered.middle, 0.0, ROUNDING * step, entered.error))
    best: StageEta | None = None
    done = min(_ALL, last.percent + step / 2)
    for at, percent, percent_error, time_error in origins:
        seconds, moved = last.at - at, done - percent
        if seconds < _INSTANT or moved <= 0:
            continue
        per_percent = seconds / moved
        left = (_ALL - done) * per_percent
        relative = math.hypot(percent_error / moved, time_error / seconds)
        error = math.hypot(left * relative, ROUNDING * step * per_percent)
        if best is None or error < best.error:
            best = StageEta(last.at + left, error, per_percent)
    return best


def queue_eta(timeline: JobTimeline) -> float | None:
    """Return the seconds until a queued job starts by the speed of the queue, None if unknown."""
    first, last = timeline.first, timeline.last
    if first is None or last is None or first.position is None or last.position is None:
        return None
    moved, seconds = first.position - last.position, last.at - first.at
    if moved <= 0 or seconds <= 0:
        return None
    return max(last.position, 0.5) * seconds / moved


def estimate_end(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """Return the estimated end of a job and its standard error in seconds, None if unknown.

    It is estimated by the speed of percentages, or by the stages that were entered.
    """
    if timeline.last is None or timeline.dequeued is None or not timeline.entries:
        return None
    started_at = timeline.dequeued.middle
    stage = timeline.entries[-1].stage
    eta = stage_eta(timeline, model.step(stage))
    if eta is None:
        return _end_by_entry(timeline, model)
    end, error = eta.at, eta.error
    following = model.next_stage.get(stage)
    if following is not None:
        share = model.shares.get(following)
        if share is None or not share.known:
            return None
        duration = (end - started_at) / share.fraction
        error = math.hypot(error / share.fraction, duration * share.error)
        end = started_at + duration
    left = max(0.0, end - timeline.last.at)
    return end, math.hypot(error, model.unevenness.error * left)


def _end_by_entry(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """Estimate the end by the start of the present stage, without percentages."""
    stage, started = timeline.entries[-1], timeline.dequeued
    share = model.shares.get(stage.stage)
    if share is None or not share.known or started is None:
        return None
    passed = stage.middle - started.middle
    if passed <= 0:
        return None
    duration = passed / share.fraction
    relative = math.hypot(share.error, math.hypot(stage.error, started.error) / passed)
    return started.middle + duration, duration * relative


def speed_variance(before: JobTimeline, timeline: JobTimeline, step: float) -> float | None:
    """Return the squared relative deviation of the speed since the last sample from that before.

    The rounding of percentages is subtracted. None if the samples do not show a speed.
    """
    earlier, last = before.last, timeline.last
    if earlier is None or last is None or not earlier.percent or last.percent is None:
        return None
    if before.entries[-1:] != timeline.entries[-1:] or last.percent < earlier.percent:
        return None
    eta = stage_eta(before, step)
    if eta is None:
        return None
    expected = (last.at - earlier.at) / eta.per_percent
    if expected < _MIN_STEPS * step or earlier.percent + expected > _ALL - step:
        return None
    deviation = (last.percent - earlier.percent) / expected - 1
    left = max(0.01, eta.at - earlier.at)
    if eta.error > _MAX_ERROR * left:
        return None
    rounding = TWO_ROUNDINGS * step / expected
    return deviation * deviation - rounding**2 - (eta.error / left) ** 2


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
    for entry in timeline.entries[1:]:
        passed = entry.middle - started_at
        if 0 < passed < age and entry.error < _MAX_ENTRY_ERROR * passed:
            share = model.shares.setdefault(entry.stage, StageFraction())
            share.add(passed / age, math.hypot(entry.error / passed, error / age))
    model.observe_stages([entry.stage for entry in timeline.entries])
