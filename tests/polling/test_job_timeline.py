"""What responses tell about a job's way: its stage, and when it entered it."""

from __future__ import annotations

import pytest

from diffio_async import GenerationProgress, StageProgress
from diffio_async._polling.job_timeline import JobTimeline, ProgressSample, sample_from, with_sample


def told(*percents: float | None, status: str = "processing") -> GenerationProgress:
    """An response with such percentages of `preProcessing` and `inference`; None: no such stage."""
    stages = [None if each is None else StageProgress(progress=each) for each in percents]
    return GenerationProgress(
        generation_id="gen_1",
        api_project_id="proj_1",
        status=status,
        pre_processing=stages[0] if stages else None,
        inference=stages[1] if len(stages) > 1 else None,
    )


@pytest.mark.parametrize(
    ("progress", "stage", "percent"),
    [
        (told(status="queued"), "", None),
        (told(), "running", None),
        (told(0, 0), "pre_processing", 0),
        (told(40), "pre_processing", 40),
        (told(40, 0), "pre_processing", 40),
        # A stage that told nothing yet has begun when the one before is over.
        (told(100, 0), "inference", 0),
        (told(100, 30), "inference", 30),
        (told(None, 30), "inference", 30),
        # The end of a stage is not the end of the job.
        (told(100), "pre_processing, over", None),
        (told(100, 100), "inference, over", None),
    ],
)
def test_the_stage_is_the_last_that_has_begun(
    progress: GenerationProgress, stage: str, percent: float | None
) -> None:
    """Whether stages to come are absent, null or told as 0."""
    assert sample_from(progress, 5.0) == ProgressSample(5.0, stage, percent)


def test_a_stage_was_entered_between_two_responses() -> None:
    """The earlier response bounds the instant, the later one too."""
    course = with_sample(
        JobTimeline(started_at=0.0, start_known=True), sample_from(told(0, 0), 1.0)
    )
    course = with_sample(course, sample_from(told(100, 0), 7.0))
    entered = course.entries[-1]
    assert (entered.stage, entered.after, entered.before) == ("inference", 1.0, 7.0)


@pytest.mark.parametrize(("progress", "fresh"), [(told(0, 0), True), (told(100, 0), False)])
def test_a_job_is_only_young_where_nothing_was_done(
    progress: GenerationProgress, fresh: bool
) -> None:
    """A job of unknown age that is in its second stage has not just begun."""
    assert with_sample(JobTimeline(started_at=3.0), sample_from(progress, 3.0)).start_known is fresh


def test_a_later_stage_that_is_seen_first_began_at_some_time_before() -> None:
    """Nobody saw it begin: not with the job, as the first stage does."""
    course = with_sample(
        JobTimeline(started_at=0.0, start_known=True), sample_from(told(100, 30), 8.0)
    )
    assert (course.entries[0].after, course.entries[0].before) == (0.0, 8.0)
    first = with_sample(JobTimeline(started_at=0.0, start_known=True), sample_from(told(30), 8.0))
    assert (first.entries[0].after, first.entries[0].before) == (0.0, 0.0)
