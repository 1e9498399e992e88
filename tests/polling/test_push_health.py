"""Push health: when events replace polls, and how many checks remain."""

from __future__ import annotations

import pytest

from diffio_async import WaitPolicy
from diffio_async._polling.push import PushHealth

POLICY = WaitPolicy(push_check_interval=60)


def checks(health: PushHealth, now: float, seconds: float, ends_a_second: float) -> int:
    """Return the number of checks in so many seconds, each as soon as it is allowed."""
    count, started_at = 0, now
    while now < started_at + seconds:
        for _ in range(
            int((now - started_at) * ends_a_second), int((now + 1 - started_at) * ends_a_second)
        ):
            health.credit()
        while health.checks.wait(now) <= 0:
            health.checks.acquire(now)
            count += 1
        now += 1
    return count


@pytest.mark.parametrize(
    ("ends_a_second", "minimum", "maximum"), [(0, 6, 8), (10, 6 + 12, 8 + 13), (100, 110, 130)]
)
def test_checks_are_few_for_any_number_of_jobs(
    ends_a_second: int, minimum: int, maximum: int
) -> None:
    """One check in ten seconds, and two for each hundred ends."""
    health = PushHealth(POLICY)
    assert minimum <= checks(health, health.checks._updated_at, 60, ends_a_second) <= maximum


def test_an_idle_hour_accumulates_two_checks() -> None:
    """Checks do not accumulate for an hour."""
    health = PushHealth(POLICY)
    assert checks(health, health.checks._updated_at + 3600, 1, 0) == 2


def test_it_holds_while_there_is_a_listener_and_no_event_is_missed() -> None:
    """It holds from the first event; each change is returned."""
    health = PushHealth(POLICY)
    assert not health.confirm(proven=True)
    health.listen(1)
    assert health.confirm(proven=True)
    assert not health.confirm(proven=True)
    assert 54 <= health.check_delay(0.0) <= health.check_delay(1.0) <= 66
    assert health.on_miss()
    assert not health.on_miss()
    assert health.check_delay(0.5) == 0
    health.confirm(proven=True)
    assert health.listen(-1)
    assert not health.holds


def test_events_from_a_while_ago_do_not_confirm() -> None:
    """Checks are sent as early as polls until an event arrives."""
    health = PushHealth(POLICY)
    health.listen(1)
    assert health.confirm(proven=False)
    assert health.holds
    assert health.check_delay(0.5) == 0
    assert health.confirm(proven=True)
    assert health.check_delay(0.5) == 60
    assert not health.confirm(proven=False)
