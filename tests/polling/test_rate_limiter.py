"""The rate limiter: never exceeded in any second, and used if needed."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.limits import RateLimiter

RATES = st.sampled_from([0.2, 0.5, 1.0, 3.3, 10.0, 100.0])
BURSTS = st.integers(0, 20)
#: Seconds between two requested polls.
GAPS = st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0]), min_size=1, max_size=200)


def poll_times(limiter: RateLimiter, gaps: list[float]) -> list[float]:
    """Return when polls are sent that are requested so many seconds apart."""
    now, times, requested_at = 0.0, [], 0.0
    for gap in gaps:
        requested_at += gap
        now = max(now, requested_at)
        while (wait := limiter.wait(now)) > 0:
            now += wait
        limiter.acquire(now)
        times.append(now)
    return times


@given(rate=RATES, burst=BURSTS, gaps=GAPS)
def test_no_second_has_more_polls_than_rate_and_burst(
    rate: float, burst: int, gaps: list[float]
) -> None:
    """For any times of the requests."""
    times = poll_times(RateLimiter(rate, burst), gaps)
    for at in times:
        assert sum(at <= other < at + 1 for other in times) <= max(1, int(rate) + burst)


@given(rate=RATES, burst=BURSTS, gaps=GAPS)
def test_the_average_is_at_most_the_rate(rate: float, burst: int, gaps: list[float]) -> None:
    """The burst accumulates once, not each second."""
    times = poll_times(RateLimiter(rate, burst), gaps)
    for n, m in itertools.combinations(range(0, len(times), 7), 2):
        assert m - n <= max(1, burst) + (times[m] - times[n]) * rate + 1e-3


@given(rate=RATES, burst=BURSTS)
def test_the_rate_is_used_if_needed(rate: float, burst: int) -> None:
    """Polls that wait are sent at nearly the rate, or at the burst if that is less."""
    times = poll_times(RateLimiter(rate, burst), [0.0] * 100)
    assert times[-1] <= 1.05 * 100 / min(rate, max(1, int(rate) + burst)) + 1


def test_after_a_pause_there_is_no_burst() -> None:
    """Polling resumes slowly after `drain`."""
    limiter = RateLimiter(10, 10)
    limiter.drain(5.0)
    assert limiter.wait(5.0) > 0
    assert limiter.wait(5.2) == 0
