"""Model of the jobs of a client, learned from earlier responses: durations, stages, percentages."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._polling.job_timeline import completed_stage, precedes

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Ages are counted in bins that grow by this ratio, from the shortest age on (seconds).
_RATIO = 1.1
_SHORTEST = 0.25
_BINS = 140
_EDGES = tuple(_SHORTEST * _RATIO**n for n in range(_BINS))
_WIDTHS = tuple(edge - (0.0 if n == 0 else _EDGES[n - 1]) for n, edge in enumerate(_EDGES))
#: Ends before the moments of the distribution are known.
_MIN_ENDS = 8
#: Ends after which all observations are halved, so that newer ones weigh more.
_HALVED_AT = 2000
#: Prior: a hazard of so many ends per age, with the weight of so many ends.
_PRIOR_RATE = 0.5
_PRIOR_ENDS = 0.3
#: Jobs that must have reached an age for its hazard to be known to be low.
_MIN_EXPOSURE = 0.5
#: The sums are computed again when the observations have grown by this factor.
_REFRESH_FACTOR = 1.1


@define
class DurationModel:
    """Hazard of a running job by its age in seconds, from complete and censored durations.

    Running jobs count for as long as they were observed to run. Without them the first jobs to end
    would make all others look late.
    """

    ends: list[float] = field(factory=lambda: [0.0] * _BINS)
    exposure: list[float] = field(factory=lambda: [0.0] * _BINS)
    count: float = 0.0
    _total: float = 0.0
    _sums: list[float] | None = None
    _moments: tuple[float, float] | None = None
    _summed_at: tuple[float, float] = (0.0, 0.0)

    def observe_running(self, since: float, until: float) -> None:
        """Record that a job was running at the ages `since` to `until`."""
        if until <= since:
            return
        # Running jobs matter most while none has ended: refresh the sums for them, too.
        self._total += math.log((until + _SHORTEST) / (since + _SHORTEST))
        self._expire_sums()
        index = min(bisect_left(_EDGES, since), _BINS - 1)
        while index < _BINS:
            edge = _EDGES[index]
            self.exposure[index] += min(edge, until) - since
            if until <= edge:
                return
            since = edge
            index += 1

    def observe_end(self, age: float) -> None:
        """Record that a job ended at about this age; call `observe_running` up to it before."""
        self.ends[min(bisect_left(_EDGES, age), _BINS - 1)] += 1
        self.count += 1
        if self.count > _HALVED_AT:
            self.count /= 2
            self.ends = [each / 2 for each in self.ends]
            self.exposure = [each / 2 for each in self.exposure]
            self._summed_at = (0.0, 0.0)
        self._expire_sums()

    def _expire_sums(self) -> None:
        ends, total = self._summed_at
        if self.count > _REFRESH_FACTOR * ends or self._total > _REFRESH_FACTOR * total:
            self._sums = self._moments = None

    def hazard_rates(self) -> list[float]:
        """Return the ends per second and job of each bin; fewer ends are smoothed more."""
        reach = max(1, round(10 * max(1.0, self.count) ** (-1 / 3)))
        # Relative to age, because the widths of the bins are.
        relative = [exposure / edge for exposure, edge in zip(self.exposure, _EDGES, strict=True)]
        hazards = []
        for n in range(_BINS):
            ends = exposure = 0.0
            for other in range(max(0, n - reach), min(_BINS, n + reach + 1)):
                weight = 1 - abs(other - n) / (reach + 1)
                ends += weight * self.ends[other]
                exposure += weight * relative[other]
            rate = (ends + _PRIOR_ENDS) / (exposure + _PRIOR_ENDS / _PRIOR_RATE)
            if relative[n] < _MIN_EXPOSURE:
                rate = max(rate, _PRIOR_RATE)
            hazards.append(rate / _EDGES[n])
        return hazards

    @property
    def log_moments(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the logarithm of the duration; None if too few ended."""
        if self.count < _MIN_ENDS:
            return None
        self._refresh_sums()
        return self._moments

    def next_poll_delay(self, age: float, price: float) -> float:
        """Return the delay before the next poll of a job that runs since `age` seconds, in seconds.

        Polls are spaced so that the integral of sqrt(hazard) between polls is constant, which
        minimises the expected delay per poll.

        Args:
            age: Seconds that the job has run.
            price: Seconds of delay that one poll is worth.
        """
        sums = self._refresh_sums()
        aim = _interpolate(sums, age) + math.sqrt(2 * price)
        index = bisect_left(sums, aim)
        if index >= _BINS:
            return math.inf
        below = sums[index - 1] if index else 0.0
        start = _EDGES[index - 1] if index else 0.0
        return max(0.0, start + _WIDTHS[index] * (aim - below) / (sums[index] - below) - age)

    def _refresh_sums(self) -> list[float]:
        """Return the integral of sqrt(hazard) up to each edge; compute `_moments` with it."""
        if self._sums is not None:
            return self._sums
        total, sums = 0.0, []
        alive, weight, mean, square = 1.0, 0.0, 0.0, 0.0
        for hazard, width, edge in zip(self.hazard_rates(), _WIDTHS, _EDGES, strict=True):
            total += math.sqrt(hazard) * width
            sums.append(total)
            ending = alive * (1 - math.exp(-hazard * width))
            middle = math.log(edge - width / 2)
            alive -= ending
            weight += ending
            mean += ending * middle
            square += ending * middle * middle
        mean /= weight
        self._moments = mean, math.sqrt(max(1e-4, square / weight - mean * mean))
        self._sums, self._summed_at = sums, (self.count, self._total)
        return sums


def _interpolate(sums: list[float], age: float) -> float:
    index = bisect_left(_EDGES, age)
    if index >= _BINS:
        return sums[-1]
    below = sums[index - 1] if index else 0.0
    start = _EDGES[index - 1] if index else 0.0
    return below + (sums[index] - below) * (age - start) / _WIDTHS[index]


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
    #: The stage that was last observed after another.
    next_stage: dict[str, str] = field(factory=dict)
    #: By stage: the step of its percentages.
    steps: dict[str, ProgressGranularity] = field(factory=dict)
    unevenness: SpeedVariance = field(factory=SpeedVariance)

    @property
    def has_progress(self) -> bool:
        """Whether percentages between 0 and 100 were observed."""
        return any(steps.count >= _STEPS_SEEN for steps in self.steps.values())

    def observe_stages(self, stages: Sequence[str]) -> None:
        """Record the stages, in order, in which a job was observed that is complete now."""
        entered = [stage for stage in stages if completed_stage(stage) is None]
        for stage, following in itertools.pairwise(entered):
            # A job that was restarted is not evidence of the order of stages.
            if precedes(stage, following):
                self.next_stage[stage] = following

    def step(self, stage: str) -> float:
        """Return the step of the percentages of a stage."""
        steps = self.steps.get(stage)
        return 1.0 if steps is None else steps.step
