"""How a fleet stands, in numbers and in a line."""

from __future__ import annotations

import pytest

from diffio_async._polling.wait_display import WaitStats, format_duration


def fleet(jobs: int) -> WaitStats:
    """So many that nothing was told of, since the instant 0."""
    census = WaitStats(0.0)
    for number in range(jobs):
        census.record(f"gen_{number}", "waiting", None, 0.0)
    return census


def test_each_generation_is_counted_once_where_it_is() -> None:
    """States follow each other, a terminal state is final, and the line tells what there is."""
    census = fleet(3)
    assert census.summary(0.0) == "0 of 3 ended: 3 waiting"
    census.record("gen_0", "queued", 0.0, 1.0)
    census.record("gen_1", "running", 10.0, 1.0)
    census.record("gen_1", "complete", None, 2.0)
    census.record("gen_1", "running", 50.0, 3.0)
    assert census.summary(3.0) == "1 of 3 ended: 1 waiting, 1 queued, 1 complete"
    assert (census.total, census.ended) == (3, 1)


def test_the_rate_is_that_of_the_last_minute_and_foretells_the_end() -> None:
    """30 ends in a minute, and 30 generations left: about a minute, whatever was before."""
    census = fleet(63)
    for number in range(3):
        census.record(f"gen_{number}", "complete", None, 1.0)
    for number in range(30):
        census.record(f"gen_{number + 3}", "failed", None, 100.0 + number)
    assert census.rate(140.0) == pytest.approx(30)
    assert census.eta(140.0) == pytest.approx(60)
    assert census.summary(140.0).endswith("30 a minute, about 60 s left")


def test_before_the_first_ends_percentages_foretell_the_end() -> None:
    """What was done before the wait began tells nothing of the speed."""
    census = fleet(2)
    for number in range(2):
        census.record(f"gen_{number}", "running", 50.0, 0.0)
    assert census.eta(1.0) is None
    for number in range(2):
        census.record(f"gen_{number}", "running", 60.0, 10.0)
    assert census.eta(10.0) == pytest.approx(40)
    census.record("gen_0", "complete", None, 40.0)
    assert census.rate(40.0) is None


def test_nothing_is_left_when_all_have_ended() -> None:
    """Late ones count as ended: the wait for them is over."""
    census = fleet(2)
    census.record("gen_0", "late", None, 5.0)
    census.record("gen_1", "failed", None, 5.0)
    assert census.eta(5.0) == 0
    assert census.summary(5.0) == "2 of 2 ended: 1 failed, 1 late"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (12000, "3 h 20 min")],
)
def test_times_are_told_in_words(seconds: float, words: str) -> None:
    """No more digits than are of use."""
    assert format_duration(seconds) == words
