"""What earlier jobs of a client taught about those to come: durations, and when stages begin."""

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
#: Before so many ends nothing was learned.
ENOUGH = 8
_FEW = 3
#: After so many, what is older counts half.
_FULL = 2000
#: What is taken for granted: ends at a rate of so many per age, as much as so many ends say.
_PRIOR_RATE = 0.7
_PRIOR_ENDS = 0.3


@define
class Durations:
    """How likely a running job is to end at which age (seconds), from whole and cut-off lives.

    Jobs that still run count for as long as they were seen running: or else the first to end
    would make all the others look late.
    """

    ends: list[float] = field(factory=lambda: [0.0] * _BINS)
    lived: list[float] = field(factory=lambda: [0.0] * _BINS)
    count: float = 0.0
    _sums: list[float] | None = None
    _known_at: float = 0.0

    def alive(self, since: float, until: float) -> None:
        """A job was running at the ages `since` to `until`."""
        if until <= since:
            return
        index = min(bisect_left(_EDGES, since), _BINS - 1)
        while index < _BINS:
            edge = _EDGES[index]
            self.lived[index] += min(edge, until) - since
            if until <= edge:
                return
            since = edge
            index += 1

    def ended(self, age: float) -> None:
        """A job ended at about this age; `alive` was told up to it."""
        self.ends[min(bisect_left(_EDGES, age), _BINS - 1)] += 1
        self.count += 1
        if self.count > _FULL:
            self.count /= 2
            self.ends = [each / 2 for each in self.ends]
            self.lived = [each / 2 for each in self.lived]
        if self._sums is not None and self.count > 1.02 * self._known_at:
            self._sums = None

    @property
    def enough(self) -> bool:
        """Whether there is anything to go by."""
        return self.count >= ENOUGH

    def hazards(self) -> list[float]:
        """Ends per second and job, bin by bin, smoothed the more the less is known."""
        reach = max(1, round(10 * max(1.0, self.count) ** (-1 / 3)))
        hazards = []
        for n in range(_BINS):
            ends = lived = 0.0
            for other in range(max(0, n - reach), min(_BINS, n + reach + 1)):
                share = 1 - abs(other - n) / (reach + 1)
                # In proportion to age: a bin is as wide as its age.
                ends += share * self.ends[other]
                lived += share * self.lived[other] / _EDGES[other]
            relative = (ends + _PRIOR_ENDS) / (lived + _PRIOR_ENDS / _PRIOR_RATE)
            hazards.append(relative / _EDGES[n])
        return hazards

    def gap(self, age: float, price: float) -> float:
        """Seconds to the next question, of a job that runs since `age` seconds.

        Question by question, the sum of the roots of the hazard is the same: that is the least
        delay for a number of questions.

        Args:
            age: Seconds it ran so far.
            price: Seconds of delay that one question is worth.
        """
        if self._sums is None:
            total, sums = 0.0, []
            for hazard, width in zip(self.hazards(), _WIDTHS, strict=True):
                total += math.sqrt(hazard) * width
                sums.append(total)
            self._sums, self._known_at = sums, self.count
        sums = self._sums
        aim = _at(sums, age) + math.sqrt(2 * price)
        index = bisect_left(sums, aim)
        if index >= _BINS:
            return math.inf
        below = sums[index - 1] if index else 0.0
        start = _EDGES[index - 1] if index else 0.0
        return max(0.0, start + _WIDTHS[index] * (aim - below) / (sums[index] - below) - age)


def _at(sums: list[float], age: float) -> float:
    index = bisect_left(_EDGES, age)
    if index >= _BINS:
        return sums[-1]
    below = sums[index - 1] if index else 0.0
    start = _EDGES[index - 1] if index else 0.0
    return below + (sums[index] - below) * (age - start) / _WIDTHS[index]


@define
class Share:
    """The part of a job's life that is over when it enters a stage: a mean of logarithms."""

    count: float = 0.0
    mean: float = 0.0
    spread: float = 0.0

    def add(self, fraction: float) -> None:
        """One more job's."""
        value = math.log(fraction)
        self.count = min(self.count + 1, 50.0)
        delta = value - self.mean
        self.mean += delta / self.count
        self.spread += (delta * (value - self.mean) - self.spread) / self.count

    @property
    def known(self) -> bool:
        """Whether there is anything to go by."""
        return self.count >= _FEW

    @property
    def fraction(self) -> float:
        """0 to 1."""
        return math.exp(self.mean)

    @property
    def error(self) -> float:
        """The relative standard error of one more job's; large while little is known."""
        return math.sqrt(max(0.0, self.spread) + 0.25 / max(1.0, self.count) ** 2)


@define
class Learned:
    """All that a client learned of its jobs; times are seconds since a job left the queue."""

    durations: Durations = field(factory=Durations)
    #: By stage: how much of a life is over when it begins.
    shares: dict[str, Share] = field(factory=dict)
    #: The stage that was last seen to follow another.
    following: dict[str, str] = field(factory=dict)
