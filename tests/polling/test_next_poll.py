"""The delay before the next poll: its limits, and the effect of what is known of a job."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._polling.job_timeline import (
    JobTimeline,
    ProgressSample,
    with_failure,
    with_sample,
)
from diffio_async._polling.next_poll import next_poll_delay
from diffio_async._polling.poll_model import PollModel
from diffio_async.options import WaitPolicy

POLICY = WaitPolicy()

raw_samples = st.tuples(
    st.floats(0, 500),
    st.sampled_from(["", "running", "pre_processing", "inference", "inference, over"]),
    st.one_of(st.none(), st.integers(0, 100), st.floats(0, 100)),
    st.one_of(st.none(), st.integers(-1, 10_000)),
)


def timeline_of(
    model: PollModel, samples: list[ProgressSample], *, start_known: bool = True
) -> JobTimeline:
    """Return the timeline of a job that is polled from the instant 0."""
    timeline = JobTimeline(started_at=0.0, start_known=start_known)
    for sample in samples:
        later = with_sample(timeline, sample)
        model.observe_sample(timeline, later)
        timeline = later
    return timeline


#: So many jobs wait that the rate limit allows one poll of each in so many seconds.
RATE_GAP = 1000.0


def delay_of(timeline: JobTimeline, model: PollModel, now: float, jitter: float = 0.5) -> float:
    """Return the seconds until the next poll while the rate limit is reached."""
    return next_poll_delay(POLICY, timeline, model, now, jitter, rate_gap=RATE_GAP)


@pytest.mark.slow
@given(
    samples=st.lists(raw_samples, max_size=12),
    earlier_jobs=st.lists(st.tuples(st.lists(raw_samples, max_size=4), st.booleans()), max_size=12),
    start_known=st.booleans(),
    failures=st.integers(0, 50),
    jitter=st.floats(0, 1),
    later=st.floats(0, 1e6),
)
def test_the_delay_is_between_min_and_max_interval(
    samples: list[tuple[float, str, float | None, int | None]],
    earlier_jobs: list[tuple[list[tuple[float, str, float | None, int | None]], bool]],
    start_known: bool,
    failures: int,
    jitter: float,
    later: float,
) -> None:
    """For any samples in any order, and any model."""
    model = PollModel()
    for samples_of_one, complete in earlier_jobs:
        ordered = [
            ProgressSample(*each) for each in sorted(samples_of_one, key=lambda each: each[0])
        ]
        timeline = timeline_of(model, ordered)
        model.observe_end(timeline, (timeline.last_polled_at or 0.0) + 1.0, complete=complete)
    ordered = [ProgressSample(*each) for each in sorted(samples, key=lambda each: each[0])]
    timeline = timeline_of(model, ordered, start_known=start_known)
    for _ in range(failures):
        timeline = with_failure(timeline)
    now = (timeline.last_polled_at or 0.0) + later
    delay = delay_of(timeline, model, now, jitter)
    assert math.isfinite(delay)
    assert delay <= 1.2 * POLICY.max_interval + 1e-9
    if timeline.last_polled_at is not None or failures:
        assert delay >= 0.4 * POLICY.min_interval - 1e-9


def test_a_job_of_unknown_age_is_polled_at_once() -> None:
    assert delay_of(JobTimeline(started_at=0.0), PollModel(), 5.0) == 0


def test_the_first_poll_of_a_new_job_depends_on_earlier_durations() -> None:
    """It is sent when the first of these had ended, or at once if durations are unknown."""
    new = JobTimeline(started_at=0.0, start_known=True)
    assert delay_of(new, PollModel(), 0.0) < 0.3
    model = PollModel()
    for number in range(100):
        ended = 8.0 + 0.04 * number
        samples = [ProgressSample(at, "running") for at in (1.0, 5.0, ended - 1)]
        model.observe_end(timeline_of(model, samples), ended, complete=True)
    assert 3 < delay_of(new, model, 0.0) < 10
    assert delay_of(new, model, 3.0) == pytest.approx(delay_of(new, model, 0.0) - 3, abs=1e-6)
    assert delay_of(JobTimeline(started_at=0.0), model, 0.0) == 0


def test_an_end_detected_by_the_first_poll_is_observed() -> None:
    """Otherwise the model would not contain jobs that end early."""
    model = PollModel()
    for _ in range(10):
        model.observe_end(JobTimeline(started_at=0.0, start_known=True), 4.0, complete=True)
    shape = model.durations.log_moments
    assert shape is not None
    assert 1 < math.exp(shape[0]) < 4.5


def test_an_end_before_the_wait_is_not_observed() -> None:
    """A job that is waited for an hour after its creation may have ended at any time."""
    model = PollModel()
    model.observe_end(
        JobTimeline(started_at=0.0, start_known=True, watch_started_at=3600.0),
        3600.1,
        complete=True,
    )
    assert model.durations.count == 0
    # An event contains the exact instant.
    for _ in range(100):
        timeline = JobTimeline(started_at=0.0, start_known=True, watch_started_at=0.1)
        model.observe_end(timeline, 20.0, complete=True, exact=True)
    shape = model.durations.log_moments
    assert shape is not None
    assert math.exp(shape[0]) == pytest.approx(20, rel=0.25)


def test_the_delay_to_a_predictable_end_may_be_below_min_interval() -> None:
    """80 percent after 2 seconds: the end is half a second away."""
    samples = [ProgressSample(at, "inference", 40 * at) for at in (0.5, 1.0, 1.5, 2.0)]
    timeline = timeline_of(PollModel(), samples)
    assert 0.45 < delay_of(timeline, PollModel(), 2.0) < 0.9
    assert (
        delay_of(timeline_of(PollModel(), [ProgressSample(2.0, "running")]), PollModel(), 2.0) >= 1
    )


def test_delays_of_a_job_without_progress_grow() -> None:
    """From `min_interval` to `max_interval`."""
    model = PollModel()
    delays, now = [], 0.0
    timeline = JobTimeline(started_at=0.0)
    while now < 900:
        timeline = with_sample(timeline, ProgressSample(now, "running"))
        delays.append(delay_of(timeline, model, now))
        now += delays[-1]
    assert delays[0] == pytest.approx(1, rel=0.05)
    assert delays[-1] == pytest.approx(15, rel=0.1)
    assert all(later >= 0.9 * earlier for earlier, later in pairwise(delays))


def test_a_poll_follows_a_predicted_end_shortly() -> None:
    """88 percent after 88 seconds: the next poll is sent at about 100 seconds."""
    samples = [ProgressSample(at, "inference", float(at)) for at in (1, 20, 50, 70, 88)]
    delay = delay_of(timeline_of(PollModel(), samples), PollModel(), 88.0)
    assert 11.5 <= delay <= 14


def test_delays_grow_while_percentages_stand_still() -> None:
    """A job that stays at 99 percent seems to be near its end each time."""
    model, now = PollModel(), 99.0
    timeline = timeline_of(
        model, [ProgressSample(at, "inference", float(at)) for at in (10, 50, 99)]
    )
    delays = []
    while now < 400:
        delays.append(delay_of(timeline, model, now))
        now += delays[-1]
        timeline = with_sample(timeline, ProgressSample(now, "inference", 99.0))
    assert delays[0] < 2.5
    assert delays[-1] == pytest.approx(15, rel=0.1)
    assert len(delays) < 40


def test_durations_of_earlier_jobs_determine_the_delay() -> None:
    """After twenty jobs of about 40 seconds, a young one without progress is polled later."""
    model = PollModel()
    for number in range(20):
        ended = 38.0 + 0.2 * number
        samples = [ProgressSample(at, "running") for at in (1.0, 20.0, ended - 1)]
        model.observe_end(timeline_of(model, samples), ended, complete=True)
    young = timeline_of(PollModel(), [ProgressSample(1.0, "running")])
    assert delay_of(young, model, 1.0) > 3
    assert delay_of(young, PollModel(), 1.0) < 2
    due = timeline_of(PollModel(), [ProgressSample(38.5, "running")])
    assert delay_of(due, model, 38.5) < 1.5


def test_the_queue_position_predicts_the_start() -> None:
    """40 positions in 20 seconds, 60 left: 30 seconds, of which the delay is half."""
    samples = [ProgressSample(0.0, "", None, 100), ProgressSample(20.0, "", None, 60)]
    moving = delay_of(timeline_of(PollModel(), samples), PollModel(), 20.0)
    assert 12 <= moving <= 15
    silent = delay_of(timeline_of(PollModel(), [ProgressSample(20.0, "")]), PollModel(), 20.0)
    assert silent < 3


def test_each_failure_doubles_the_delay() -> None:
    """Up to `max_interval`."""
    timeline = with_sample(JobTimeline(started_at=0.0), ProgressSample(0.0, "running"))
    delays = []
    for _ in range(8):
        timeline = with_failure(timeline)
        delays.append(delay_of(timeline, PollModel(), 0.0))
    assert delays == pytest.approx([1, 2, 4, 8, 15, 15, 15, 15])


def test_a_decision_takes_less_than_half_a_millisecond() -> None:
    """So ten thousand jobs do not keep a core busy."""
    model = PollModel()
    for number in range(50):
        samples = [ProgressSample(float(at), "inference", float(at)) for at in range(1, 60, 10)]
        model.observe_end(timeline_of(model, samples), 60.0 + number, complete=True)
    timeline = timeline_of(
        model, [ProgressSample(10.0, "inference", 10.0), ProgressSample(20.0, "inference", 21.0)]
    )
    started_at = time.thread_time()
    for _ in range(1000):
        delay_of(timeline, model, 20.0)
    assert time.thread_time() - started_at < 0.5


def observe_job(model: PollModel, *, duration: float, seen_at_100: bool) -> None:
    """Observe a job that prepares for a fifth of its duration, `seen_at_100` percent or not."""
    samples = [
        ProgressSample(part * duration, "inference", 125.0 * part - 25.0) for part in (0.6, 0.96)
    ]
    done = [ProgressSample(0.99 * duration, "inference, over")] if seen_at_100 else []
    model.observe_end(timeline_of(model, [*samples, *done]), duration, complete=True)


@pytest.mark.parametrize("every", [100, 2])
def test_jobs_that_are_observed_at_100_percent_do_not_distort_estimates(every: int) -> None:
    """Percentages predict the end however often jobs stay at 100 % before they are complete."""
    model = PollModel()
    for number in range(200):
        observe_job(model, duration=2.0 + number % 7 / 3, seen_at_100=number % every == every // 2)
    samples = [ProgressSample(1.2, "inference", 25.0), ProgressSample(1.8, "inference", 50.0)]
    next_poll_at = 1.8 + delay_of(timeline_of(model, samples), model, 1.8)
    assert 2.9 < next_poll_at < 3.5  # 25 % in 0.6 s: the end is at 3.0 s


def test_a_job_at_100_percent_is_polled_soon() -> None:
    """The delay grows with the time since then."""
    model = PollModel()
    for _ in range(20):
        observe_job(model, duration=600.0, seen_at_100=False)
    samples = [ProgressSample(100.0, "inference", 90.0), ProgressSample(120.0, "inference, over")]
    timeline = timeline_of(model, samples)
    assert delay_of(timeline, model, 120.0) <= 1.05
    assert delay_of(timeline, model, 140.0) == pytest.approx(6.0, rel=0.05)


def test_a_finished_stage_before_the_last_is_not_the_end() -> None:
    """The model contains which stage follows, also if its start was not observed."""
    model = PollModel()
    waits = [
        ProgressSample(1.0, "pre_processing", 50.0),
        ProgressSample(2.5, "pre_processing, over"),
        ProgressSample(9.0, "inference", 50.0),
    ]
    model.observe_end(timeline_of(model, waits), 12.0, complete=True)
    assert model.next_stage == {"pre_processing": "inference"}
    for _ in range(20):
        model.observe_end(timeline_of(model, waits), 12.0, complete=True)
    timeline = timeline_of(model, waits[:2])
    assert delay_of(timeline, model, 4.5) > 1.5  # and not after 0.3 of 2 s


def test_a_restarted_job_does_not_change_the_order_of_stages() -> None:
    """A stage that is entered again, or an earlier one, does not follow."""
    model = PollModel()
    for samples in (
        ("inference", "inference, over", "inference"),
        ("inference", "pre_processing", "inference"),
    ):
        stages = [ProgressSample(at + 1.0, stage, 50.0) for at, stage in enumerate(samples)]
        model.observe_end(timeline_of(model, stages), 5.0, complete=True)
    assert model.next_stage == {"pre_processing": "inference"}
