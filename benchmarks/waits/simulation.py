"""Simulated fleets: requests and delay of `next_poll_delay` and of fixed intervals.

There are no sockets and no event loop. `next_poll_delay` decides when to poll, within the rate
limit, and a response takes no time.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from harness import quantile
from waits.fleets import INFERENCE, PREPARING, Fleet

from diffio_async import WaitPolicy
from diffio_async._polling.job_timeline import STAGE_DONE, JobTimeline, ProgressSample, with_sample
from diffio_async._polling.next_poll import next_poll_delay, rate_limited_gap
from diffio_async._polling.poll_model import PollModel
from diffio_async._protocol.rate_limit import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Figures
    from waits.fleets import Job

_ALL = 100
#: Stages by the names that `sample_from` gives them.
_NAMES = {PREPARING: "pre_processing", INFERENCE: "inference"}


@frozen
class SimulatedPolls:
    """Result of a simulation: the instants of all polls, and the delay of each job."""

    instants: list[float]
    delays: list[float]

    @property
    def requests(self) -> int:
        """Return the number of polls."""
        return len(self.instants)

    @property
    def mean_delay(self) -> float:
        """Return the mean time from an end to its detection, in seconds."""
        return statistics.fmean(self.delays)

    @property
    def p95_delay(self) -> float:
        """Return the 95th percentile of the delays."""
        return quantile(self.delays, 0.95)

    @property
    def max_per_second(self) -> int:
        """Return the largest number of polls within one second."""
        return max_within(self.instants, 1.0)


def max_within(instants: list[float], seconds: float) -> int:
    """Return the largest number of instants within so many seconds."""
    ordered, largest, first = sorted(instants), 0, 0
    for last, instant in enumerate(ordered):
        while instant - ordered[first] >= seconds:
            first += 1
        largest = max(largest, last - first + 1)
    return largest


def simulate_adaptive(
    fleet: Fleet,
    policy: WaitPolicy,
    *,
    limited: bool = True,
    throttled_before: float | None = None,
    seed: int = 1,
) -> SimulatedPolls:
    """Poll each job of a fleet individually, as the scheduler does.

    Args:
        fleet: The jobs.
        policy: The intervals, and the upper bound of the rate limit.
        limited: Whether there is a rate limit.
        throttled_before: Seconds between a throttled poll of earlier jobs and the first of these.
        seed: Seed of the random numbers.
    """
    rng, model, jobs = random.Random(seed), PollModel(), fleet.make_jobs()  # noqa: S311 - no secret
    timelines = [JobTimeline(started_at=job.created_at, start_known=True) for job in jobs]
    queue = [(job.created_at, number) for number, job in enumerate(jobs)]
    heapq.heapify(queue)
    instants: list[float] = []
    delays: list[float] = []
    limiter = RateLimiter(policy.max_polls_per_second, policy.burst)
    if throttled_before is not None:
        limiter.on_throttled(-throttled_before)
    now, late, running = 0.0, 0.0, 0
    while queue:
        run_at, number = heapq.heappop(queue)
        now = max(now, run_at)
        if limited:
            while wait := limiter.wait(now):
                now += wait
            late = min(now - run_at, max(0.0, now - limiter.saturated_since))
            limiter.acquire(now)
            waiting = bool(queue) and queue[0][0] <= now and limiter.wait(now) > 0
            limiter.set_saturated(now, saturated=waiting)
            limiter.on_response(now, 0.0)
        instants.append(now)
        job, timeline = jobs[number], timelines[number]
        running += timeline.last_polled_at is None
        if now >= job.ended_at:
            running -= 1
            delays.append(now - job.ended_at)
            model.observe_end(timeline, now, complete=True)
            continue
        later = with_sample(timeline, _sample(job, now))
        model.observe_sample(timeline, later)
        timelines[number] = later
        rate_gap = rate_limited_gap(policy, running, limiter.rate if limited else math.inf)
        gap = next_poll_delay(policy, later, model, now, rng.random(), rate_gap=rate_gap, late=late)
        heapq.heappush(queue, (now + gap, number))
    return SimulatedPolls(instants, delays)


def _sample(job: Job, at: float) -> ProgressSample:
    status, stages = job.progress_at(at)
    if status == "queued":
        return ProgressSample(at, "", None, job.queue_position(at))
    stage = [*stages][-1]
    if stages[stage] == _ALL:
        return ProgressSample(at, _NAMES[stage] + STAGE_DONE)
    return ProgressSample(at, _NAMES[stage], stages[stage])


def simulate_fixed(fleet: Fleet, interval: float, *, seed: int = 1) -> SimulatedPolls:
    """Poll each job of a fleet in a loop with a fixed interval."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    instants: list[float] = []
    delays: list[float] = []
    for job in fleet.make_jobs():
        # The first poll follows the creation by up to one interval: loops are not synchronised.
        now = job.created_at + interval * rng.random()
        instants.append(now)
        while now < job.ended_at:
            now += interval
            instants.append(now)
        delays.append(now - job.ended_at)
    return SimulatedPolls(instants, delays)


def advantage(fleet: Fleet, adaptive: SimulatedPolls) -> float:
    """Return how many times as many requests a fixed interval takes for the same mean delay."""
    return simulate_fixed(fleet, 2 * adaptive.mean_delay).requests / adaptive.requests


def max_advantage(sigma: float) -> float:
    """Return the largest possible `advantage` if only lognormal durations are known.

    With polls at a rate r(age), requests are ∫ r S and the mean delay is ∫ f / 2r, where f is the
    density of durations and S the share that lasts longer. For a fixed interval the product of the
    two is E[T] / 2, its minimum over all r is (∫ √(f S))² / 2, and the advantage is their quotient.
    """
    step, total = 0.001, 0.0
    for n in range(int(-6 / step), int(6 / step)):
        z = n * step
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        alive = 0.5 * math.erfc(z / math.sqrt(2))
        # With t = exp(sigma z): f dt = density dz, dt = sigma t dz.
        total += math.sqrt(density * alive * sigma * math.exp(sigma * z)) * step
    return math.exp(sigma * sigma / 2) / (total * total)


#: Simulated fleets by name.
FLEETS = {
    "even percentages": Fleet(jobs=1000, progress="even"),
    "even percentages, in tens": Fleet(jobs=1000, progress="tens"),
    "uneven percentages": Fleet(jobs=1000, progress="uneven"),
    "even percentages, 1 % at 100": Fleet(jobs=1000, progress="even", tail=0.01),
    "even percentages, 10 % at 100": Fleet(jobs=1000, progress="even", tail=0.1),
    "stages jump, equal shares": Fleet(jobs=1000, progress="jumps"),
    "stages jump, shares ± 10 %": Fleet(jobs=1000, progress="jumps", preparing_sigma=0.1),
    "stages jump, shares ± 20 %": Fleet(jobs=1000, progress="jumps", preparing_sigma=0.2),
    "stages jump, unpredictable shares": Fleet(jobs=1000, progress="jumps", preparing_sigma=1.0),
}
#: Values of `min_interval` on a curve of delay against requests.
MIN_INTERVALS = (0.25, 0.5, 1.0, 2.0, 4.0)


def rows(jobs: int, median: float) -> Iterator[Figures]:
    """Yield requests and delay of the fleets with the default policy, and the bounds.

    `fixed_interval_ratio` is the factor by which a fixed interval with that delay needs more
    requests; its bound, if only durations are known, has a row for each sigma.
    """
    for sigma in (0.2, 0.3, 0.5, 0.8):
        what = f"durations alone, sigma {sigma}"
        yield {"what": what, "who": "bound", "fixed_interval_ratio": max_advantage(sigma)}
    for throttled_before in (None, 0.0, 120.0):
        after = "" if throttled_before is None else f", {throttled_before:g} s after a 429"
        thousand = Fleet(jobs=jobs, projects=jobs, median=median)
        limited = simulate_adaptive(thousand, WaitPolicy(), throttled_before=throttled_before)
        yield _row(f"a project each, limited{after}", limited, jobs)
    for name, fleet in FLEETS.items():
        for seconds, label in ((0.0, "at once"), (600.0, "over 10 min")):
            sized = evolve(fleet, jobs=jobs, median=median, created_over=seconds)
            adaptive = simulate_adaptive(sized, WaitPolicy(), limited=False)
            ratio = advantage(sized, adaptive)
            yield {**_row(f"{name}, {label}", adaptive, jobs), "fixed_interval_ratio": ratio}


def _row(what: str, polls: SimulatedPolls, jobs: int) -> Figures:
    return {
        "what": what,
        "who": "diffio_async",
        "requests": polls.requests / jobs,
        "delay_mean": polls.mean_delay,
        "delay_p95": polls.p95_delay,
    }
