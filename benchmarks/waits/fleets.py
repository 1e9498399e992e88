"""Made-up fleets of generations: when each begins and ends, and what it tells on its way."""

from __future__ import annotations

import math
import random

from attrs import evolve, frozen

#: Stages, by the names of the wire.
PREPARING, INFERENCE = "preProcessing", "inference"
_ALL = 100
_WAVES = 2.0
_UNEVEN = 0.06


@frozen(kw_only=True)
class Fleet:
    """What a fleet is made of; the same fleet has the same jobs, always.

    Attributes:
        jobs: How many.
        projects: Over how many projects they are dealt, in turn.
        median: Seconds the middle job runs.
        sigma: Of the durations' logarithms; 0.5 has one job in six run 1.65 times the median.
        within: Where above 0: durations lie evenly within that share about the median instead.
        way: What percentages tell: `even` (as time goes by), `uneven` (faster and slower), `tens`
            (even, in steps of ten), `jumps` (0 while a stage runs, 100 when it is over).
        share: Of the duration that is over when `inference` begins.
        loose: Sigma of that share's logarithm: at 0 every job has the same.
        tail: Of the duration that is left when every percentage has come to 100.
        over: Seconds over which the jobs begin, evenly.
        queue: Seconds a job is queued before it runs, evenly from 0 to this.
        turns: Of the queue in a second, where places in it are told; 0: they are not.
        seed: Another seed, other jobs.
    """

    jobs: int
    projects: int = 1
    median: float = 60.0
    sigma: float = 0.5
    within: float = 0.0
    way: str = "even"
    share: float = 0.1
    loose: float = 0.0
    tail: float = 0.0
    over: float = 0.0
    queue: float = 0.0
    turns: float = 0.0
    seed: int = 1

    def faster(self, speed: float) -> Fleet:
        """The same on a clock that is so many times as fast."""
        return evolve(
            self,
            median=self.median / speed,
            over=self.over / speed,
            queue=self.queue / speed,
            turns=self.turns * speed,
        )

    def made(self) -> list[Job]:
        """Its jobs."""
        chance = random.Random(self.seed)  # noqa: S311 - the same fleet every time
        return [self._job(n, chance) for n in range(self.jobs)]

    def _job(self, number: int, chance: random.Random) -> Job:
        duration = self.median * math.exp(self.sigma * chance.gauss(0, 1))
        if self.within:
            duration = self.median * (1 + self.within * (2 * chance.random() - 1))
        begins = self.over * chance.random()
        runs = begins + self.queue * chance.random()
        share = min(0.9, self.share * math.exp(self.loose * chance.gauss(0, 1)))
        return Job(
            generation_id=f"gen_{number:06d}",
            api_project_id=f"proj_{number % self.projects:06d}",
            begins=begins,
            runs=runs,
            ends=runs + duration,
            share=share,
            tail=self.tail,
            way=self.way,
            phase=2 * math.pi * chance.random(),
            turns=self.turns,
        )


@frozen(kw_only=True)
class Job:
    """One generation: instants in seconds since the fleet's beginning."""

    generation_id: str
    api_project_id: str
    begins: float
    runs: float
    ends: float
    share: float
    way: str
    phase: float
    tail: float = 0.0
    turns: float = 0.0

    def place(self, at: float) -> int | None:
        """How many jobs are before it, where that is told."""
        return math.ceil((self.runs - at) * self.turns) if self.turns and at < self.runs else None

    def told(self, at: float) -> tuple[str, dict[str, int]]:
        """Its status at an instant, and the percentages of its stages."""
        if at >= self.ends:
            return "complete", {PREPARING: _ALL, INFERENCE: _ALL}
        if at < self.runs:
            return "queued", {}
        gone = (at - self.runs) / (self.ends - self.runs) / (1 - self.tail)
        if gone >= 1:
            return "processing", {PREPARING: _ALL, INFERENCE: _ALL}
        if gone < self.share:
            return "processing", {PREPARING: self._percent(gone / self.share)}
        inside = (gone - self.share) / (1 - self.share)
        return "processing", {PREPARING: _ALL, INFERENCE: self._percent(inside)}

    def _percent(self, done: float) -> int:
        if self.way == "jumps":
            return 0
        if self.way == "tens":
            return 10 * int(10 * done)
        if self.way == "uneven":
            wave = 2 * math.pi * _WAVES
            done += _UNEVEN * (math.sin(wave * done + self.phase) - math.sin(self.phase))
        return int(_ALL * min(0.999, max(0.0, done)))
