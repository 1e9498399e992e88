"""Samples and timelines: the stage of a job, and when it was entered."""

from __future__ import annotations

import pytest

from diffio_async import GenerationProgress, StageProgress
from diffio_async._polling.job_timeline import JobTimeline, ProgressSample, sample_from, with_sample


def progress_of(*percents: float | None, status: str = "processing") -> GenerationProgress:
    """Return progress with percentages of `preProcessing` and `inference`; None: not present."""
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
        (progress_of(status="queued"), "", None),
        (progress_of(), "running", None),
        (progress_of(0, 0), "pre_processing", 0),
        (progress_of(40), "pre_processing", 40),
        (progress_of(40, 0), "pre_processing", 40),
        # A stage at 0 has started if the one before is complete.
        (progress_of(100, 0), "inference", 0),
        (progress_of(100, 30), "inference", 30),
        (progress_of(None, 30), "inference", 30),
        # The end of a stage is not the end of the job.
        (progress_of(100), "pre_processing, over", None),
        (progress_of(100, 100), "inference, over", None),
    ],
)
def test_the_stage_of_a_sample_is_the_last_that_has_started(
    progress: GenerationProgress, stage: str, percent: float | None
) -> None:
    """Later stages may be absent, null or at 0."""
    assert sample_from(progress, 5.0) == ProgressSample(5.0, stage, percent)


def test_a_stage_is_entered_between_two_responses() -> None:
    """Both responses limit the instant."""
    timeline = with_sample(
        JobTimeline(started_at=0.0, start_known=True), sample_from(progress_of(0, 0), 1.0)
    )
    timeline = with_sample(timeline, sample_from(progress_of(100, 0), 7.0))
    entered = timeline.entries[-1]
    assert (entered.stage, entered.after, entered.before) == ("inference", 1.0, 7.0)


@pytest.mark.parametrize(
    ("progress", "start_known"), [(progress_of(0, 0), True), (progress_of(100, 0), False)]
)
def test_the_start_of_a_job_is_known_if_it_has_no_progress(
    progress: GenerationProgress, start_known: bool
) -> None:
    """A job of unknown age in its second stage has not just started."""
    assert (
        with_sample(JobTimeline(started_at=3.0), sample_from(progress, 3.0)).start_known
        is start_known
    )


def test_the_entry_into_a_later_stage_is_unknown_if_it_is_seen_first() -> None:
    """The first stage is entered when the job starts."""
    timeline = with_sample(
        JobTimeline(started_at=0.0, start_known=True), sample_from(progress_of(100, 30), 8.0)
    )
    assert (timeline.entries[0].after, timeline.entries[0].before) == (0.0, 8.0)
    first = with_sample(
        JobTimeline(started_at=0.0, start_known=True), sample_from(progress_of(30), 8.0)
    )
    assert (first.entries[0].after, first.entries[0].before) == (0.0, 0.0)
