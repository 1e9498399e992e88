"""Observations of jobs: progress responses, rows of listings, and the timeline of a job by them.

Pure data; an instant is in seconds of any steady clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from attrs import evolve, frozen

from diffio_async._protocol.codec import parse_body
from diffio_async.errors import InvalidResponse
from diffio_async.models.generations import COMPLETE, FAILED, GenerationProgress
from diffio_async.models.json_values import number, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The stages of a generation in order, by the field names of `GenerationProgress`.
_STAGES = ("pre_processing", "inference", "restored_video")
#: Stage name of samples from listings: their percentages are of the whole job.
LISTING = "listed"
#: Suffix of a stage whose percentage is 100 while no other stage has begun after it.
STAGE_DONE = ", over"
_ALL = 100.0
#: Standard errors, in steps, of a number rounded down to whole steps, and of the difference of two.
ROUNDING = 0.29
TWO_ROUNDINGS = 0.41
#: Intervals below so many seconds are empty.
_INSTANT = 1e-6
#: Stages that a job may begin with.
_FIRST_STAGES = frozenset({"", "running", LISTING, "pre_processing", "pre_processing of a video"})


def may_be_first(stage: str) -> bool:
    """Return whether a job may begin with this stage, by its name."""
    return stage in _FIRST_STAGES


def precedes(stage: str, then: str) -> bool:
    """Return whether a generation enters these stages in this order, by their names."""
    positions = [
        next((position for position, known in enumerate(_STAGES) if name.startswith(known)), -1)
        for name in (stage, then)
    ]
    return positions[0] < positions[1]


def completed_stage(stage: str) -> str | None:
    """Return the stage whose percentage is 100 with none after it; None for other stages."""
    return stage.removesuffix(STAGE_DONE) if stage.endswith(STAGE_DONE) else None


@frozen
class ProgressSample:
    """Content of one response about a running job, at an instant (seconds of any steady clock).

    Attributes:
        at: When it was received.
        stage: The stage the job is in; the same name means the same scale of percentages. Empty
            if the job is queued.
        percent: 0 to 100, how much of the stage is done; None if unknown.
        position: How many jobs are before a queued one; None if unknown.
    """

    at: float
    stage: str
    percent: float | None = None
    position: int | None = None


@frozen
class StageEntry:
    """Stage, and the two instants between which the job entered it."""

    stage: str
    after: float
    before: float

    @property
    def middle(self) -> float:
        """The most likely instant."""
        return (self.after + self.before) / 2

    @property
    def error(self) -> float:
        """The standard error of `middle`, in seconds."""
        return (self.before - self.after) / 3.46


@frozen
class JobTimeline:
    """Observations of one job.

    Attributes:
        started_at: When the job was created if that is known, otherwise when the wait began.
        start_known: Whether `started_at` is when the job was created, or soon after.
        watch_started_at: When the newest wait began; None if when the job was created.
        last_polled_at: The instant of the last response, None before the first.
        dequeued: When the job left the queue; None while it is queued or unknown.
        entries: The stages it was observed to enter, the present one last.
        first: The first sample in the present stage.
        last: The last sample.
        last_change_at: When the present percentage and stage were first observed.
        failures: Polls in a row that failed.
    """

    started_at: float
    start_known: bool = False
    watch_started_at: float | None = None
    last_polled_at: float | None = None
    dequeued: StageEntry | None = None
    entries: tuple[StageEntry, ...] = ()
    first: ProgressSample | None = None
    last: ProgressSample | None = None
    last_change_at: float = 0.0
    failures: int = 0

    def waited(self, now: float) -> float:
        """Return the seconds since the wait began, not the age of the job."""
        return max(
            0.0, now - (self.started_at if self.watch_started_at is None else self.watch_started_at)
        )


def sample_from(progress: GenerationProgress, at: float) -> ProgressSample:
    """Return the sample in a response about a job that has not ended."""
    if progress.status == "queued":
        position = None if progress.queue is None else progress.queue.position
        return ProgressSample(at, "", None, position)
    video = " of a video" if progress.has_video else ""
    current, percent, full = "running", None, False
    for name in _STAGES:
        stage = getattr(progress, name)
        # A stage without a percentage has begun if the one before it is at 100 %.
        if stage is not None and (stage.progress or full or current == "running"):
            current, percent = name + video, stage.progress
            full = (stage.progress or 0) >= _ALL
    if full:
        # The end of the last stage is not the end of the job: what follows has no percentages.
        return ProgressSample(at, current + STAGE_DONE)
    return ProgressSample(at, current, percent)


def with_sample(timeline: JobTimeline, sample: ProgressSample) -> JobTimeline:
    """Return the timeline with one more sample."""
    earlier = timeline.started_at if timeline.last_polled_at is None else timeline.last_polled_at
    last = timeline.last
    beginning = not sample.percent and may_be_first(sample.stage)
    if last is None and not timeline.start_known and beginning:
        # It has not begun yet, by all that is known, so its start is known well enough.
        timeline = evolve(timeline, start_known=True)
    if not sample.stage:
        moving = timeline.first is not None and timeline.dequeued is None
        first = timeline.first if moving and sample.position is not None else sample
        return evolve(timeline, last_polled_at=sample.at, last=sample, first=first, failures=0)
    started = timeline.dequeued
    if started is None:
        started = StageEntry("", earlier if last is not None else timeline.started_at, sample.at)
        if last is None and timeline.start_known:
            # Most likely it was created and started at once.
            started = StageEntry("", timeline.started_at, timeline.started_at)
    entries, first = timeline.entries, timeline.first
    if entries and (entries[-1].stage == LISTING) != (sample.stage == LISTING):
        # The percentages have another scale from here on; the job began at some time before.
        entries, first = (StageEntry(sample.stage, started.after, sample.at),), sample
    elif not entries or entries[-1].stage != sample.stage:
        entered = StageEntry(sample.stage, earlier, sample.at)
        if not entries:
            # A later stage began at some time since the start; the ones before were not observed.
            until = started.before if may_be_first(sample.stage) else sample.at
            entered = StageEntry(sample.stage, started.after, until)
        entries, first = (*entries, entered)[-4:], sample
    elif first is None or last is None or (sample.percent or 0) < (last.percent or 0):
        # The stage was restarted: earlier samples are not evidence of its speed.
        first = sample
    same = last is not None and (last.stage, last.percent) == (sample.stage, sample.percent)
    return evolve(
        timeline,
        last_polled_at=sample.at,
        last_change_at=timeline.last_change_at if same else sample.at,
        dequeued=started,
        entries=entries,
        first=first,
        last=sample,
        failures=0,
    )


def with_failure(timeline: JobTimeline) -> JobTimeline:
    """Return the timeline after a failed poll."""
    return evolve(timeline, failures=timeline.failures + 1)


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


class GenerationRow(NamedTuple):
    """One generation in a listing; `percent` is 0 to 100."""

    generation_id: str
    status: str
    percent: float | None
    error: str | None


def parse_rows(body: bytes) -> Iterator[GenerationRow]:
    """Yield the rows of a response to `list_project_generations`; invalid rows are left out.

    Raises:
        InvalidResponse: The response is not a listing.
    """
    content = parse_body(body)
    if isinstance(content, dict) and "generations" in content:
        found = content["generations"]
        if found is None or isinstance(found, list):
            return _checked_rows(found or [])
    raise InvalidResponse("the response to list_project_generations has no list of generations")


def _checked_rows(found: list[object]) -> Iterator[GenerationRow]:
    for each in found:
        if not isinstance(each, dict):
            continue
        generation_id, status = each.get("generationId"), each.get("status")
        if isinstance(generation_id, str) and isinstance(status, str):
            percent, error = each.get("progress"), each.get("error")
            yield GenerationRow(generation_id, status, number(percent), reason(error))


def status_rank(status: str) -> int:
    """Return the position of a status in the life of a job: 0 queued, 1 running, 2 ended."""
    if status == COMPLETE or status in FAILED:
        return 2
    return 0 if status == "queued" else 1


def progress_from_row(row: GenerationRow, api_project_id: str) -> GenerationProgress:
    """Return the progress in a row: without stages, with the percentage in `extra`."""
    return GenerationProgress(
        generation_id=row.generation_id,
        api_project_id=api_project_id,
        status=row.status,
        error=row.error,
        extra={} if row.percent is None else {"progress": row.percent},
    )
