"""What earlier answers taught a client about jobs to come."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._polling.duration_model import DurationModel
from diffio_async._polling.job_timeline import STAGE_DONE, completed_stage, precedes

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What is taken for granted of a stage that is not the first, and how sure that is.
_PART, _PART_ERROR = 0.2, 0.2
#: How far one job is from another: preparing takes its time whatever the recording's length.
_SPREAD = 0.1
#: So many jobs are remembered.
_MEMORY = 100.0


@define
class StageStartModel:
    """The part of a life (0 to 1) that is over when a stage begins; jobs count as they tell."""

    mean: float = _PART
    _precision: float = _PART_ERROR**-2

    def add(self, part: float, error: float) -> None:
        """One more job's, with its standard error."""
        weight = 1 / (error * error + _SPREAD * _SPREAD)
        self._precision = min(self._precision, _MEMORY * weight) + weight
        self.mean += weight / self._precision * (min(1.0, max(0.0, part)) - self.mean)

    @property
    def error(self) -> float:
        """The standard error of one more job's."""
        return math.hypot(_SPREAD, self._precision**-0.5)

    def estimate_total(self, age: float, done: float, cut_off: float) -> tuple[float, float]:
        """How long a job lasts, and the standard error: seconds.

        Args:
            age: Seconds it ran so far.
            done: The part of its last stage that is done, 0 to 1.
            cut_off: The standard error of that.
        """
        gone = self.mean + done * (1 - self.mean)
        error = math.hypot(self.error * (1 - done), cut_off * (1 - self.mean))
        return age / gone, age / gone * error / gone


def fraction_before(age: float, done: float, whole: float, error: float) -> tuple[float, float]:
    """The part of a life that was over when its last stage began, and the standard error.

    Args:
        age: Seconds the job had run.
        done: The part of its last stage that was done then, 0 to 1.
        whole: Seconds it lasted in the end, known to within `error`.
        error: Its standard error.
    """
    gone = age / whole
    return (gone - done) / (1 - done), gone * error / whole / (1 - done)


_FEW = 3
#: A spread of shares that is taken for granted, as much as so many jobs tell.
_SHARE_SPREAD = 0.05
_SHARE_COUNT = 2.0
_SHARE_MEMORY = 100.0
#: How uneven percentages are taken to run, as much as so many answers tell.
_UNEVEN = 0.02**2
_UNEVEN_COUNT = 2.0
_UNEVEN_MEMORY = 200.0
#: So many percentages are looked at before their step is believed.
_STEPS_SEEN = 8
FINE = 0.1
#: What is left of a life at 100 % is long where less than this is over by then.
_LONG = 0.9
#: Not a few jobs: so many of the last ones.
_OFTEN = 0.1
_CAUGHT_MEMORY = 50.0


@define
class StageFraction:
    """The part of a job's life that is over when it enters a stage: a mean of logarithms.

    Each job counts by how well its entry and its end were seen, and `spread` (a variance) is what
    is left when that is taken off.
    """

    count: int = 0
    mean: float = 0.0
    spread: float = _SHARE_SPREAD
    _weight: float = 0.0

    def add(self, fraction: float, error: float) -> None:
        """One more job's; `error` is the relative standard error it was seen with."""
        value = math.log(fraction)
        delta = value - self.mean
        if self.count:
            seen = delta * delta - error * error - 1 / self._weight
            self.spread += (max(-0.01, min(4.0, seen)) - self.spread) / min(
                self.count + _SHARE_COUNT, _SHARE_MEMORY
            )
        weight = 1 / (error * error + max(1e-5, self.spread))
        self._weight = min(self._weight, _SHARE_MEMORY * weight) + weight
        self.mean += weight / self._weight * delta
        self.count += 1

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
        """The relative standard error of one more job's."""
        return math.sqrt(max(0.0, self.spread) + 1 / self._weight)


@define
class SpeedVariance:
    """How far the speed of percentages is from what it was before: a mean of squares, relative."""

    square: float = _UNEVEN
    _count: float = _UNEVEN_COUNT

    def add(self, square: float) -> None:
        """One more answer's."""
        self._count = min(self._count + 1, _UNEVEN_MEMORY)
        self.square += (min(1.0, square) - self.square) / self._count

    @property
    def error(self) -> float:
        """Its root."""
        return math.sqrt(max(0.0, self.square))


@define
class ProgressGranularity:
    """In what steps percentages come: whole numbers, tens, or finer."""

    count: int = 0
    common: int = 0
    whole: bool = True

    def add(self, percent: float) -> None:
        """One more percentage, between 0 and 100."""
        self.count += 1
        if not float(percent).is_integer():
            self.whole = False
        else:
            self.common = math.gcd(self.common, int(percent))

    @property
    def known(self) -> bool:
        """Whether enough percentages were seen to tell the step."""
        return not self.whole or self.count >= _STEPS_SEEN

    @property
    def step(self) -> float:
        """The step; whole numbers until more is known."""
        if not self.whole:
            return FINE
        return float(self.common) if self.known else 1.0


@define
class PollModel:
    """All that a client learned of its jobs; times are seconds since a job left the queue."""

    durations: DurationModel = field(factory=DurationModel)
    #: By stage: how much of a life is over when it begins.
    shares: dict[str, StageFraction] = field(factory=dict)
    #: By stage: the same, as the percentages of single answers tell it.
    entrances: dict[str, StageStartModel] = field(factory=dict)
    #: The stage that was last seen to follow another.
    next_stage: dict[str, str] = field(factory=dict)
    #: By stage: how many of its jobs were lately seen at its 100 %, 0 to 1.
    seen_at_full: dict[str, float] = field(factory=dict)
    #: By stage: in what steps its percentages come.
    steps: dict[str, ProgressGranularity] = field(factory=dict)
    unevenness: SpeedVariance = field(factory=SpeedVariance)

    @property
    def has_progress(self) -> bool:
        """Whether percentages on the way were seen: of those that jump there are none."""
        return any(steps.count >= _STEPS_SEEN for steps in self.steps.values())

    def after(self, stage: str) -> str | None:
        """The stage that follows; where none does, what is left when its percentages are at 100.

        That only where it is long, and not a few jobs are seen in it: what one in a hundred is
        caught in makes no difference to what the percentages of the others tell.
        """
        then = self.next_stage.get(stage)
        if then is not None:
            return then
        rest = self.shares.get(stage + STAGE_DONE)
        long = rest is not None and rest.known and rest.fraction < _LONG
        return stage + STAGE_DONE if long and self.seen_at_full.get(stage, 0.0) >= _OFTEN else None

    def observe_stages(self, stages: Sequence[str]) -> None:
        """A job was seen in these stages, one after the other, and is complete."""
        begun = [stage for stage in stages if completed_stage(stage) is None]
        for stage in begun:
            caught = self.seen_at_full.get(stage, 0.0)
            self.seen_at_full[stage] = (
                caught + (float(stage + STAGE_DONE in stages) - caught) / _CAUGHT_MEMORY
            )
        for stage, then in itertools.pairwise(begun):
            # A job that goes back, as after a restart, tells nothing of the others' way.
            if precedes(stage, then):
                self.next_stage[stage] = then

    def step(self, stage: str) -> float:
        """In what steps the percentages of a stage come."""
        steps = self.steps.get(stage)
        return 1.0 if steps is None else steps.step
