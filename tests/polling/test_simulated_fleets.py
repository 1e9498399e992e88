"""Fleets on a virtual clock: the cost of the poll decision, beside a fixed interval."""

from __future__ import annotations

import pytest
from attrs import evolve
from waits.fleets import Fleet
from waits.simulation import advantage, asked_by_us, asked_on_a_beat, bound

from diffio_async import WaitPolicy

FREE = WaitPolicy(max_polls_per_second=1e6)


@pytest.mark.parametrize(
    ("fleet", "fewer", "late"),
    [
        (Fleet(jobs=300, way="even"), 6.0, 0.8),
        (Fleet(jobs=300, way="even", over=600), 6.0, 0.8),
        (Fleet(jobs=200, way="even", median=300), 6.0, 1.0),
        (Fleet(jobs=300, way="tens", over=600), 2.5, 1.5),
        (Fleet(jobs=300, way="uneven"), 2.0, 1.2),
        (Fleet(jobs=300, way="jumps", over=600), 2.0, 1.5),
        # The place in a queue tells the turn; without it, that percentages will tell is enough.
        (Fleet(jobs=300, way="even", queue=120, turns=2), 6.0, 0.8),
        (Fleet(jobs=300, way="even", queue=120, over=600), 4.0, 0.8),
        # Nothing tells the end: to ask hardly more than a beat is all that can be had.
        (Fleet(jobs=300, way="jumps", over=600, loose=1.0), 0.8, 4.0),
    ],
)
def test_fewer_polls_than_a_fixed_interval_of_the_same_delay(
    fleet: Fleet, fewer: float, late: float
) -> None:
    """Progress saves polls; the mean delay in seconds stays small."""
    ours = asked_by_us(fleet, FREE)
    assert len(ours.delays) == fleet.jobs
    assert ours.mean <= late
    assert advantage(fleet, ours) >= fewer


def test_a_smaller_min_interval_costs_polls_and_saves_delay() -> None:
    """The option moves along the curve in the right direction."""
    fleet = Fleet(jobs=200, way="jumps", over=300)
    quick, slow = (asked_by_us(fleet, evolve(FREE, min_interval=first)) for first in (0.5, 4.0))
    assert quick.mean < slow.mean / 2
    assert quick.requests > slow.requests * 1.3


def test_the_rate_limit_holds_whatever_is_due() -> None:
    """No second has more polls than the limit and its burst; every end is detected."""
    fleet = Fleet(jobs=600, way="even", median=30)
    ours = asked_by_us(fleet, WaitPolicy(max_polls_per_second=20, burst=5))
    assert ours.most_in_a_second <= 25
    assert len(ours.delays) == 600


def test_a_fixed_interval_costs_what_arithmetic_predicts() -> None:
    """A job of T seconds takes T / interval polls, and half an interval of delay."""
    fleet = Fleet(jobs=500)
    beat = asked_on_a_beat(fleet, 2.0)
    lasted = sum(job.ends - job.begins for job in fleet.made())
    assert beat.mean == pytest.approx(1.0, rel=0.1)
    assert beat.requests == pytest.approx(lasted / 2 + 500, rel=0.02)


def test_durations_alone_can_gain_little() -> None:
    """The bound is that of the exponential where it is known: none, and more the less they vary."""
    assert bound(0.5) == pytest.approx(1.37, abs=0.01)
    assert bound(0.2) > bound(0.5) > bound(1.0)
