"""Statistics of a wait for many generations."""

from __future__ import annotations

import pytest

from diffio_async._polling.wait_display import WaitStats, format_duration


def stats_of(jobs: int) -> WaitStats:
    """Return statistics with so many waiting generations, started at the instant 0."""
    stats = WaitStats(0.0)
    for number in range(jobs):
        stats.record(f"gen_{number}", "waiting", None, 0.0)
    return stats


def test_each_generation_is_counted_in_its_state() -> None:
    """A terminal state is final, and the summary contains only states that occur."""
    stats = stats_of(3)
    assert stats.summary(0.0) == "0 of 3 ended: 3 waiting"
    stats.record("gen_0", "queued", 0.0, 1.0)
    stats.record("gen_1", "running", 10.0, 1.0)
    stats.record("gen_1", "complete", None, 2.0)
    stats.record("gen_1", "running", 50.0, 3.0)
    assert stats.summary(3.0) == "1 of 3 ended: 1 waiting, 1 queued, 1 complete"
    assert (stats.total, stats.ended) == (3, 1)


def test_the_eta_uses_the_rate_of_the_last_minute() -> None:
    """30 ends in a minute, and 30 generations left: about a minute."""
    stats = stats_of(63)
    for number in range(3):
        stats.record(f"gen_{number}", "complete", None, 1.0)
    for number in range(30):
        stats.record(f"gen_{number + 3}", "failed", None, 100.0 + number)
    assert stats.rate(140.0) == pytest.approx(30)
    assert stats.eta(140.0) == pytest.approx(60)
    assert stats.summary(140.0).endswith("30 a minute, about 60 s left")


def test_before_the_first_end_the_eta_uses_percentages() -> None:
    """Progress before the wait is not part of the speed."""
    stats = stats_of(2)
    for number in range(2):
        stats.record(f"gen_{number}", "running", 50.0, 0.0)
    assert stats.eta(1.0) is None
    for number in range(2):
        stats.record(f"gen_{number}", "running", 60.0, 10.0)
    assert stats.eta(10.0) == pytest.approx(40)
    stats.record("gen_0", "complete", None, 40.0)
    assert stats.rate(40.0) is None


def test_nothing_is_left_when_all_have_ended() -> None:
    """Late generations count as ended."""
    stats = stats_of(2)
    stats.record("gen_0", "late", None, 5.0)
    stats.record("gen_1", "failed", None, 5.0)
    assert stats.eta(5.0) == 0
    assert stats.summary(5.0) == "2 of 2 ended: 1 failed, 1 late"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (12000, "3 h 20 min")],
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    """Longer durations have a coarser unit."""
    assert format_duration(seconds) == text
