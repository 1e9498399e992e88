"""How long the jobs of a client run: learned from those that ended, and those that still run."""

from __future__ import annotations

import math
from bisect import bisect_left

from attrs import define, field

#: Ages are kept in bins that grow by this ratio, from the shortest age on.
_RATIO = 1.1
_SHORTEST = 0.25
_BINS = 140
_EDGES = tuple(_SHORTEST * _RATIO**n for n in range(_BINS))
_WIDTHS = tuple(edge - (0.0 if n == 0 else _EDGES[n - 1]) for n, edge in enumerate(_EDGES))
#: Before so many ends no shape is seen.
_MIN_ENDS = 8
#: After so many, what is older counts half.
_FULL = 2000
#: What is taken for granted: ends at a rate of so many per age, as much as so many ends say.
_PRIOR_RATE = 0.5
_PRIOR_ENDS = 0.3
#: Ages that fewer jobs lived through are unknown: that no younger job ended says nothing of them.
_THIN = 0.5
#: What was made of the ends so far is good for so many times as many.
_REFRESH_AFTER = 1.1


@define
class DurationModel:
    """How likely a running job is to end at which age (seconds), from whole and cut-off lives.

    Jobs that still run count for as long as they were seen running: or else the first to end
    would make all the others look late.
    """

    ends: list[float] = field(factory=lambda: [0.0] * _BINS)
    exposure: list[float] = field(factory=lambda: [0.0] * _BINS)
    count: float = 0.0
    _total: float = 0.0
    _sums: list[float] | None = None
    _shape: tuple[float, float] | None = None
    _known_at: tuple[float, float] = (0.0, 0.0)

    def observe_running(self, since: float, until: float) -> None:
        """A job was running at the ages `since` to `until`."""
        if until <= since:
            return
        # Survivors tell most while none has ended: forget what was summed up without them.
        self._total += math.log((until + _SHORTEST) / (since + _SHORTEST))
        self._forget()
        index = min(bisect_left(_EDGES, since), _BINS - 1)
        while index < _BINS:
            edge = _EDGES[index]
            self.exposure[index] += min(edge, until) - since
            if until <= edge:
                return
            since = edge
            index += 1

    def observe_end(self, age: float) -> None:
        """A job ended at about this age; `alive` was told up to it."""
        self.ends[min(bisect_left(_EDGES, age), _BINS - 1)] += 1
        self.count += 1
        if self.count > _FULL:
            self.count /= 2
            self.ends = [each / 2 for each in self.ends]
            self.exposure = [each / 2 for each in self.exposure]
            self._known_at = (0.0, 0.0)
        self._forget()

    def _forget(self) -> None:
        ends, lived = self._known_at
        if self.count > _REFRESH_AFTER * ends or self._total > _REFRESH_AFTER * lived:
            self._sums = self._shape = None

    def hazard_rates(self) -> list[float]:
        """Ends per second and job, bin by bin, smoothed the more the less is known."""
        reach = max(1, round(10 * max(1.0, self.count) ** (-1 / 3)))
        # In proportion to age: a bin is as wide as its age.
        relative = [lived / edge for lived, edge in zip(self.exposure, _EDGES, strict=True)]
        hazards = []
        for n in range(_BINS):
            ends = lived = 0.0
            for other in range(max(0, n - reach), min(_BINS, n + reach + 1)):
                share = 1 - abs(other - n) / (reach + 1)
                ends += share * self.ends[other]
                lived += share * relative[other]
            rate = (ends + _PRIOR_ENDS) / (lived + _PRIOR_ENDS / _PRIOR_RATE)
            if relative[n] < _THIN:
                rate = max(rate, _PRIOR_RATE)
            hazards.append(rate / _EDGES[n])
        return hazards

    @property
    def log_moments(self) -> tuple[float, float] | None:
        """The mean and the deviation of the logarithms of durations; None: too little is known."""
        if self.count < _MIN_ENDS:
            return None
        self._sum_up()
        return self._shape

    def next_poll_delay(self, age: float, price: float) -> float:
        """Seconds to the next question, of a job that runs since `age` seconds.

        Question by question, the sum of the roots of the hazard is the same: that is the least
        delay for a number of questions.

        Args:
            age: Seconds it ran so far.
            price: Seconds of delay that one question is worth.
        """
        sums = self._sum_up()
        aim = _at(sums, age) + math.sqrt(2 * price)
        index = bisect_left(sums, aim)
        if index >= _BINS:
            return math.inf
        below = sums[index - 1] if index else 0.0
        start = _EDGES[index - 1] if index else 0.0
        return max(0.0, start + _WIDTHS[index] * (aim - below) / (sums[index] - below) - age)

    def _sum_up(self) -> list[float]:
        """The integral of the root of the hazard, by bins; `_shape` is found on the way."""
        if self._sums is not None:
            return self._sums
        total, sums = 0.0, []
        alive, weight, mean, square = 1.0, 0.0, 0.0, 0.0
        for hazard, width, edge in zip(self.hazard_rates(), _WIDTHS, _EDGES, strict=True):
            total += math.sqrt(hazard) * width
            sums.append(total)
            dies = alive * (1 - math.exp(-hazard * width))
            middle = math.log(edge - width / 2)
            alive -= dies
            weight += dies
            mean += dies * middle
            square += dies * middle * middle
        mean /= weight
        self._shape = mean, math.sqrt(max(1e-4, square / weight - mean * mean))
        self._sums, self._known_at = sums, (self.count, self._total)
        return sums


def _at(sums: list[float], age: float) -> float:
    index = bisect_left(_EDGES, age)
    if index >= _BINS:
        return sums[-1]
    below = sums[index - 1] if index else 0.0
    start = _EDGES[index - 1] if index else 0.0
    return below + (sums[index] - below) * (age - start) / _WIDTHS[index]
