"""Fleets on a virtual clock, asked by the pure decision alone: requests against delay.

No socket, no loop: what `next_poll_delay` decides, under a budget, and what that costs beside a
fixed beat. An answer takes no time here.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from waits.fleets import INFERENCE, PREPARING, Fleet

from diffio_async import WaitPolicy
from diffio_async._polling.job_timeline import STAGE_DONE, JobTimeline, ProgressSample, with_sample
from diffio_async._polling.next_poll import estimate_end, next_poll_delay, rate_limited_gap
from diffio_async._polling.poll_model import PollModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waits.fleets import Job

_ALL = 100
#: Stages by the names that `sample_from` gives them.
_NAMES = {PREPARING: "pre_processing", INFERENCE: "inference"}


@frozen
class Asked:
    """What it cost to wait for a fleet: instants of all questions, and each job's delay."""

    instants: list[float]
    delays: list[float]

    @property
    def requests(self) -> int:
        """How many questions were asked."""
        return len(self.instants)

    @property
    def mean(self) -> float:
        """Seconds from an end to the answer that told it."""
        return statistics.fmean(self.delays)

    @property
    def p95(self) -> float:
        """The delay that one in twenty exceeds."""
        return quantile(self.delays, 0.95)

    @property
    def most_in_a_second(self) -> int:
        """Questions in the worst second."""
        return most_within(self.instants, 1.0)


def quantile(values: list[float], share: float) -> float:
    """The value that so many of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def most_within(instants: list[float], seconds: float) -> int:
    """The most of them that lie within so many seconds."""
    ordered, most, first = sorted(instants), 0, 0
    for last, instant in enumerate(ordered):
        while instant - ordered[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def asked_by_us(fleet: Fleet, policy: WaitPolicy, *, seed: int = 1) -> Asked:
    """Wait for a fleet as the pacer does, one question a job, within the policy's budget."""
    chance, learned, jobs = random.Random(seed), PollModel(), fleet.made()  # noqa: S311 - no secret
    courses = [JobTimeline(started_at=job.begins, start_known=True) for job in jobs]
    due = [(job.begins, number) for number, job in enumerate(jobs)]
    heapq.heapify(due)
    instants: list[float] = []
    delays: list[float] = []
    # The instant up to which the budget is spent: a bucket that holds `burst` questions.
    spent, waiting = 0.0, 0
    while due:
        wanted, number = heapq.heappop(due)
        now = max(wanted, spent - policy.burst / policy.max_polls_per_second)
        spent = max(spent, now) + 1 / policy.max_polls_per_second
        instants.append(now)
        job, course = jobs[number], courses[number]
        waiting += course.last_polled_at is None
        if now >= job.ends:
            waiting -= 1
            delays.append(now - job.ends)
            learned.observe_end(course, now, complete=True, estimate=estimate_end(course, learned))
            continue
        told = with_sample(course, _reading(job, now))
        learned.observe_sample(course, told)
        courses[number] = told
        rate_gap = rate_limited_gap(policy, waiting, policy.max_polls_per_second)
        gap = next_poll_delay(policy, told, learned, now, chance.random(), rate_gap=rate_gap)
        heapq.heappush(due, (now + gap, number))
    return Asked(instants, delays)


def _reading(job: Job, at: float) -> ProgressSample:
    status, stages = job.told(at)
    if status == "queued":
        return ProgressSample(at, "", None, job.place(at))
    stage = [*stages][-1]
    if stages[stage] == _ALL:
        return ProgressSample(at, _NAMES[stage] + STAGE_DONE)
    return ProgressSample(at, _NAMES[stage], stages[stage])


def asked_on_a_beat(fleet: Fleet, beat: float, *, seed: int = 1) -> Asked:
    """Wait for a fleet as loops do that ask every `beat` seconds."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    instants: list[float] = []
    delays: list[float] = []
    for job in fleet.made():
        # The first question follows the start by anything up to a beat: loops are not in step.
        now = job.begins + beat * chance.random()
        instants.append(now)
        while now < job.ends:
            now += beat
            instants.append(now)
        delays.append(now - job.ends)
    return Asked(instants, delays)


def advantage(fleet: Fleet, ours: Asked) -> float:
    """How many times as many requests a fixed beat takes for the same mean delay."""
    return asked_on_a_beat(fleet, 2 * ours.mean).requests / ours.requests


def bound(sigma: float) -> float:
    """The most `advantage` can be by knowledge of lognormal durations alone.

    With questions at a rate r(age), requests are ∫ r S and the mean delay is ∫ f / 2r, where f is
    the density of durations and S the share that lasts longer. A beat's product of the two is
    E[T] / 2, the least of any r is (∫ √(f S))² / 2, and the advantage is their quotient.
    """
    step, total = 0.001, 0.0
    for n in range(int(-6 / step), int(6 / step)):
        z = n * step
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        alive = 0.5 * math.erfc(z / math.sqrt(2))
        # With t = exp(sigma z): f dt = density dz, dt = sigma t dz.
        total += math.sqrt(density * alive * sigma * math.exp(sigma * z)) * step
    return math.exp(sigma * sigma / 2) / (total * total)


#: What is simulated: a name, and what differs from even percentages.
FLEETS = {
    "even percentages": Fleet(jobs=1000, way="even"),
    "even percentages, in tens": Fleet(jobs=1000, way="tens"),
    "uneven percentages": Fleet(jobs=1000, way="uneven"),
    "even percentages, 1 % at 100": Fleet(jobs=1000, way="even", tail=0.01),
    "even percentages, 10 % at 100": Fleet(jobs=1000, way="even", tail=0.1),
    "stages jump, shares alike": Fleet(jobs=1000, way="jumps"),
    "stages jump, shares ± 10 %": Fleet(jobs=1000, way="jumps", loose=0.1),
    "stages jump, shares ± 20 %": Fleet(jobs=1000, way="jumps", loose=0.2),
    "stages jump, shares tell nothing": Fleet(jobs=1000, way="jumps", loose=1.0),
}
#: The knob of the curve: a question costs as much as a share of the shortest pause.
FIRSTS = (0.25, 0.5, 1.0, 2.0, 4.0)
UNLIMITED = WaitPolicy(max_polls_per_second=1e6)


def lines(jobs: int, median: float) -> Iterator[str]:
    """What the fleets cost with the policy's defaults, and the bound, in words."""
    bounds = ", ".join(f"{sigma}: {bound(sigma):.2f}" for sigma in (0.2, 0.3, 0.5, 0.8))
    yield f"most that durations alone can gain over a beat, by sigma: {bounds}"
    for name, fleet in FLEETS.items():
        for over, begun in ((0.0, "at once"), (600.0, "over 10 min")):
            sized = evolve(fleet, jobs=jobs, median=median, over=over)
            ours = asked_by_us(sized, UNLIMITED)
            yield (
                f"{name:33} {begun:12} requests/job {ours.requests / jobs:5.1f}  "
                f"delay mean {ours.mean:5.2f} s, p95 {ours.p95:5.2f} s  "
                f"a beat of that delay asks {advantage(sized, ours):4.1f} times as often"
            )
