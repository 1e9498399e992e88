"""When a job is likely to end, by its own percentages and stages, and how sure that is."""

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
#: Standard errors of a number that was cut off to whole steps, and of the difference of two.
CUT_OFF = 0.29
TWO_CUT_OFF = 0.41
#: Answers tell of unevenness once percentages should have moved so many steps.
_FAR_ENOUGH = 4.0
#: What was foretold with a larger error, relative to the time left, does not tell of it.
_VAGUE = 0.3
#: Seconds in which nothing moves.
_INSTANT = 1e-6


@frozen
class StageEta:
    """When a stage will be over at its present speed, with the standard error, in seconds.

    `per_percent` is how long one percent takes.
    """

    at: float
    error: float
    per_percent: float


def stage_eta(course: JobTimeline, step: float) -> StageEta | None:
    """When the present stage is likely to end; None where the percentages told nothing.

    Args:
        course: The job's.
        step: In what steps its percentages come.
    """
    first, last = course.first, course.last
    if first is None or last is None or last.percent is None or not 0 < last.percent < _ALL:
        return None
    ways = []
    if first.percent is not None and last.percent > first.percent:
        ways.append((first.at, first.percent + step / 2, TWO_CUT_OFF * step, 0.0))
    if course.entries and (course.start_known or len(course.entries) > 1):
        entered = course.entries[-1]
        ways.append((entered.middle, 0.0, CUT_OFF * step, entered.error))
    best: StageEta | None = None
    done = min(_ALL, last.percent + step / 2)
    for at, percent, of_percent, of_time in ways:
        seconds, moved = last.at - at, done - percent
        if seconds < _INSTANT or moved <= 0:
            continue
        pace = seconds / moved
        left = (_ALL - done) * pace
        relative = math.hypot(of_percent / moved, of_time / seconds)
        error = math.hypot(left * relative, CUT_OFF * step * pace)
        if best is None or error < best.error:
            best = StageEta(last.at + left, error, pace)
    return best


def queue_eta(course: JobTimeline) -> float | None:
    """Seconds until a queued job's turn, by how its place moved so far; None: it did not."""
    first, last = course.first, course.last
    if first is None or last is None or first.position is None or last.position is None:
        return None
    moved, seconds = first.position - last.position, last.at - first.at
    if moved <= 0 or seconds <= 0:
        return None
    return max(last.position, 0.5) * seconds / moved


def estimate_end(course: JobTimeline, learned: PollModel) -> tuple[float, float] | None:
    """The instant a job is likely to end, and its standard error in seconds; None: unknown."""
    ways = (_likely_end(course, learned), _by_percent_alone(course, learned))
    return min((way for way in ways if way is not None), key=itemgetter(1), default=None)


def final_stage_fraction(course: JobTimeline, learned: PollModel) -> tuple[float, float] | None:
    """How much of its last stage a job had done when it was asked (0 to 1), and the error of that.

    None where that stage is not the last, or may have begun with the job.
    """
    last, stage = course.last, course.entries[-1].stage if course.entries else ""
    if last is None or last.percent is None or not 0 < last.percent < _ALL:
        return None
    if (
        not course.start_known
        or not stage
        or may_be_first(stage)
        or learned.after(stage) is not None
    ):
        return None
    step = learned.step(stage)
    return min(0.99, (last.percent + step / 2) / _ALL), CUT_OFF * step / _ALL


def _by_percent_alone(course: JobTimeline, learned: PollModel) -> tuple[float, float] | None:
    """By the first answer about the last stage, of which nobody saw when it began.

    From the second one on, the speed between two says more.
    """
    done = final_stage_fraction(course, learned)
    if done is None or course.dequeued is None or course.last is None:
        return None
    if course.first is not course.last:
        return None
    entrance = learned.entrances.get(course.entries[-1].stage) or StageStartModel()
    began = course.dequeued.middle
    whole, error = entrance.estimate_total(max(1e-3, course.last.at - began), *done)
    left = max(0.0, began + whole - course.last.at)
    return began + whole, math.hypot(error, learned.unevenness.error * left)


def _likely_end(course: JobTimeline, learned: PollModel) -> tuple[float, float] | None:
    """By the speed of percentages, or by the stages that were entered."""
    if course.last is None or course.dequeued is None or not course.entries:
        return None
    began = course.dequeued.middle
    stage = course.entries[-1]
    now = stage_eta(course, learned.step(stage.stage))
    if now is None:
        return _by_entry(course, learned)
    end, error = now.at, now.error
    then = learned.after(stage.stage)
    if then is not None:
        share = learned.shares.get(then)
        if share is None or not share.known:
            return None
        whole = (end - began) / share.fraction
        end, error = began + whole, math.hypot(error / share.fraction, whole * share.error)
    left = max(0.0, end - course.last.at)
    return end, math.hypot(error, learned.unevenness.error * left)


def _by_entry(course: JobTimeline, learned: PollModel) -> tuple[float, float] | None:
    """Where percentages tell nothing: by the instant the present stage began."""
    stage, started = course.entries[-1], course.dequeued
    share = learned.shares.get(stage.stage)
    if share is None or not share.known or started is None:
        return None
    gone = stage.middle - started.middle
    if gone <= 0:
        return None
    whole = gone / share.fraction
    relative = math.hypot(share.error, math.hypot(stage.error, started.error) / gone)
    return started.middle + whole, whole * relative


def speed_variance(before: JobTimeline, course: JobTimeline, step: float) -> float | None:
    """How far the speed since the last answer is from the speed before, relative and squared.

    What the steps of percentages explain is taken off; None where nothing can be told.
    """
    earlier, last = before.last, course.last
    if earlier is None or last is None or not earlier.percent or last.percent is None:
        return None
    if before.entries[-1:] != course.entries[-1:] or last.percent < earlier.percent:
        return None
    foretold = stage_eta(before, step)
    if foretold is None:
        return None
    due = (last.at - earlier.at) / foretold.per_percent
    if due < _FAR_ENOUGH * step or earlier.percent + due > _ALL - step:
        return None
    off = (last.percent - earlier.percent) / due - 1
    left = max(0.01, foretold.at - earlier.at)
    if foretold.error > _VAGUE * left:
        return None
    return off * off - (TWO_CUT_OFF * step / due) ** 2 - (foretold.error / left) ** 2
