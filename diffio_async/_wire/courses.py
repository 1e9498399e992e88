"""A job's course as its answers told it: what the next question is placed by. Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from diffio_async.models.generations import GenerationProgress

#: The stages of a generation in their order, by the names of our model's fields.
_STAGES = ("pre_processing", "inference", "restored_video")
#: The scale of a listing's percentages: the whole job's, whatever its stage.
LISTED = "listed"
#: Ends the name of a stage whose percentages are at 100, while none has begun after it.
OVER = ", over"
_ALL = 100.0
#: Where a job is that has only just begun, as far as can be told.
_BEGINNINGS = frozenset({"", "running", LISTED, "pre_processing", "pre_processing of a video"})


def begins(stage: str) -> bool:
    """Whether a job begins with this stage, as far as can be told by its name."""
    return stage in _BEGINNINGS


def comes_before(stage: str, then: str) -> bool:
    """Whether a generation goes through these stages in this order, by their names."""
    places = [
        next((place for place, known in enumerate(_STAGES) if name.startswith(known)), -1)
        for name in (stage, then)
    ]
    return places[0] < places[1]


def over(stage: str) -> str | None:
    """The stage whose percentages are at 100, with none begun after it; None of other stages."""
    return stage.removesuffix(OVER) if stage.endswith(OVER) else None


@frozen
class Reading:
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
class Entry:
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
class Course:
    """What is known of one job, as it is waited on.

    Attributes:
        began: The instant the job began, as far as is known: its making, or the wait's beginning.
        fresh: `began` is when the job was made, or soon after.
        watched: The instant the wait began, the newest if several; None: when the job was made.
        asked: The instant of the last answer, None before the first.
        started: When the job left the queue; None while it is queued, or nothing is known.
        entries: The stages it was seen to enter, the present one last.
        first: The first reading in the present stage.
        last: The last reading.
        moved: When the percentage, or the stage, was first seen to be what it is now.
        failures: Questions in a row that failed.
    """

    began: float
    fresh: bool = False
    watched: float | None = None
    asked: float | None = None
    started: Entry | None = None
    entries: tuple[Entry, ...] = ()
    first: Reading | None = None
    last: Reading | None = None
    moved: float = 0.0
    failures: int = 0

    def waited(self, now: float) -> float:
        """Return the seconds since the wait began, not the age of the job."""
        return max(0.0, now - (self.began if self.watched is None else self.watched))


def reading_of(progress: GenerationProgress, at: float) -> Reading:
    """What an answer of a running job tells about its way."""
    if progress.status == "queued":
        position = None if progress.queue is None else progress.queue.position
        return Reading(at, "", None, position)
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
        return Reading(at, now_in + OVER)
    return Reading(at, now_in, percent)


def after(course: Course, reading: Reading) -> Course:
    """The course with one more answer."""
    earlier = course.began if course.asked is None else course.asked
    last = course.last
    beginning = not reading.percent and begins(reading.stage)
    if last is None and not course.fresh and beginning:
        # It has not begun, as far as can be told: those beside it will be in the same place.
        course = evolve(course, fresh=True)
    if not reading.stage:
        moving = course.first is not None and course.started is None
        first = course.first if moving and reading.position is not None else reading
        return evolve(course, asked=reading.at, last=reading, first=first, failures=0)
    started = course.started
    if started is None:
        started = Entry("", earlier if last is not None else course.began, reading.at)
        if last is None and course.fresh:
            # Made and taken up at once: that is the likeliest.
            started = Entry("", course.began, course.began)
    entries, first = course.entries, course.first
    if entries and (entries[-1].stage == LISTED) != (reading.stage == LISTED):
        # Told on another scale from here on: it began at some time before.
        entries, first = (Entry(reading.stage, started.after, reading.at),), reading
    elif not entries or entries[-1].stage != reading.stage:
        entered = Entry(reading.stage, earlier, reading.at)
        if not entries:
            # A later stage began at some time since; nobody saw the ones before.
            until = started.before if begins(reading.stage) else reading.at
            entered = Entry(reading.stage, started.after, until)
        entries, first = (*entries, entered)[-4:], reading
    elif first is None or last is None or (reading.percent or 0) < (last.percent or 0):
        # It began again, or another machine tells: what was before says nothing of its speed.
        first = reading
    same = last is not None and (last.stage, last.percent) == (reading.stage, reading.percent)
    return evolve(
        course,
        asked=reading.at,
        moved=course.moved if same else reading.at,
        started=started,
        entries=entries,
        first=first,
        last=reading,
        failures=0,
    )


def failed(course: Course) -> Course:
    """The course after a question without an answer."""
    return evolve(course, failures=course.failures + 1)
