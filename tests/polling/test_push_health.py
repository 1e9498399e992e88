"""Push health: when it holds, and how few checks it allows."""

from __future__ import annotations

import pytest

from diffio_async import WaitPolicy
from diffio_async._polling.push import PushHealth

POLICY = WaitPolicy(push_check_interval=60)


def checks(trust: PushHealth, now: float, seconds: float, ends_a_second: float) -> int:
    """Return the number of checks in so many seconds, each as soon as it is allowed."""
    made, began = 0, now
    while now < began + seconds:
        for _ in range(int((now - began) * ends_a_second), int((now + 1 - began) * ends_a_second)):
            trust.credit()
        while trust.wait(now) <= 0:
            trust.acquire(now)
            made += 1
        now += 1
    return made


@pytest.mark.parametrize(
    ("ends_a_second", "least", "most"), [(0, 6, 8), (10, 6 + 12, 8 + 13), (100, 110, 130)]
)
def test_checks_are_few_for_any_number_of_jobs(ends_a_second: int, least: int, most: int) -> None:
    """One in ten seconds, and two for each hundred ends."""
    trust = PushHealth(POLICY)
    assert least <= checks(trust, trust._updated_at, 60, ends_a_second) <= most


def test_a_quiet_time_saves_up_few_checks() -> None:
    """Not an hour's worth, to be made at once."""
    trust = PushHealth(POLICY)
    assert checks(trust, trust._updated_at + 3600, 1, 0) == 2


def test_it_holds_while_there_is_a_listener_and_no_event_is_missed() -> None:
    """From the first event; each change is returned."""
    trust = PushHealth(POLICY)
    assert not trust.confirm(proven=True)
    trust.listen(1)
    assert trust.confirm(proven=True)
    assert not trust.confirm(proven=True)
    assert 54 <= trust.check_delay(0.0) <= trust.check_delay(1.0) <= 66
    assert trust.on_miss()
    assert not trust.on_miss()
    assert trust.check_delay(0.5) == 0
    trust.confirm(proven=True)
    assert trust.listen(-1)
    assert not trust.holds


def test_events_from_a_while_ago_do_not_confirm() -> None:
    """Checks are as early as polls until an event arrives."""
    trust = PushHealth(POLICY)
    trust.listen(1)
    assert trust.confirm(proven=False)
    assert trust.holds
    assert trust.check_delay(0.5) == 0
    assert trust.confirm(proven=True)
    assert trust.check_delay(0.5) == 60
    assert not trust.confirm(proven=False)
