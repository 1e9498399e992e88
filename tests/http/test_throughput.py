"""Throughput of a transfer, from samples of its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.limits import MAX_SAMPLES, ThroughputMeter

UPDATES = st.lists(st.tuples(st.integers(0, 10**12), st.floats(0.0, 3.0)), min_size=1, max_size=200)


def test_a_constant_rate_is_reported() -> None:
    meter = ThroughputMeter()
    updates = [meter.update(1000 * n, n / 10) for n in range(200)]
    assert updates[:3] == [None, None, None]
    assert updates[3:] == [pytest.approx(10_000)] * 197


def test_resumed_bytes_do_not_count_towards_the_rate() -> None:
    meter = ThroughputMeter()
    meter.update(10**9, 50.0)
    assert meter.update(10**9 + 500, 51.0) == pytest.approx(500)


def test_a_change_is_visible_within_the_window_and_a_stall_decays_to_zero() -> None:
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


def test_resent_bytes_do_not_make_the_rate_negative() -> None:
    meter = ThroughputMeter()
    meter.update(1000, 0.0)
    assert meter.update(10, 1.0) == 0


@given(UPDATES)
def test_the_rate_is_finite_and_the_number_of_samples_limited(
    updates: list[tuple[int, float]],
) -> None:
    meter, now = ThroughputMeter(), 0.0
    for done, later in updates:
        now += later
        rate = meter.update(done, now)
        assert rate is None or 0 <= rate < float("inf")
        assert len(meter._moments) <= MAX_SAMPLES + 2
