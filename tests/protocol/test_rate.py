from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._http.transfers import MAX_SAMPLES, ThroughputMeter

TOLD = st.lists(st.tuples(st.integers(0, 10**12), st.floats(0.0, 3.0)), min_size=1, max_size=200)


def test_an_even_flow_is_told_as_it_is() -> None:
    meter = ThroughputMeter()
    told = [meter.update(1000 * n, n / 10) for n in range(200)]
    assert told[:3] == [None, None, None]
    assert told[3:] == [pytest.approx(10_000)] * 197


def test_what_was_resumed_is_no_part_of_the_rate() -> None:
    meter = ThroughputMeter()
    meter.update(10**9, 50.0)
    assert meter.update(10**9 + 500, 51.0) == pytest.approx(500)


def test_a_change_shows_within_a_window_and_a_stall_ends_at_nothing() -> None:
    meter = ThroughputMeter(window=2.0)
    done, rate = 0, None
    for n in range(100):
        done += 100
        meter.update(done, n / 10)
    for n in range(100, 130):
        done += 1000
        rate = meter.update(done, n / 10)
    assert rate == pytest.approx(10_000, rel=0.05)
    assert meter.update(done, 1000.0) == pytest.approx(0, abs=20)


def test_bytes_that_are_sent_again_are_no_negative_rate() -> None:
    meter = ThroughputMeter()
    meter.update(1000, 0.0)
    assert meter.update(10, 1.0) == 0


@given(TOLD)
def test_a_rate_is_never_below_nothing_and_little_is_kept(told: list[tuple[int, float]]) -> None:
    """Whatever it is told, however often."""
    meter, now = ThroughputMeter(), 0.0
    for done, later in told:
        now += later
        rate = meter.update(done, now)
        assert rate is None or 0 <= rate < float("inf")
        assert len(meter._moments) <= MAX_SAMPLES + 2
