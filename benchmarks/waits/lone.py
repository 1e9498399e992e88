"""One job that is waited for alone, on a virtual clock: how late its end is detected.

The progress of real jobs stalls, jumps and runs backwards. Each course below is one such way; it is
polled by the pure decision alone. A response takes no time here.
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
from diffio_async._polling.next_poll import estimate_end, next_poll_delay
from diffio_async._polling.poll_model import PollModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_ALL = 100.0
#: Part of a job's life that is spent in the stage before the last.
_PREPARING = 0.1

#: What a running job reports when a part (0 to 1) of its life is over.
Reports = tuple[str, float | None, int | None]


def _staged(part: float, percent: Callable[[float], float]) -> Reports:
    """Two stages, the second of which reports `percent` (0 to 100) of the part that is over."""
    if part < _PREPARING:
        return "pre_processing", float(int(_ALL * part / _PREPARING)), None
    done = int(min(_ALL, max(0.0, percent((part - _PREPARING) / (1 - _PREPARING)))))
    return (
        ("inference" + STAGE_DONE, None, None) if done >= _ALL else ("inference", float(done), None)
    )


def _queued(part: float, share: float, places: int | None) -> Reports:
    """Queued for a share of its life, then even."""
    if part < share:
        return "", None, None if places is None else math.ceil(places * (1 - part / share))
    return _staged((part - share) / (1 - share), lambda done: _ALL * done)


COURSES: dict[str, Callable[[float], Reports]] = {
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
    "starts again twice": lambda part: _staged(part, lambda done: 99 * ((3 * done) % 1)),
    "rests at 100 %": lambda part: _staged(part, lambda done: 300 * done),
    "stages jump": lambda part: _staged(part, lambda _: 0),
    "no progress at all": lambda _: ("running", None, None),
    "queued, then short work": lambda part: _queued(part, 0.95, None),
    "queued with a position, then short work": lambda part: _queued(part, 0.95, 40),
    "queued at position 1 for long": lambda _: ("", None, 1),
}
DURATIONS = (0.05, 0.3, 1.0, 2.0, 3.0, 5.0, 7.0, 12.0, 20.0, 60.0, 300.0, 1800.0)


@frozen
class Detected:
    """How one wait went: seconds from the job's end to the response that told it, and all gaps."""

    late: float
    #: Seconds waited before each gap, and the gap.
    gaps: list[tuple[float, float]]


def waited(
    course: str,
    duration: float,
    *,
    learned: PollModel | None = None,
    fresh: bool = True,
    age: float = 0.0,
    seed: int = 1,
    policy: WaitPolicy | None = None,
) -> Detected:
    """Wait for one job alone.

    Args:
        course: One of `COURSES`.
        duration: Seconds from its creation to its end.
        learned: What the client knows of earlier jobs; it learns from this one.
        fresh: Whether the client created the job itself, and so knows its age.
        age: Seconds since its creation when the wait begins.
        seed: Of the jitter.
        policy: The defaults if None.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    policy, learned = policy or WaitPolicy(), learned or PollModel()
    seen = JobTimeline(0.0 if fresh else age, start_known=fresh, watch_started_at=age)
    now, gaps = age, list[tuple[float, float]]()
    while True:
        gap = next_poll_delay(policy, seen, learned, now, chance.random())
        gaps.append((now - age, gap))
        now += gap
        if now >= duration:
            learned.observe_end(seen, now, complete=True, estimate=estimate_end(seen, learned))
            return Detected(now - duration, gaps)
        told = with_sample(seen, ProgressSample(now, *COURSES[course](now / duration)))
        learned.observe_sample(seen, told)
        seen = told


def delays(
    course: str, duration: float, *, jobs: int = 40, learned: PollModel | None = None
) -> list[float]:
    """Delays of some jobs of about this duration, each waited for alone, in a client of its own.

    Each client knows what `learned` knows, and no more.
    """
    durations = [duration * (1 + 0.4 * (number / jobs - 0.5)) for number in range(jobs)]
    return [
        waited(course, each, learned=copy.deepcopy(learned), seed=number).late
        for number, each in enumerate(durations)
    ]


def taught(course: str, duration: float, jobs: int = 25) -> PollModel:
    """What a client knows that waited for jobs of this kind, one after another."""
    learned = PollModel()
    for number in range(jobs):
        waited(course, duration * (0.85 + 0.3 * number / jobs), learned=learned, seed=number)
    return learned


def lines(durations: Sequence[float] = (0.3, 2.0, 7.0, 20.0, 60.0, 1800.0)) -> Iterator[str]:
    """Polls, and mean and worst delay, of each course and duration."""
    for course, duration in itertools.product(COURSES, durations):
        late, polls = delays(course, duration), len(waited(course, duration).gaps)
        yield (
            f"alone: {course:40} {duration:6g} s  polls {polls:4}  "
            f"delay mean {statistics.fmean(late):6.2f} s, worst {max(late):6.2f} s"
        )
