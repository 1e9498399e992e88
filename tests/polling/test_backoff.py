"""Intervals between polls without a prediction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._polling.next_poll import backoff_delay
from diffio_async.options import WaitPolicy


@given(
    shortest=st.floats(0.001, 1e6),
    longest=st.floats(0.001, 1e6),
    elapsed=st.floats(0, 1e9),
    jitter=st.floats(0, 1),
)
def test_the_interval_is_about_a_tenth_of_the_elapsed_time(
    shortest: float, longest: float, elapsed: float, jitter: float
) -> None:
    """It stays within the configured limits, apart from a jitter of 20 %."""
    shortest, longest = sorted((shortest, longest))
    interval = backoff_delay(
        WaitPolicy(min_interval=shortest, max_interval=longest), elapsed, jitter
    )
    assert 0.79 * min(shortest, longest) <= interval <= 1.21 * longest
    assert interval <= 1.21 * max(shortest, elapsed / 10)


def test_the_interval_has_a_jitter_of_20_percent() -> None:
    policy = WaitPolicy()
    assert backoff_delay(policy, 60, 0.0) == pytest.approx(4.8)
    assert backoff_delay(policy, 60, 1.0) == pytest.approx(7.2)
