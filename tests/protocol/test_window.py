"""The window on simulated links: it finds how many parts help, and soon."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._uploads.limiter import AdaptiveLimit

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.05
MB = 1_000_000


class Link:
    """Parts on a link that carries `rate(n)` bytes a second for `n` of them.

    A new part takes `delay` seconds until its first byte; `busy(n)` is how hard the loop works.
    """

    def __init__(
        self,
        cap: int,
        rate: Callable[[int], float],
        *,
        delay: float = 0.08,
        busy: Callable[[int], float] = lambda n: 0.2,
        noise: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.window = AdaptiveLimit(cap)
        self.rate, self.delay, self.busy, self.noise = rate, delay, busy, noise
        self.now = self.through = 0.0
        self.begun: list[float] = []
        self.limits: list[tuple[float, int]] = []

    def run(self, seconds: float) -> None:
        """Let it go on for so long; there are always parts that wait, and a part lasts 1.6 s."""
        end = self.now + seconds
        while self.now < end:
            self.begun = [at for at in self.begun if self.now - at < 1.6]
            while len(self.begun) < self.window.limit:
                self.begun.append(self.now)
            flowing = sum(self.now - at >= self.delay for at in self.begun)
            self.through += self.rate(flowing) * TICK * self.noise()
            self.now += TICK
            self.window.sample(
                self.now,
                int(self.through),
                saturated=len(self.begun) == self.window.limit,
                cpu_share=self.busy(flowing),
            )
            self.limits.append((self.now, self.window.limit))

    def reached(self, limit: int) -> float:
        """When it first reached a limit."""
        return next(now for now, at in self.limits if at >= limit)


@pytest.mark.parametrize("cap", [4, 8, 16])
def test_where_each_connection_is_limited_the_cap_is_reached_at_once(cap: int) -> None:
    """20 MB/s a connection, 40 ms away: before the first part of 32 MiB is through."""
    link = Link(cap, lambda n: 20 * MB * n)
    link.run(10)
    assert link.window.limit == cap
    assert link.reached(cap) < 1.2
    assert link.through > 0.85 * 10 * cap * 20 * MB


@pytest.mark.parametrize("full", [5, 12, 40])
def test_where_the_link_is_full_more_are_not_kept(full: float) -> None:
    """A line of so many MB/s that one connection fills."""
    link = Link(8, lambda n: full * MB * (n > 0))
    link.run(60)
    over = sum(limit > 2 for _, limit in link.limits)
    assert link.window.limit <= 4
    assert over / len(link.limits) < 0.25


def test_a_line_that_four_connections_fill_is_filled() -> None:
    link = Link(16, lambda n: min(80, 20 * n) * MB)
    link.run(30)
    assert link.reached(4) < 0.6
    assert link.through > 0.95 * 80 * MB * 29
    assert sum(limit > 8 for _, limit in link.limits) == 0


def test_where_the_processor_is_the_limit_one_is_enough() -> None:
    link = Link(8, lambda n: 900 * MB * (n > 0), busy=lambda n: 1.0)
    link.run(5)
    assert max(limit for _, limit in link.limits) <= 2
    assert link.window.limit == 1


@pytest.mark.parametrize("seed", range(8))
def test_on_a_fast_link_no_more_are_tried(seed: int) -> None:
    """A machine with other work to do: the loop does not look busy, and rates swing."""
    chance = random.Random(seed)
    link = Link(8, lambda n: 400 * MB * (n > 0), noise=lambda: chance.uniform(0.6, 1.6))
    link.run(30)
    assert max(limit for _, limit in link.limits) == 2


def test_a_link_far_away_is_waited_for() -> None:
    """Half a second until a new connection brings anything."""
    link = Link(8, lambda n: 5 * MB * n, delay=0.5)
    link.run(10)
    assert link.window.limit == 8
    assert link.reached(8) < 4


def test_a_link_that_becomes_faster_is_used() -> None:
    """A number that brought nothing is tried again later."""
    limit = [10.0]
    link = Link(8, lambda n: min(limit[0], 10 * n) * MB)
    link.run(20)
    assert link.window.limit <= 4
    limit[0] = 80.0
    link.run(90)
    assert link.window.limit == 8


def test_a_number_on_trial_is_judged_by_what_comes_after_a_break() -> None:
    """Nothing was in the air for a while: that is no sign that more brought nothing."""
    link = Link(8, lambda n: 20 * MB * n)
    while link.window.limit < 4:
        link.run(TICK)
    link.window.sample(link.now, int(link.through), saturated=False, cpu_share=0.0)
    link.now += 60
    link.begun.clear()
    before = len(link.limits)
    link.run(3)
    assert min(limit for _, limit in link.limits[before:]) == 4
    assert link.window.limit == 8


def test_a_push_back_halves_once_for_all_that_were_in_the_air() -> None:
    window = AdaptiveLimit(16)
    window.limit = 16
    for _ in range(16):
        window.on_throttled(10.0, started_at=9.0)
    assert window.limit == 8
    window.on_throttled(11.0, started_at=10.5)
    assert window.limit == 4
    for later in range(12, 20):
        window.on_throttled(later, started_at=later - 0.5)
    assert window.limit == 1


def test_after_a_push_back_it_grows_again_by_ones() -> None:
    link = Link(8, lambda n: 20 * MB * n)
    link.run(2)
    assert link.window.limit == 8
    link.window.on_throttled(link.now, started_at=link.now - 1)
    assert link.window.limit == 4
    before = len(link.limits)
    link.run(20)
    limits = [limit for _, limit in link.limits[before:]]
    assert limits == sorted(limits)
    assert {after - limit for limit, after in pairwise(limits)} == {0, 1}
    assert limits[-1] == 8


MOMENTS = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),
        st.integers(0, 10**10),
        st.booleans(),
        st.floats(0.0, 1.5),
        st.booleans(),
    ),
    max_size=200,
)


@given(cap=st.integers(1, 64), moments=MOMENTS)
def test_whatever_it_is_told_it_stays_within_its_bounds(
    cap: int, moments: list[tuple[float, int, bool, float, bool]]
) -> None:
    window, now, through = AdaptiveLimit(cap), 0.0, 0
    assert 1 <= window.limit <= min(2, cap)
    for later, more, full, busy, back in moments:
        now, through = now + later, through + more
        before = window.limit
        window.sample(now, through, saturated=full, cpu_share=busy)
        assert 1 <= window.limit <= cap
        assert window.limit <= 2 * before
        if back:
            before = window.limit
            window.on_throttled(now, started_at=now - later)
            assert window.limit in {before, max(1, before // 2)}


def test_of_an_hour_only_the_last_moments_are_kept() -> None:
    link = Link(8, lambda n: 20 * MB * n)
    link.run(600)
    assert len(link.window._samples) < 20


@given(st.randoms(use_true_random=False))
def test_a_noisy_line_that_adds_up_is_filled_all_the_same(chance: random.Random) -> None:
    link = Link(8, lambda n: 20 * MB * n, noise=lambda: chance.uniform(0.7, 1.3))
    link.run(15)
    assert link.reached(8) < 4
    assert link.window.limit >= 7
