"""Trust in facts from elsewhere: when it holds, and how few checks it allows."""

from __future__ import annotations

import pytest

from diffio_async import WaitPolicy
from diffio_async._engine.pacing.trust import Trust

POLICY = WaitPolicy(safety=60)


def checks(trust: Trust, now: float, seconds: float, ends_a_second: float) -> int:
    """Checks made in so many seconds, one as soon as it may be."""
    made, began = 0, now
    while now < began + seconds:
        for _ in range(int((now - began) * ends_a_second), int((now + 1 - began) * ends_a_second)):
            trust.earn()
        while trust.wait(now) <= 0:
            trust.take(now)
            made += 1
        now += 1
    return made


@pytest.mark.parametrize(
    ("ends_a_second", "least", "most"), [(0, 6, 8), (10, 6 + 12, 8 + 13), (100, 110, 130)]
)
def test_checks_are_few_whatever_is_waited_for(ends_a_second: int, least: int, most: int) -> None:
    """One in ten seconds, and two for each hundred ends."""
    trust = Trust(POLICY)
    assert least <= checks(trust, trust._at, 60, ends_a_second) <= most


def test_a_quiet_time_saves_up_few_checks() -> None:
    """Not an hour's worth, to be made at once."""
    trust = Trust(POLICY)
    assert checks(trust, trust._at + 3600, 1, 0) == 2


def test_it_holds_while_somebody_listens_and_nothing_is_missed() -> None:
    """From the first fact; each change is told to who asked for it."""
    trust = Trust(POLICY)
    assert not trust.gain(proven=True)
    trust.listen(1)
    assert trust.gain(proven=True)
    assert not trust.gain(proven=True)
    assert 54 <= trust.safety(0.0) <= trust.safety(1.0) <= 66
    assert trust.lose()
    assert not trust.lose()
    assert trust.safety(0.5) == 0
    trust.gain(proven=True)
    assert trust.listen(-1)
    assert not trust.holds


def test_what_came_a_while_ago_is_taken_on_probation() -> None:
    """Checks are as early as questions, until something is heard."""
    trust = Trust(POLICY)
    trust.listen(1)
    assert trust.gain(proven=False)
    assert trust.holds
    assert trust.safety(0.5) == 0
    assert trust.gain(proven=True)
    assert trust.safety(0.5) == 60
    assert not trust.gain(proven=False)
