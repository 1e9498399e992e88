"""Timeline of a job by the responses about it, from which the next poll is chosen. Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from diffio_async.models.generations import GenerationProgress

#: The stages of a generation in order, by the field names of `GenerationProgress`.
_STAGES = ("pre_processing", "inference", "restored_video")
#: Stage name of samples from listings: their percentages are of the whole job.
LISTING = "listed"
#: Suffix of a stage whose percentage is 100 while no other stage has begun after it.
STAGE_DONE = ", over"
_ALL = 100.0
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
