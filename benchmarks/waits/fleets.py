"""Synthetic fleets of jobs: when each is created, starts and ends, and its progress."""

from __future__ import annotations

import math
import random

from attrs import evolve, frozen

#: Stages by the names of the API.
PREPARING, INFERENCE = "preProcessing", "inference"
_ALL = 100
_WAVES = 2.0
_UNEVEN = 0.06


@frozen(kw_only=True)
class Fleet:
    """Parameters of a fleet of jobs; equal parameters give equal jobs.

    Attributes:
        jobs: Number of jobs.
        projects: Number of projects among which the jobs are divided.
        median: Median duration in seconds.
        sigma: Standard deviation of the logarithms of durations. With 0.5, one job in six runs for
            more than 1.65 times the median.
        spread: If above 0, durations are uniform within this share of the median instead.
        progress: How percentages grow: `even` (in proportion to time), `uneven` (faster and
            slower), `tens` (even, in steps of ten), `jumps` (0 while a stage runs, then 100).
        preparing_share: Share of the duration before `inference` starts.
        preparing_sigma: Standard deviation of the logarithm of that share; 0: all jobs have the
            same.
        tail: Share of the duration for which all percentages are already 100.
        created_over: Seconds during which the jobs are created, uniformly.
        queue: Maximum seconds that a job is queued before it runs, uniformly from 0.
        queue_rate: Jobs that leave the queue per second, if positions are reported; 0: they are
            not.
        seed: Seed of the random numbers.
    """

    jobs: int
    projects: int = 1
    median: float = 60.0
    sigma: float = 0.5
    spread: float = 0.0
    progress: str = "even"
    preparing_share: float = 0.1
    preparing_sigma: float = 0.0
    tail: float = 0.0
    created_over: float = 0.0
    queue: float = 0.0
    queue_rate: float = 0.0
    seed: int = 1

    def faster(self, speed: float) -> Fleet:
        """Return the same fleet on a clock that is `speed` times as fast."""
        return evolve(
            self,
            median=self.median / speed,
            created_over=self.created_over / speed,
            queue=self.queue / speed,
            queue_rate=self.queue_rate * speed,
        )

    def make_jobs(self) -> list[Job]:
        """Return the jobs."""
        rng = random.Random(self.seed)  # noqa: S311 - the same fleet every time
        return [self._job(n, rng) for n in range(self.jobs)]

    def _job(self, number: int, rng: random.Random) -> Job:
        duration = self.median * math.exp(self.sigma * rng.gauss(0, 1))
        if self.spread:
            duration = self.median * (1 + self.spread * (2 * rng.random() - 1))
        created_at = self.created_over * rng.random()
        started_at = created_at + self.queue * rng.random()
        share = min(0.9, self.preparing_share * math.exp(self.preparing_sigma * rng.gauss(0, 1)))
        return Job(
            generation_id=f"gen_{number:06d}",
            api_project_id=f"proj_{number % self.projects:06d}",
            created_at=created_at,
            started_at=started_at,
            ended_at=started_at + duration,
            preparing_share=share,
            tail=self.tail,
            progress=self.progress,
            phase=2 * math.pi * rng.random(),
            queue_rate=self.queue_rate,
        )


@frozen(kw_only=True)
class Job:
    """One generation; instants are in seconds since the start of the fleet."""

    generation_id: str
    api_project_id: str
    created_at: float
    started_at: float
    ended_at: float
    preparing_share: float
    progress: str
    phase: float
    tail: float = 0.0
    queue_rate: float = 0.0

    def queue_position(self, at: float) -> int | None:
        """Return the number of jobs before it in the queue, if that is reported."""
        if not self.queue_rate or at >= self.started_at:
            return None
        return math.ceil((self.started_at - at) * self.queue_rate)

    def progress_at(self, at: float) -> tuple[str, dict[str, int]]:
        """Return the status at an instant, and the percentages of the stages."""
        if at >= self.ended_at:
            return "complete", {PREPARING: _ALL, INFERENCE: _ALL}
        if at < self.started_at:
            return "queued", {}
        part = (at - self.started_at) / (self.ended_at - self.started_at) / (1 - self.tail)
        if part >= 1:
            return "processing", {PREPARING: _ALL, INFERENCE: _ALL}
        if part < self.preparing_share:
            return "processing", {PREPARING: self._percent(part / self.preparing_share)}
        inside = (part - self.preparing_share) / (1 - self.preparing_share)
        return "processing", {PREPARING: _ALL, INFERENCE: self._percent(inside)}

    def _percent(self, done: float) -> int:
        if self.progress == "jumps":
            return 0
        if self.progress == "tens":
            return 10 * int(10 * done)
        if self.progress == "uneven":
            wave = 2 * math.pi * _WAVES
            done += _UNEVEN * (math.sin(wave * done + self.phase) - math.sin(self.phase))
        return int(_ALL * min(0.999, max(0.0, done)))
