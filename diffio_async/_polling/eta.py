"""Estimated end of a job by its own percentages and stages, with the standard error."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._polling.job_timeline import may_be_first
from diffio_async._polling.poll_model import StageStartModel

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
    """Return the estimated end of a job and its standard error in seconds, None if unknown."""
    estimates = (_end_by_speed(timeline, model), _end_by_one_percentage(timeline, model))
    return min((each for each in estimates if each is not None), key=itemgetter(1), default=None)


def final_stage_fraction(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """Return the fraction of the last stage that was done at the last sample, and its error.

    None if the present stage is not the last, or may have started with the job.
    """
    last, stage = timeline.last, timeline.entries[-1].stage if timeline.entries else ""
    if last is None or last.percent is None or not 0 < last.percent < _ALL:
        return None
    if (
        not timeline.start_known
        or not stage
        or may_be_first(stage)
        or model.after(stage) is not None
    ):
        return None
    step = model.step(stage)
    return min(0.99, (last.percent + step / 2) / _ALL), ROUNDING * step / _ALL


def _end_by_one_percentage(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """Estimate the end by the first sample of the last stage, whose start was not observed.

    From the second sample on, the speed between two is more precise.
    """
    done = final_stage_fraction(timeline, model)
    if done is None or timeline.dequeued is None or timeline.last is None:
        return None
    if timeline.first is not timeline.last:
        return None
    start = model.entrances.get(timeline.entries[-1].stage) or StageStartModel()
    started_at = timeline.dequeued.middle
    age = max(1e-3, timeline.last.at - started_at)
    duration, error = start.estimate_total(age, *done)
    left = max(0.0, started_at + duration - timeline.last.at)
    return started_at + duration, math.hypot(error, model.unevenness.error * left)


def _end_by_speed(timeline: JobTimeline, model: PollModel) -> tuple[float, float] | None:
    """Estimate the end by the speed of percentages, or by the stages that were entered."""
    if timeline.last is None or timeline.dequeued is None or not timeline.entries:
        return None
    started_at = timeline.dequeued.middle
    stage = timeline.entries[-1].stage
    eta = stage_eta(timeline, model.step(stage))
    if eta is None:
        return _end_by_entry(timeline, model)
    end, error = eta.at, eta.error
    following = model.after(stage)
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
