"""Simulated fleets of jobs: requests and delay of adaptive and fixed intervals."""

from __future__ import annotations

import pytest
from waits.fleets import Fleet
from waits.simulation import advantage, max_advantage, simulate_adaptive, simulate_fixed

from diffio_async import WaitPolicy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fleet", "min_advantage", "max_mean_delay"),
    [
        (Fleet(jobs=300, progress="even"), 6.0, 0.8),
        (Fleet(jobs=300, progress="even", created_over=600), 6.0, 0.8),
        (Fleet(jobs=200, progress="even", median=300), 6.0, 1.0),
        (Fleet(jobs=300, progress="tens", created_over=600), 2.5, 1.5),
        (Fleet(jobs=300, progress="uneven"), 2.0, 1.2),
        (Fleet(jobs=300, progress="jumps", created_over=600), 2.0, 1.5),
        # A queue position predicts the start; without one, the percentages that follow suffice.
        (Fleet(jobs=300, progress="even", queue=120, queue_rate=2), 6.0, 0.8),
        (Fleet(jobs=300, progress="even", queue=120, created_over=600), 4.0, 0.8),
        # Nothing predicts the end: at best as many polls as with a fixed interval.
        (Fleet(jobs=300, progress="jumps", created_over=600, preparing_sigma=1.0), 0.8, 4.0),
    ],
)
def test_fewer_polls_than_a_fixed_interval_of_the_same_delay(
    fleet: Fleet, min_advantage: float, max_mean_delay: float
) -> None:
    """Progress saves polls; the mean delay in seconds stays small."""
    adaptive = simulate_adaptive(fleet, WaitPolicy(), limited=False)
    assert len(adaptive.delays) == fleet.jobs
    assert adaptive.mean_delay <= max_mean_delay
    assert advantage(fleet, adaptive) >= min_advantage


@pytest.mark.slow
def test_a_smaller_min_interval_costs_polls_and_saves_delay() -> None:
    """The option trades requests for delay."""
    fleet = Fleet(jobs=200, progress="jumps", created_over=300)
    quick, slow = (
        simulate_adaptive(fleet, WaitPolicy(min_interval=seconds), limited=False)
        for seconds in (0.5, 4.0)
    )
    assert quick.mean_delay < slow.mean_delay / 2
    assert quick.requests > slow.requests * 1.3


def test_the_rate_limit_is_never_exceeded() -> None:
    """No second has more polls than the limit and its burst; every end is detected."""
    fleet = Fleet(jobs=600, progress="even", median=30)
    polls = simulate_adaptive(fleet, WaitPolicy(max_polls_per_second=20, burst=5))
    assert polls.max_per_second <= 25
    assert len(polls.delays) == 600


def test_the_default_rate_limit_adapts_to_a_hundred_jobs() -> None:
    """Ends are detected sooner than by a loop of 2 s, with less than half of its requests."""
    fleet = Fleet(jobs=100, median=20)
    polls, fixed = simulate_adaptive(fleet, WaitPolicy()), simulate_fixed(fleet, 2.0)
    assert polls.mean_delay <= fixed.mean_delay / 2
    assert polls.requests <= fixed.requests / 2


@pytest.mark.parametrize(("jobs", "median", "max_mean_delay"), [(100, 20, 2.0), (300, 60, 6.0)])
def test_a_low_rate_limit_is_spent_near_the_ends(
    jobs: int, median: float, max_mean_delay: float
) -> None:
    """More polls are due than ten per second allow: the intervals grow, until that is not so."""
    polls = simulate_adaptive(Fleet(jobs=jobs, median=median), WaitPolicy(max_polls_per_second=10))
    assert polls.mean_delay <= max_mean_delay


def test_requests_and_delay_of_a_fixed_interval() -> None:
    """A job of T seconds takes T / interval polls, and its delay is half an interval."""
    fleet = Fleet(jobs=500)
    fixed = simulate_fixed(fleet, 2.0)
    seconds = sum(job.ended_at - job.created_at for job in fleet.make_jobs())
    assert fixed.mean_delay == pytest.approx(1.0, rel=0.1)
    assert fixed.requests == pytest.approx(seconds / 2 + 500, rel=0.02)


def test_durations_alone_save_few_polls() -> None:
    """The largest possible advantage is small, and larger the less durations vary."""
    assert max_advantage(0.5) == pytest.approx(1.37, abs=0.01)
    assert max_advantage(0.2) > max_advantage(0.5) > max_advantage(1.0)
