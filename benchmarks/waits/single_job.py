"""Simulated waits for one job: how late its end is detected.

The progress of real jobs stalls, jumps and goes backwards. Each pattern below is one such kind of
progress. `next_poll_delay` alone decides when to poll, and a response takes no time.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import statistics
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async import WaitPolicy
from diffio_async._polling.job_timeline import STAGE_DONE, JobTimeline, ProgressSample, with_sample
from diffio_async._polling.next_poll import next_poll_delay
from diffio_async._polling.poll_model import PollModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness import Figures

_ALL = 100.0
#: Share of a job's duration that is spent in the stage before the last.
_PREPARING = 0.1

#: Stage, percentage and queue position that a running job reports.
Reports = tuple[str, float | None, int | None]


def _staged(part: float, percent: Callable[[float], float]) -> Reports:
    """Report one of two stages when a part (0 to 1) of the duration is over."""
    if part < _PREPARING:
        return "pre_processing", float(int(_ALL * part / _PREPARING)), None
    done = int(min(_ALL, max(0.0, percent((part - _PREPARING) / (1 - _PREPARING)))))
    return (
        ("inference" + STAGE_DONE, None, None) if done >= _ALL else ("inference", float(done), None)
    )


def _queued(part: float, share: float, places: int | None) -> Reports:
    """Report a queued job for a share of the duration, then even progress."""
    if part < share:
        return "", None, None if places is None else math.ceil(places * (1 - part / share))
    return _staged((part - share) / (1 - share), lambda done: _ALL * done)


PATTERNS: dict[str, Callable[[float], Reports]] = {
    "even": lambda part: _staged(part, lambda done: min(99, _ALL * done)),
    "even, in steps of 25": lambda part: _staged(part, lambda done: 25 * int(4 * done)),
    "accelerating": lambda part: _staged(part, lambda done: min(99, _ALL * done**3)),
    "decelerating": lambda part: _staged(part, lambda done: min(99, _ALL * (1 - (1 - done) ** 3))),
    "in bursts": lambda part: _staged(
        part, lambda done: min(99, _ALL * (done + math.sin(31 * done) / 31))
    ),
    "frozen at 1 %": lambda part: _staged(part, lambda _: 1),
    "frozen at 54 %": lambda part: _staged(part, lambda done: min(54, 300 * done)),
    "frozen at 99 %": lambda part: _staged(part, lambda done: min(99, 500 * done)),
    "slow, then a leap to the end": lambda part: _staged(
        part,
        lambda done: 20 * done if done < 0.95 else 99,  # noqa: PLR2004
    ),
    "leaps to 90 %, then slow": lambda part: _staged(part, lambda done: 90 + 9 * done),
    "runs backwards": lambda part: _staged(part, lambda done: _ALL * abs(0.9 - 1.6 * done)),
    "restarts twice": lambda part: _staged(part, lambda done: 99 * ((3 * done) % 1)),
    "rests at 100 %": lambda part: _staged(part, lambda done: 300 * done),
    "stages jump": lambda part: _staged(part, lambda _: 0),
    "no progress at all": lambda _: ("running", None, None),
    "queued, then short work": lambda part: _queued(part, 0.95, None),
    "queued with a position, then short work": lambda part: _queued(part, 0.95, 40),
    "queued at position 1 for long": lambda _: ("", None, 1),
}


@frozen
class Detected:
    """Result of one wait: seconds from the end of the job to its detection, and all gaps."""

    delay: float
    #: Seconds waited before each gap, and the gap.
    gaps: list[tuple[float, float]]


def simulate_wait(
    pattern: str,
    duration: float,
    *,
    model: PollModel | None = None,
    start_known: bool = True,
    age: float = 0.0,
    seed: int = 1,
    policy: WaitPolicy | None = None,
) -> Detected:
    """Simulate the wait for one job.

    Args:
        pattern: One of `PATTERNS`.
        duration: Seconds from its creation to its end.
        model: Learned from earlier jobs; updated by this one.
        start_known: Whether the client created the job itself, and so knows its age.
        age: Seconds since its creation when the wait begins.
        seed: Seed of the jitter.
        policy: The defaults if None.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    policy, model = policy or WaitPolicy(), model or PollModel()
    timeline = JobTimeline(
        0.0 if start_known else age, start_known=start_known, watch_started_at=age
    )
    now, gaps = age, list[tuple[float, float]]()
    while True:
        gap = next_poll_delay(policy, timeline, model, now, rng.random())
        gaps.append((now - age, gap))
        now += gap
        if now >= duration:
            model.observe_end(timeline, now, complete=True)
            return Detected(now - duration, gaps)
        later = with_sample(timeline, ProgressSample(now, *PATTERNS[pattern](now / duration)))
        model.observe_sample(timeline, later)
        timeline = later


def delays(
    pattern: str, duration: float, *, jobs: int = 40, model: PollModel | None = None
) -> list[float]:
    """Return the delays of jobs of about this duration, each in a client of its own.

    Each client starts with a copy of `model`.
    """
    durations = [duration * (1 + 0.4 * (number / jobs - 0.5)) for number in range(jobs)]
    return [
        simulate_wait(pattern, each, model=copy.deepcopy(model), seed=number).delay
        for number, each in enumerate(durations)
    ]


def trained_model(pattern: str, duration: float, jobs: int = 25) -> PollModel:
    """Return the model of a client that waited for such jobs, one after another."""
    model = PollModel()
    for number in range(jobs):
        simulate_wait(pattern, duration * (0.85 + 0.3 * number / jobs), model=model, seed=number)
    return model


def rows(durations: Sequence[float] = (0.3, 2.0, 7.0, 20.0, 60.0, 1800.0)) -> Iterator[Figures]:
    """Yield the polls, and the mean and worst delay, of each pattern and duration."""
    for pattern, duration in itertools.product(PATTERNS, durations):
        late = delays(pattern, duration)
        yield {
            "what": f"alone: {pattern}, {duration:g} s",
            "who": "diffio_async",
            "requests": len(simulate_wait(pattern, duration).gaps),
            "delay_mean": statistics.fmean(late),
            "delay_max": max(late),
        }
