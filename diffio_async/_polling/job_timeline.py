"""A job's course as its answers told it: what the next question is placed by. Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from diffio_async.models.generations import GenerationProgress

#: The stages of a generation in their order, by the names of our model's fields.
_STAGES = ("pre_processing", "inference", "restored_video")
#: The scale of a listing's percentages: the whole job's, whatever its stage.
LISTING = "listed"
#: Ends the name of a stage whose percentages are at 100, while none has begun after it.
STAGE_DONE = ", over"
_ALL = 100.0
#: Where a job is that has only just begun, as far as can be told.
_BEGINNINGS = frozenset({"", "running", LISTING, "pre_processing", "pre_processing of a video"})


def may_be_first(stage: str) -> bool:
    """Whether a job begins with this stage, as far as can be told by its name."""
    return stage in _BEGINNINGS


def precedes(stage: str, then: str) -> bool:
    """Whether a generation goes through these stages in this order, by their names."""
    places = [
        next((place for place, known in enumerate(_STAGES) if name.startswith(known)), -1)
        for name in (stage, then)
    ]
    return places[0] < places[1]


def completed_stage(stage: str) -> str | None:
    """The stage whose percentages are at 100, with none begun after it; None of other stages."""
    return stage.removesuffix(STAGE_DONE) if stage.endswith(STAGE_DONE) else None


@frozen
class ProgressSample:
    """What one answer told of a running job, at an instant (seconds of any steady clock).

    Attributes:
        at: When it was told.
        stage: A name of the stage the job is in; the same name means the same scale of percent.
            Empty where the job is queued.
        percent: 0 to 100, how much of the stage is done; None where nothing was told.
        position: How many jobs are before a queued one, where that was told.
    """

    at: float
    stage: str
    percent: float | None = None
    position: int | None = None


@frozen
class StageEntry:
    """A stage, and the instants between which the job entered it."""

    stage: str
    after: float
    before: float

    @property
    def middle(self) -> float:
        """The likeliest instant."""
        return (self.after + self.before) / 2

    @property
    def error(self) -> float:
        """The standard error of `middle`, in seconds."""
        return (self.before - self.after) / 3.46


@frozen
class JobTimeline:
    """What is known of one job, as it is waited on.

    Attributes:
        started_at: When the job was created, as far as is known, otherwise when the wait began.
        start_known: Whether `started_at` is when the job was created, or soon after.
        watch_started_at: When the newest wait began; None if when the job was created.
        last_polled_at: The instant of the last answer, None before the first.
        dequeued: When the job left the queue; None while it is queued, or nothing is known.
        entries: The stages it was seen to enter, the present one last.
        first: The first reading in the present stage.
        last: The last reading.
        last_change_at: When the percentage, or the stage, was first seen to be what it is now.
        failures: Questions in a row that failed.
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
    """What an answer of a running job tells about its way."""
    if progress.status == "queued":
        position = None if progress.queue is None else progress.queue.position
        return ProgressSample(at, "", None, position)
    video = " of a video" if progress.has_video else ""
    now_in, percent, full = "running", None, False
    for name in _STAGES:
        stage = getattr(progress, name)
        # One that has told nothing yet has begun when the one before is over.
        if stage is not None and (stage.progress or full or now_in == "running"):
            now_in, percent = name + video, stage.progress
            full = (stage.progress or 0) >= _ALL
    if full:
        # The end of the last stage is not the end of the job: what follows has no percentages.
        return ProgressSample(at, now_in + STAGE_DONE)
    return ProgressSample(at, now_in, percent)


def with_sample(course: JobTimeline, reading: ProgressSample) -> JobTimeline:
    """The course with one more answer."""
    earlier = course.started_at if course.last_polled_at is None else course.last_polled_at
    last = course.last
    beginning = not reading.percent and may_be_first(reading.stage)
    if last is None and not course.start_known and beginning:
        # It has not begun, as far as can be told: those beside it will be in the same place.
        course = evolve(course, start_known=True)
    if not reading.stage:
        moving = course.first is not None and course.dequeued is None
        first = course.first if moving and reading.position is not None else reading
        return evolve(course, last_polled_at=reading.at, last=reading, first=first, failures=0)
    started = course.dequeued
    if started is None:
        started = StageEntry("", earlier if last is not None else course.started_at, reading.at)
        if last is None and course.start_known:
            # Made and taken up at once: that is the likeliest.
            started = StageEntry("", course.started_at, course.started_at)
    entries, first = course.entries, course.first
    if entries and (entries[-1].stage == LISTING) != (reading.stage == LISTING):
        # Told on another scale from here on: it began at some time before.
        entries, first = (StageEntry(reading.stage, started.after, reading.at),), reading
    elif not entries or entries[-1].stage != reading.stage:
        entered = StageEntry(reading.stage, earlier, reading.at)
        if not entries:
            # A later stage began at some time since; nobody saw the ones before.
            until = started.before if may_be_first(reading.stage) else reading.at
            entered = StageEntry(reading.stage, started.after, until)
        entries, first = (*entries, entered)[-4:], reading
    elif first is None or last is None or (reading.percent or 0) < (last.percent or 0):
        # It began again, or another machine tells: what was before says nothing of its speed.
        first = reading
    same = last is not None and (last.stage, last.percent) == (reading.stage, reading.percent)
    return evolve(
        course,
        last_polled_at=reading.at,
        last_change_at=course.last_change_at if same else reading.at,
        dequeued=started,
        entries=entries,
        first=first,
        last=reading,
        failures=0,
    )


def with_failure(course: JobTimeline) -> JobTimeline:
    """The course after a question without an answer."""
    return evolve(course, failures=course.failures + 1)
