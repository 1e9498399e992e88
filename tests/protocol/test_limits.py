"""The adaptive limit on simulated links: uploads, downloads, and work without a throughput."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from diffio_async._protocol.limits import MAX_PAUSE, ConcurrencyLimit

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.05
MB = 1_000_000
GB = 1_000_000_000


class Upload:
    """Parts on a link that transfers `rate(n)` bytes per second for `n` of them.

    A new part takes `delay` seconds until its first byte; `busy(n)` is the share of the CPU.
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
        self.limit = ConcurrencyLimit(cap, 2)
        self.rate, self.delay, self.busy, self.noise = rate, delay, busy, noise
        self.now = self.acked = self.cpu_time = 0.0
        self.started: list[float] = []
        self.limits: list[tuple[float, int]] = []

    def run(self, seconds: float) -> None:
        """Continue for `seconds`; parts are always waiting, and a part lasts 1.6 s."""
        end = self.now + seconds
        while self.now < end:
            self.started = [at for at in self.started if self.now - at < 1.6]
            while len(self.started) < self.limit.limit:
                self.started.append(self.now)
            active = sum(self.now - at >= self.delay for at in self.started)
            self.acked += self.rate(active) * TICK * self.noise()
            self.now += TICK
            self.cpu_time += self.busy(active) * TICK
            self.limit.sample(
                self.now,
                int(self.acked),
                saturated=len(self.started) == self.limit.limit,
                cpu_time=self.cpu_time,
            )
            self.limits.append((self.now, self.limit.limit))

    def reached(self, limit: int) -> float:
        """Return when it first reached a limit."""
        return next(now for now, at in self.limits if at >= limit)


@pytest.mark.parametrize("cap", [4, 8, 16])
def test_limited_connections_reach_the_cap_at_once(cap: int) -> None:
    """20 MB/s per connection, 40 ms away: before the first part of 32 MiB is sent."""
    upload = Upload(cap, lambda n: 20 * MB * n)
    upload.run(10)
    assert upload.limit.limit == cap
    assert upload.reached(cap) < 1.2
    assert upload.acked > 0.85 * 10 * cap * 20 * MB


@pytest.mark.parametrize("full", [5, 12, 40])
def test_more_connections_are_not_kept_on_a_saturated_link(full: float) -> None:
    """One connection saturates a link of `full` MB/s."""
    upload = Upload(8, lambda n: full * MB * (n > 0))
    upload.run(60)
    over = sum(limit > 2 for _, limit in upload.limits)
    assert upload.limit.limit <= 4
    assert over / len(upload.limits) < 0.25


def test_a_link_that_four_connections_saturate_is_saturated() -> None:
    upload = Upload(16, lambda n: min(80, 20 * n) * MB)
    upload.run(30)
    assert upload.reached(4) < 0.6
    assert upload.acked > 0.95 * 80 * MB * 29
    assert sum(limit > 8 for _, limit in upload.limits) == 0


def test_one_connection_is_enough_if_the_cpu_is_the_bottleneck() -> None:
    upload = Upload(8, lambda n: 900 * MB * (n > 0), busy=lambda n: 1.0)
    upload.run(5)
    assert max(limit for _, limit in upload.limits) <= 2
    assert upload.limit.limit == 1


@pytest.mark.parametrize("seed", range(8))
def test_no_larger_limit_is_probed_on_a_fast_link(seed: int) -> None:
    """On a machine with other work, the loop does not look busy and rates vary."""
    chance = random.Random(seed)
    upload = Upload(8, lambda n: 400 * MB * (n > 0), noise=lambda: chance.uniform(0.6, 1.6))
    upload.run(30)
    assert max(limit for _, limit in upload.limits) == 2


def test_a_long_link_gets_time_to_fill() -> None:
    """A new connection takes half a second until its first byte."""
    upload = Upload(8, lambda n: 5 * MB * n, delay=0.5)
    upload.run(10)
    assert upload.limit.limit == 8
    assert upload.reached(8) < 4


def test_a_link_that_becomes_faster_is_used() -> None:
    """A limit that brought no gain is probed again later."""
    limit = [10.0]
    upload = Upload(8, lambda n: min(limit[0], 10 * n) * MB)
    upload.run(20)
    assert upload.limit.limit <= 4
    limit[0] = 80.0
    upload.run(90)
    assert upload.limit.limit == 8


def test_a_probe_is_evaluated_by_the_rate_after_a_break() -> None:
    """Nothing was in flight for a while: that does not mean that the larger limit has no gain."""
    upload = Upload(8, lambda n: 20 * MB * n)
    while upload.limit.limit < 4:
        upload.run(TICK)
    upload.limit.sample(upload.now, int(upload.acked), saturated=False, cpu_time=upload.cpu_time)
    upload.now += 60
    upload.started.clear()
    before = len(upload.limits)
    upload.run(3)
    assert min(limit for _, limit in upload.limits[before:]) == 4
    assert upload.limit.limit == 8


def test_only_recent_samples_are_kept() -> None:
    upload = Upload(8, lambda n: 20 * MB * n)
    upload.run(600)
    assert len(upload.limit._samples) < 20


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_noise_does_not_prevent_growth(chance: random.Random) -> None:
    upload = Upload(8, lambda n: 20 * MB * n, noise=lambda: chance.uniform(0.7, 1.3))
    upload.run(15)
    assert upload.reached(8) < 4
    assert upload.limit.limit >= 7


@define
class Download:
    """One download over several connections, which start at 1.

    Attributes:
        each: Bytes per second of one connection at most.
        total: Bytes per second of all connections at most.
        opens: Seconds from opening a connection to its first byte.
        busy: Share of the time that the loop's thread works.
    """

    each: float
    total: float
    size: int = GB
    max: int = 8
    opens: float = 0.16
    busy: float = 0.3
    limits: list[int] = field(factory=lambda: [1])
    seconds: float = 0.0

    def run(self) -> list[int]:
        """Download everything; return the limits, in order."""
        limit, done = ConcurrencyLimit(self.max, probe_interval=60.0), 0.0
        opened = [0.0]
        while done < self.size:
            self.seconds += 0.1
            active = sum(self.seconds >= since + self.opens for since in opened)
            done += 0.1 * min(active * self.each, self.total)
            limit.sample(
                self.seconds,
                int(done),
                saturated=active >= limit.limit,
                cpu_time=self.busy * self.seconds,
                remaining=max(0.0, self.size - done),
            )
            if limit.limit != self.limits[-1]:
                self.limits.append(limit.limit)
            while len(opened) < limit.limit:
                opened.append(self.seconds)
        return self.limits


@pytest.mark.parametrize(
    ("max_connections", "limits"), [(8, [1, 2, 4, 8]), (6, [1, 2, 4, 6]), (1, [1])]
)
def test_a_download_over_limited_connections_doubles_them(
    max_connections: int, limits: list[int]
) -> None:
    download = Download(each=20 * MB, total=2000 * MB, max=max_connections)
    assert download.run() == limits
    assert download.seconds < 1.35 * GB / (20 * MB * max_connections)


def test_a_download_over_a_saturated_link_gives_up_the_second_connection() -> None:
    """A larger limit is probed once a minute."""
    assert Download(each=20 * MB, total=20 * MB, size=GB // 5).run() == [1, 2, 1]
    long = Download(each=20 * MB, total=20 * MB, size=4 * GB)
    assert long.run()[:5] == [1, 2, 1, 2, 1]
    assert len(long.limits) <= 3 + 2 * long.seconds / 60
    assert Download(each=20 * MB, total=50 * MB).run()[:4] == [1, 2, 4, 2]


@pytest.mark.parametrize(
    "download",
    [
        Download(each=400 * MB, total=700 * MB),
        Download(each=20 * MB, total=200 * MB, size=30_000_000),
        Download(each=60 * MB, total=60 * MB, busy=0.9),
    ],
    ids=["fast", "nearly done", "slow CPU"],
)
def test_a_download_without_need_gets_no_second_connection(download: Download) -> None:
    assert download.run() == [1]


def test_a_download_over_a_long_link_is_measured_when_its_connections_transfer() -> None:
    assert Download(each=5 * MB, total=2000 * MB, opens=1.5).run() == [1, 2, 4, 8]


@pytest.mark.parametrize("active", [False, True])
def test_a_stalled_download_gets_no_second_connection(active: bool) -> None:
    limit = ConcurrencyLimit(8)
    for step in range(200):
        limit.sample(step / 10, 0, saturated=active, cpu_time=0.0)
    assert limit.limit == 1


def test_throttling_halves_once_for_all_operations_in_flight() -> None:
    limit = ConcurrencyLimit(16, 16)
    for _ in range(16):
        limit.on_throttled(10.0, started_at=9.0)
    assert limit.limit == 8
    limit.on_throttled(11.0, started_at=10.5)
    assert limit.limit == 4
    for later in range(12, 20):
        limit.on_throttled(later, started_at=later - 0.5)
    assert limit.limit == 1


def test_a_throttled_limit_is_not_probed_for_a_while() -> None:
    limit = ConcurrencyLimit(8, 8, probe_interval=60.0)
    limit.on_throttled(100.0, started_at=99.0)
    for step in range(550):
        limit.sample(100.0 + step / 10, step * 10**6, saturated=True, cpu_time=0.0)
        assert limit.limit == 4


def test_a_throttled_upload_grows_by_one() -> None:
    upload = Upload(8, lambda n: 20 * MB * n)
    upload.run(2)
    assert upload.limit.limit == 8
    upload.limit.on_throttled(upload.now, started_at=upload.now - 1)
    assert upload.limit.limit == 4
    before = len(upload.limits)
    upload.run(20)
    limits = [limit for _, limit in upload.limits[before:]]
    assert limits == sorted(limits)
    assert {after - limit for limit, after in pairwise(limits)} == {0, 1}
    assert limits[-1] == 8


def test_success_grows_by_one_and_by_one_per_round_after_throttling() -> None:
    limit = ConcurrencyLimit(32, 8)
    for _ in range(24):
        limit.on_success()
    assert limit.limit == 32
    limit.on_throttled(1.0, started_at=0.0)
    for _ in range(16):
        assert limit.limit == 16
        limit.on_success()
    assert limit.limit == 17


def test_consecutive_failures_pause_longer_up_to_a_minute() -> None:
    limit, now, pauses = ConcurrencyLimit(8), 100.0, list[float]()
    for _ in range(9):
        limit.on_failure(now)
        limit.on_failure(now)  # started before the pause, which it does not extend
        pauses.append(limit.remaining_pause(now))
        now += pauses[-1]
        assert limit.remaining_pause(now) == 0
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert limit.failing_since == 100.0
    limit.on_success()
    limit.on_failure(now)
    assert limit.failing_since == now
    assert limit.remaining_pause(now) == 1


def test_a_requested_pause_is_extended_but_not_shortened() -> None:
    limit = ConcurrencyLimit(8)
    assert limit.remaining_pause(0.0) == 0
    assert limit.pause(0.0, 5.0)
    assert not limit.pause(1.0, 2.0)
    assert limit.remaining_pause(1.0) == 4
    assert limit.pause(1.0, 1e9)
    assert limit.remaining_pause(1.0) == MAX_PAUSE


@define
class Step:
    """One event at `seconds` after the last one."""

    seconds: float
    done: int
    saturated: bool
    cpu_time: float
    remaining: float
    event: str


STEPS = st.lists(
    st.builds(
        Step,
        st.floats(0.0, 3.0),
        st.integers(0, 10**10),
        st.booleans(),
        st.floats(0.0, 1.5),
        st.one_of(st.just(math.inf), st.floats(0, 1e10)),
        st.sampled_from(["sample", "sample", "success", "throttled", "failure"]),
    ),
    max_size=200,
)


@given(cap=st.integers(1, 64), initial=st.integers(1, 64), steps=STEPS)
def test_the_limit_stays_within_its_bounds(cap: int, initial: int, steps: list[Step]) -> None:
    limit, now, done = ConcurrencyLimit(cap, initial), 0.0, 0
    cpu_time = 0.0
    assert limit.limit == min(initial, cap)
    for step in steps:
        now, done, before = now + step.seconds, done + step.done, limit.limit
        cpu_time += step.cpu_time
        match step.event:
            case "sample":
                limit.sample(
                    now,
                    done,
                    saturated=step.saturated,
                    cpu_time=cpu_time,
                    remaining=step.remaining,
                )
                assert limit.limit <= 2 * before
            case "success":
                limit.on_success()
                assert limit.limit in {before, before + 1}
            case "throttled":
                limit.on_throttled(now, started_at=now - step.seconds)
                assert limit.limit in {before, max(1, before // 2)}
            case _:
                limit.on_failure(now)
                assert limit.limit == before
                assert limit.remaining_pause(now) > 0
        assert 1 <= limit.limit <= cap
        assert 0 <= limit.remaining_pause(now) <= MAX_PAUSE
