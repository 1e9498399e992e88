"""When to ask next: bounds that hold whatever was told, and what each kind of knowledge does."""

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

readings = st.tuples(
    st.floats(0, 500),
    st.sampled_from(["", "running", "pre_processing", "inference", "inference, over"]),
    st.one_of(st.none(), st.integers(0, 100), st.floats(0, 100)),
    st.one_of(st.none(), st.integers(-1, 10_000)),
)


def followed(learned: PollModel, told: list[ProgressSample], *, fresh: bool = True) -> JobTimeline:
    """The course of a job that was asked about since the instant 0."""
    course = JobTimeline(started_at=0.0, start_known=fresh)
    for reading in told:
        later = with_sample(course, reading)
        learned.observe_sample(course, later)
        course = later
    return course


#: So many jobs wait that the rate limit allows one poll of each in so many seconds.
CROWD = 1000.0


def gap(course: JobTimeline, learned: PollModel, now: float, jitter: float = 0.5) -> float:
    """Seconds to the next question, where polls are scarce."""
    return next_poll_delay(POLICY, course, learned, now, jitter, rate_gap=CROWD)


@given(
    told=st.lists(readings, max_size=12),
    lives=st.lists(st.tuples(st.lists(readings, max_size=4), st.booleans()), max_size=12),
    fresh=st.booleans(),
    failures=st.integers(0, 50),
    jitter=st.floats(0, 1),
    later=st.floats(0, 1e6),
)
def test_the_next_question_is_between_the_shortest_and_the_longest_pause(
    told: list[tuple[float, str, float | None, int | None]],
    lives: list[tuple[list[tuple[float, str, float | None, int | None]], bool]],
    fresh: bool,
    failures: int,
    jitter: float,
    later: float,
) -> None:
    """Whatever was told, in whatever order, and whatever was learned: a finite number."""
    learned = PollModel()
    for life, complete in lives:
        ordered = [ProgressSample(*each) for each in sorted(life, key=lambda each: each[0])]
        course = followed(learned, ordered)
        learned.observe_end(course, (course.last_polled_at or 0.0) + 1.0, complete=complete)
    ordered = [ProgressSample(*each) for each in sorted(told, key=lambda each: each[0])]
    course = followed(learned, ordered, fresh=fresh)
    for _ in range(failures):
        course = with_failure(course)
    now = (course.last_polled_at or 0.0) + later
    pause = gap(course, learned, now, jitter)
    assert math.isfinite(pause)
    assert pause <= 1.2 * POLICY.max_interval + 1e-9
    if course.last_polled_at is not None or failures:
        assert pause >= 0.4 * POLICY.min_interval - 1e-9


def test_the_first_question_is_asked_at_once() -> None:
    """Nothing is known before."""
    assert gap(JobTimeline(started_at=0.0), PollModel(), 5.0) == 0


def test_a_job_made_just_now_is_left_alone_for_as_long_as_others_lived() -> None:
    """Its first question lies where the first of them ended, or at once where nothing is known."""
    born = JobTimeline(started_at=0.0, start_known=True)
    assert gap(born, PollModel(), 0.0) < 0.3
    learned = PollModel()
    for number in range(100):
        ended = 8.0 + 0.04 * number
        told = [ProgressSample(at, "running") for at in (1.0, 5.0, ended - 1)]
        learned.observe_end(followed(learned, told), ended, complete=True)
    assert 3 < gap(born, learned, 0.0) < 10
    assert gap(born, learned, 3.0) == pytest.approx(gap(born, learned, 0.0) - 3, abs=1e-6)
    assert gap(JobTimeline(started_at=0.0), learned, 0.0) == 0


def test_an_end_found_by_the_first_question_teaches_too() -> None:
    """Or else jobs that end early would never be known to."""
    learned = PollModel()
    for _ in range(10):
        learned.observe_end(JobTimeline(started_at=0.0, start_known=True), 4.0, complete=True)
    shape = learned.durations.log_moments
    assert shape is not None
    assert 1 < math.exp(shape[0]) < 4.5


def test_an_end_that_nobody_waited_for_teaches_nothing() -> None:
    """Made, and waited for an hour later: it may have ended at any time since."""
    learned = PollModel()
    learned.observe_end(
        JobTimeline(started_at=0.0, start_known=True, watch_started_at=3600.0),
        3600.1,
        complete=True,
    )
    assert learned.durations.count == 0
    # An event tells the very instant, asked or not.
    for _ in range(100):
        course = JobTimeline(started_at=0.0, start_known=True, watch_started_at=0.1)
        learned.observe_end(course, 20.0, complete=True, exact=True)
    shape = learned.durations.log_moments
    assert shape is not None
    assert math.exp(shape[0]) == pytest.approx(20, rel=0.25)


def test_behind_an_end_that_is_as_good_as_seen_the_question_comes_sooner_than_the_first_pause() -> (
    None
):
    """80 percent after 2 seconds: the end is half a second off."""
    told = [ProgressSample(at, "inference", 40 * at) for at in (0.5, 1.0, 1.5, 2.0)]
    course = followed(PollModel(), told)
    assert 0.45 < gap(course, PollModel(), 2.0) < 0.9
    assert gap(followed(PollModel(), [ProgressSample(2.0, "running")]), PollModel(), 2.0) >= 1


def test_an_unknown_job_is_asked_about_less_and_less_often() -> None:
    """From the shortest pause towards the longest."""
    learned = PollModel()
    pauses, now = [], 0.0
    course = JobTimeline(started_at=0.0)
    while now < 900:
        course = with_sample(course, ProgressSample(now, "running"))
        pauses.append(gap(course, learned, now))
        now += pauses[-1]
    assert pauses[0] == pytest.approx(1, rel=0.05)
    assert pauses[-1] == pytest.approx(15, rel=0.1)
    assert all(later >= 0.9 * earlier for earlier, later in pairwise(pauses))


def test_a_question_falls_shortly_behind_a_foreseen_end() -> None:
    """88 percent after 88 seconds: the next question is asked at about 100 seconds."""
    told = [ProgressSample(at, "inference", float(at)) for at in (1, 20, 50, 70, 88)]
    pause = gap(followed(PollModel(), told), PollModel(), 88.0)
    assert 11.5 <= pause <= 14


def test_percentages_that_stand_still_are_not_believed() -> None:
    """At 99 percent for ever: less and less often, though the end seems near each time."""
    learned, now = PollModel(), 99.0
    course = followed(learned, [ProgressSample(at, "inference", float(at)) for at in (10, 50, 99)])
    pauses = []
    while now < 400:
        pauses.append(gap(course, learned, now))
        now += pauses[-1]
        course = with_sample(course, ProgressSample(now, "inference", 99.0))
    assert pauses[0] < 2.5
    assert pauses[-1] == pytest.approx(15, rel=0.1)
    assert len(pauses) < 40


def test_durations_of_earlier_jobs_place_the_question() -> None:
    """After twenty jobs of about 40 seconds, one that tells nothing is left alone for longer."""
    learned = PollModel()
    for number in range(20):
        ended = 38.0 + 0.2 * number
        told = [ProgressSample(at, "running") for at in (1.0, 20.0, ended - 1)]
        learned.observe_end(followed(learned, told), ended, complete=True)
    young = followed(PollModel(), [ProgressSample(1.0, "running")])
    assert gap(young, learned, 1.0) > 3
    assert gap(young, PollModel(), 1.0) < 2
    due = followed(PollModel(), [ProgressSample(38.5, "running")])
    assert gap(due, learned, 38.5) < 1.5


def test_the_place_in_the_queue_foretells_the_turn() -> None:
    """40 places in 20 seconds, 60 left: 30 seconds, so half of that and not the 2 of before."""
    told = [ProgressSample(0.0, "", None, 100), ProgressSample(20.0, "", None, 60)]
    moving = gap(followed(PollModel(), told), PollModel(), 20.0)
    assert 12 <= moving <= 15
    silent = gap(followed(PollModel(), [ProgressSample(20.0, "")]), PollModel(), 20.0)
    assert silent < 3


def test_failures_are_answered_with_longer_pauses() -> None:
    """Twice as long each time, the longest at last."""
    course = with_sample(JobTimeline(started_at=0.0), ProgressSample(0.0, "running"))
    pauses = []
    for _ in range(8):
        course = with_failure(course)
        pauses.append(gap(course, PollModel(), 0.0))
    assert pauses == pytest.approx([1, 2, 4, 8, 15, 15, 15, 15])


def test_a_decision_costs_next_to_nothing() -> None:
    """Thousands a second, so that ten thousand jobs do not keep a core busy."""
    learned = PollModel()
    for number in range(50):
        told = [ProgressSample(float(at), "inference", float(at)) for at in range(1, 60, 10)]
        learned.observe_end(followed(learned, told), 60.0 + number, complete=True)
    course = followed(
        learned, [ProgressSample(10.0, "inference", 10.0), ProgressSample(20.0, "inference", 21.0)]
    )
    began = time.thread_time()
    for _ in range(1000):
        gap(course, learned, 20.0)
    assert time.thread_time() - began < 0.5


def lived(learned: PollModel, *, whole: float, caught: bool) -> None:
    """Learn from a job that prepares for a fifth of its life; `caught` when all was done."""
    told = [ProgressSample(part * whole, "inference", 125.0 * part - 25.0) for part in (0.6, 0.96)]
    done = [ProgressSample(0.99 * whole, "inference, over")] if caught else []
    learned.observe_end(followed(learned, [*told, *done]), whole, complete=True)


@pytest.mark.parametrize("every", [100, 2])
def test_jobs_that_are_observed_at_100_percent_do_not_distort_estimates(every: int) -> None:
    """However often jobs rest at 100 % before they are complete, percentages show the end."""
    learned = PollModel()
    for number in range(200):
        lived(learned, whole=2.0 + number % 7 / 3, caught=number % every == every // 2)
    samples = [ProgressSample(1.2, "inference", 25.0), ProgressSample(1.8, "inference", 50.0)]
    next_poll_at = 1.8 + gap(followed(learned, samples), learned, 1.8)
    assert 2.9 < next_poll_at < 3.5  # 25 % in 0.6 s: the end is at 3.0 s


def test_what_has_done_all_may_be_complete_any_moment() -> None:
    """Asked again soon, and the later the longer it takes."""
    learned = PollModel()
    for _ in range(20):
        lived(learned, whole=600.0, caught=False)
    told = [ProgressSample(100.0, "inference", 90.0), ProgressSample(120.0, "inference, over")]
    course = followed(learned, told)
    assert gap(course, learned, 120.0) <= 1.05
    assert gap(course, learned, 140.0) == pytest.approx(6.0, rel=0.05)


def test_a_stage_follows_whether_or_not_its_beginning_was_awaited() -> None:
    """Preparing is at 100, and nothing else has begun: that is not yet the end of a job."""
    learned = PollModel()
    waits = [
        ProgressSample(1.0, "pre_processing", 50.0),
        ProgressSample(2.5, "pre_processing, over"),
        ProgressSample(9.0, "inference", 50.0),
    ]
    learned.observe_end(followed(learned, waits), 12.0, complete=True)
    assert learned.next_stage == {"pre_processing": "inference"}
    for _ in range(20):
        learned.observe_end(followed(learned, waits), 12.0, complete=True)
    course = followed(learned, waits[:2])
    assert gap(course, learned, 4.5) > 1.5  # and not after 0.3 of 2 s


def test_a_job_that_goes_back_says_nothing_of_the_others_way() -> None:
    """Restarted, it is in the same stage again, or in an earlier one: these do not follow."""
    learned = PollModel()
    for told in (
        ("inference", "inference, over", "inference"),
        ("inference", "pre_processing", "inference"),
    ):
        stages = [ProgressSample(at + 1.0, stage, 50.0) for at, stage in enumerate(told)]
        learned.observe_end(followed(learned, stages), 5.0, complete=True)
    assert learned.next_stage == {"pre_processing": "inference"}
