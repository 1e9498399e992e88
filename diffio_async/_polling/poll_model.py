"""Model of the jobs of a client, learned from earlier responses: durations, stages, percentages."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._polling.duration_model import DurationModel
from diffio_async._polling.job_timeline import STAGE_DONE, completed_stage, precedes

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Prior mean of the start of a stage that is not the first, and its standard error.
_START_MEAN, _START_ERROR = 0.2, 0.2
#: Standard deviation between jobs: some stages take a time that does not depend on the length.
_START_SPREAD = 0.1
#: Jobs whose weight is remembered.
_START_MEMORY = 100.0


@define
class StageStartModel:
    """Fraction of the duration (0 to 1) that has passed when a stage starts: a weighted mean."""

    mean: float = _START_MEAN
    _precision: float = _START_ERROR**-2

    def add(self, fraction: float, error: float) -> None:
        """Add the fraction of one job, with its standard error."""
        weight = 1 / (error * error + _START_SPREAD * _START_SPREAD)
        self._precision = min(self._precision, _START_MEMORY * weight) + weight
        self.mean += weight / self._precision * (min(1.0, max(0.0, fraction)) - self.mean)

    @property
    def error(self) -> float:
        """Standard error for one more job."""
        return math.hypot(_START_SPREAD, self._precision**-0.5)

    def estimate_total(self, age: float, done: float, rounding: float) -> tuple[float, float]:
        """Return the duration of a job and its standard error, in seconds.

        Args:
            age: Seconds that the job has run.
            done: Fraction of its last stage that is done, 0 to 1.
            rounding: Standard error of `done`.
        """
        passed = self.mean + done * (1 - self.mean)
        error = math.hypot(self.error * (1 - done), rounding * (1 - self.mean))
        return age / passed, age / passed * error / passed


def fraction_before(age: float, done: float, duration: float, error: float) -> tuple[float, float]:
    """Return the fraction of a duration that had passed when the last stage started, and its error.

    Args:
        age: Seconds that the job had run at the last response.
        done: Fraction of its last stage that was done then, 0 to 1.
        duration: Duration of the job in seconds.
        error: Standard error of `duration`.
    """
    passed = age / duration
    return (passed - done) / (1 - done), passed * error / duration / (1 - done)


#: Jobs from which on a fraction is known.
_MIN_JOBS = 3
#: Prior variance of fractions, and the number of jobs that it counts for.
_SHARE_SPREAD = 0.05
_SHARE_COUNT = 2.0
_SHARE_MEMORY = 100.0
#: Prior variance of the speed, and the number of samples that it counts for.
_UNEVEN = 0.02**2
_UNEVEN_COUNT = 2.0
_UNEVEN_MEMORY = 200.0
#: Percentages before their step is known, and the step of fractional ones.
_STEPS_SEEN = 8
FINE = 0.1
#: The time after 100 % is long if less than this fraction of the duration has passed by then.
_LONG_REST = 0.9
#: Share of jobs that must be observed at 100 %, and the number of jobs that is remembered.
_MIN_AT_FULL = 0.1
_AT_FULL_MEMORY = 50.0


@define
class StageFraction:
    """Fraction of the duration that has passed when a job enters a stage: a mean of logarithms.

    Each job is weighted by the precision of its entry and end; `spread` is the variance between
    jobs without these errors.
    """

    count: int = 0
    mean: float = 0.0
    spread: float = _SHARE_SPREAD
    _weight: float = 0.0

    def add(self, fraction: float, error: float) -> None:
        """Add the fraction of one job; `error` is its relative standard error."""
        value = math.log(fraction)
        delta = value - self.mean
        if self.count:
            variance = delta * delta - error * error - 1 / self._weight
            self.spread += (max(-0.01, min(4.0, variance)) - self.spread) / min(
                self.count + _SHARE_COUNT, _SHARE_MEMORY
            )
        weight = 1 / (error * error + max(1e-5, self.spread))
        self._weight = min(self._weight, _SHARE_MEMORY * weight) + weight
        self.mean += weight / self._weight * delta
        self.count += 1

    @property
    def known(self) -> bool:
        """Whether enough jobs were observed."""
        return self.count >= _MIN_JOBS

    @property
    def fraction(self) -> float:
        """The mean, 0 to 1."""
        return math.exp(self.mean)

    @property
    def error(self) -> float:
        """Relative standard error for one more job."""
        return math.sqrt(max(0.0, self.spread) + 1 / self._weight)


@define
class SpeedVariance:
    """Relative variance of the speed of percentages from one sample to the next."""

    square: float = _UNEVEN
    _count: float = _UNEVEN_COUNT

    def add(self, square: float) -> None:
        """Add the squared relative deviation of one sample."""
        self._count = min(self._count + 1, _UNEVEN_MEMORY)
        self.square += (min(1.0, square) - self.square) / self._count

    @property
    def error(self) -> float:
        """Relative standard error of the speed."""
        return math.sqrt(max(0.0, self.square))


@define
class ProgressGranularity:
    """Step of the percentages of a stage: whole numbers, tens, or finer."""

    count: int = 0
    common_divisor: int = 0
    integral: bool = True

    def add(self, percent: float) -> None:
        """Add a percentage between 0 and 100."""
        self.count += 1
        if not float(percent).is_integer():
            self.integral = False
        else:
            self.common_divisor = math.gcd(self.common_divisor, int(percent))

    @property
    def known(self) -> bool:
        """Whether enough percentages were observed to know the step."""
        return not self.integral or self.count >= _STEPS_SEEN

    @property
    def step(self) -> float:
        """The step; 1 until more is known."""
        if not self.integral:
            return FINE
        return float(self.common_divisor) if self.known else 1.0


@define
class PollModel:
    """Everything learned of the jobs of a client; ages are seconds since a job left the queue."""

    durations: DurationModel = field(factory=DurationModel)
    #: By stage: the fraction of the duration that has passed when it starts.
    shares: dict[str, StageFraction] = field(factory=dict)
    #: By stage: the same, estimated from the percentages of single responses.
    entrances: dict[str, StageStartModel] = field(factory=dict)
    #: The stage that was last observed after another.
    next_stage: dict[str, str] = field(factory=dict)
    #: By stage: the share of recent jobs that were observed at its 100 %, 0 to 1.
    seen_at_full: dict[str, float] = field(factory=dict)
    #: By stage: the step of its percentages.
    steps: dict[str, ProgressGranularity] = field(factory=dict)
    unevenness: SpeedVariance = field(factory=SpeedVariance)

    @property
    def has_progress(self) -> bool:
        """Whether percentages between 0 and 100 were observed."""
        return any(steps.count >= _STEPS_SEEN for steps in self.steps.values())

    def after(self, stage: str) -> str | None:
        """Return the next stage; for the last stage, the time after its 100 % if that is long.

        The time after 100 % only counts if a good share of the jobs is observed in it.
        """
        following = self.next_stage.get(stage)
        if following is not None:
            return following
        rest = self.shares.get(stage + STAGE_DONE)
        long = rest is not None and rest.known and rest.fraction < _LONG_REST
        return (
            stage + STAGE_DONE
            if long and self.seen_at_full.get(stage, 0.0) >= _MIN_AT_FULL
            else None
        )

    def observe_stages(self, stages: Sequence[str]) -> None:
        """Record the stages, in order, in which a job was observed that is complete now."""
        entered = [stage for stage in stages if completed_stage(stage) is None]
        for stage in entered:
            share = self.seen_at_full.get(stage, 0.0)
            self.seen_at_full[stage] = (
                share + (float(stage + STAGE_DONE in stages) - share) / _AT_FULL_MEMORY
            )
        for stage, following in itertools.pairwise(entered):
            # A job that was restarted is not evidence of the order of stages.
            if precedes(stage, following):
                self.next_stage[stage] = following

    def step(self, stage: str) -> float:
        """Return the step of the percentages of a stage."""
        steps = self.steps.get(stage)
        return 1.0 if steps is None else steps.step
