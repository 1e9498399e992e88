"""The rate limiter: never exceeded in any second, used if needed, and adapted to the service."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.rate_limit import MIN_RATE, START_RATE, RateLimiter

RATES = st.sampled_from([0.2, 0.5, 1.0, 3.3, 10.0, 100.0])
BURSTS = st.integers(0, 20)
#: Seconds between two requested polls, and what the service responds.
GAPS = st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0])
RESPONSES = st.sampled_from(["fast", "fast", "slow", "throttled"])
LATENCIES = {"fast": 0.1, "slow": 2.0}


def respond(limiter: RateLimiter, now: float, response: str) -> None:
    """Handle a response."""
    if response == "throttled":
        limiter.on_throttled(now)
    else:
        limiter.on_response(now, LATENCIES[response])


def poll_times(limiter: RateLimiter, polls: list[tuple[float, str]]) -> list[float]:
    """Return when polls are sent that are requested so many seconds apart; they wait for it."""
    now, times, requested_at = 0.0, [], 0.0
    for gap, response in polls:
        requested_at += gap
        limiter.set_saturated(now, saturated=requested_at < now)
        now = max(now, requested_at)
        while (wait := limiter.wait(now)) > 0:
            now += wait
        limiter.acquire(now)
        times.append(now)
        respond(limiter, now, response)
    return times


POLLS = st.lists(st.tuples(GAPS, RESPONSES), min_size=1, max_size=200)


@given(rate=RATES, burst=BURSTS, polls=POLLS)
def test_no_second_has_more_polls_than_rate_and_burst(
    rate: float, burst: int, polls: list[tuple[float, str]]
) -> None:
    """For any times of the requests, and any responses."""
    times = poll_times(RateLimiter(rate, burst), polls)
    for at in times:
        assert sum(at <= other < at + 1 for other in times) <= max(1, int(rate) + burst)


@given(rate=RATES, burst=BURSTS, polls=POLLS)
def test_the_average_is_at_most_the_rate(
    rate: float, burst: int, polls: list[tuple[float, str]]
) -> None:
    """The burst accumulates once, not each second, whatever the rate changes to."""
    times = poll_times(RateLimiter(rate, burst), polls)
    for n, m in itertools.combinations(range(0, len(times), 7), 2):
        assert m - n <= max(1, burst) + (times[m] - times[n]) * rate + 1e-3


@given(rate=RATES, burst=BURSTS)
def test_the_rate_is_used_if_needed(rate: float, burst: int) -> None:
    """Polls that wait are sent at nearly the rate, or at the burst if that is less."""
    limiter = RateLimiter(rate, burst)
    for _ in range(100):
        limiter.set_saturated(0.0, saturated=True)
        limiter.on_response(0.0, 0.1)
    times = poll_times(limiter, [(0.0, "fast")] * 100)
    assert limiter.rate == rate
    assert times[-1] <= 1.05 * 100 / min(rate, max(1, int(rate) + burst)) + 1


@given(polls=POLLS, max_rate=RATES)
def test_the_rate_stays_within_its_bounds(polls: list[tuple[float, str]], max_rate: float) -> None:
    """It is at least 1 per second, unless the maximum is lower."""
    limiter, now = RateLimiter(max_rate, 10), 0.0
    limiter.set_saturated(now, saturated=True)
    for gap, response in polls:
        now += gap
        respond(limiter, now, response)
        assert min(MIN_RATE, max_rate) <= limiter.rate <= max_rate


@given(rates=st.lists(st.floats(1, 100), min_size=1, max_size=20), spent=st.integers(0, 10))
def test_a_change_of_the_rate_does_not_refill_the_bucket(rates: list[float], spent: int) -> None:
    """As many polls are allowed at that instant as before."""
    limiter = RateLimiter(100, 10)
    for _ in range(spent):
        limiter.acquire(5.0)
    for rate in rates:
        limiter.set_rate(rate, 5.0)
    allowed = 0
    while not limiter.wait(5.0):
        limiter.acquire(5.0)
        allowed += 1
    assert allowed == 10 - spent


@given(responses=st.lists(st.sampled_from(["fast", "slow"]), max_size=50))
def test_the_rate_does_not_change_without_demand(responses: list[str]) -> None:
    """While no poll waits for the limit, responses have no effect on it."""
    limiter = RateLimiter(100, 10)
    for response in responses:
        respond(limiter, 0.0, response)
    assert limiter.rate == START_RATE


def test_the_rate_grows_tenfold_in_a_few_seconds_of_demand() -> None:
    limiter = RateLimiter(100, 10)
    times = poll_times(limiter, [(0.0, "fast")] * 250)
    assert limiter.rate == 100
    assert sum(at < 1 for at in times) <= 30
    assert times[-1] < 5


def test_each_throttled_poll_halves_the_rate_and_growth_is_slow_then() -> None:
    """By one poll per second in each second."""
    limiter = RateLimiter(100, 10)
    poll_times(limiter, [(0.0, "fast")] * 250)
    for rate in (50, 25, 12.5):
        limiter.on_throttled(10.0)
        assert limiter.rate == rate
    limiter.set_saturated(10.0, saturated=True)
    for _ in range(13):
        limiter.on_response(10.0, 0.1)
    assert limiter.rate == pytest.approx(13.5, abs=0.1)


def test_growth_is_as_at_first_again_a_minute_after_the_last_throttled_poll() -> None:
    limiter = RateLimiter(100, 10)
    for at in (0.0, 30.0):
        limiter.on_throttled(at)
    limiter.set_saturated(80.0, saturated=True)
    before = limiter.rate
    limiter.on_response(89.0, 0.1)
    assert limiter.rate == pytest.approx(before + 1 / before)
    for _ in range(100):
        limiter.on_response(91.0, 0.1)
    assert limiter.rate == 100


def test_a_service_that_slows_down_is_polled_less() -> None:
    """A queue that serves 40 polls per second does not grow without bounds.

    Its latency is 0.1 s, and more by the polls that wait in it.
    """
    limiter, now, served_at = RateLimiter(100, 10), 0.0, 0.0
    responses: list[tuple[float, float]] = []
    delays: list[float] = []
    limiter.set_saturated(now, saturated=True)
    while now < 120:
        now += max(limiter.wait(now), 1e-4)
        if limiter.wait(now) == 0:
            limiter.acquire(now)
            served_at = max(served_at, now) + 1 / 40
            responses.append((served_at + 0.1, served_at + 0.1 - now))
        while responses and responses[0][0] <= now:
            latency = responses.pop(0)[1]
            delays.append(latency)
            limiter.on_response(now, latency)
    assert max(delays) < 2
    assert 30 < len(delays) / 120 <= 40


def test_a_longer_latency_becomes_normal() -> None:
    """A slower network does not keep the rate low."""
    limiter = RateLimiter(100, 10)
    limiter.set_saturated(0.0, saturated=True)
    limiter.on_response(0.0, 0.01)
    for _ in range(50):
        limiter.on_response(0.0, 0.3)
    assert limiter.rate == START_RATE
    for _ in range(1000):
        limiter.on_response(0.0, 0.3)
    assert limiter.rate == 100


def test_a_pause_is_not_a_wait_for_the_limit() -> None:
    """After it, polls count as late from then on only."""
    limiter = RateLimiter(10, 10)
    limiter.set_saturated(1.0, saturated=True)
    limiter.drain(60.0)
    assert limiter.saturated_since == 60


def test_a_limit_that_grows_fast_is_not_waited_for_long() -> None:
    """Intervals grow with the wait, and need not if the limit will soon allow more polls."""
    limiter = RateLimiter(100, 10)
    limiter.set_saturated(1.0, saturated=True)
    limiter.on_response(9.0, 0.1)
    assert limiter.saturated_since == 8
    limiter.on_throttled(9.0)
    limiter.on_response(12.0, 0.1)
    assert limiter.saturated_since == 8


def test_after_a_pause_there_is_no_burst() -> None:
    """Polling resumes slowly after `drain`."""
    limiter = RateLimiter(10, 10)
    limiter.drain(5.0)
    assert limiter.wait(5.0) > 0
    assert limiter.wait(5.2) == 0
