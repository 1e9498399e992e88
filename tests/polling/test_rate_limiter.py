"""The rate limiter: never exceeded in any second, and used if needed."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.limits import RateLimiter

RATES = st.sampled_from([0.2, 0.5, 1.0, 3.3, 10.0, 100.0])
BURSTS = st.integers(0, 20)
#: Seconds between two wishes to ask.
WISHES = st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0]), min_size=1, max_size=200)


def asked(budget: RateLimiter, wishes: list[float]) -> list[float]:
    """Return when polls are sent that are requested so many seconds apart."""
    now, sent, due = 0.0, [], 0.0
    for gap in wishes:
        due += gap
        now = max(now, due)
        while (wait := budget.wait(now)) > 0:
            now += wait
        budget.acquire(now)
        sent.append(now)
    return sent


@given(rate=RATES, burst=BURSTS, wishes=WISHES)
def test_no_second_has_more_polls_than_rate_and_burst(
    rate: float, burst: int, wishes: list[float]
) -> None:
    """At any times of the requests."""
    sent = asked(RateLimiter(rate, burst), wishes)
    for at in sent:
        assert sum(at <= other < at + 1 for other in sent) <= max(1, int(rate) + burst)


@given(rate=RATES, burst=BURSTS, wishes=WISHES)
def test_in_the_long_run_it_is_the_rate(rate: float, burst: int, wishes: list[float]) -> None:
    """The burst is saved up once, not each second."""
    sent = asked(RateLimiter(rate, burst), wishes)
    for n, m in itertools.combinations(range(0, len(sent), 7), 2):
        assert m - n <= max(1, burst) + (sent[m] - sent[n]) * rate + 1e-3


@given(rate=RATES, burst=BURSTS)
def test_the_rate_is_used_if_needed(rate: float, burst: int) -> None:
    """A queue that never empties is served at the rate, nearly; of parts of one, at the whole."""
    sent = asked(RateLimiter(rate, burst), [0.0] * 100)
    assert sent[-1] <= 1.05 * 100 / min(rate, max(1, int(rate) + burst)) + 1


def test_after_a_pause_there_is_no_burst() -> None:
    """Polling resumes slowly after `drain`."""
    budget = RateLimiter(10, 10)
    budget.drain(5.0)
    assert budget.wait(5.0) > 0
    assert budget.wait(5.2) == 0
