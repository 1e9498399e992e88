"""Where in a job's life a stage begins, as percentages tell it: nobody need see it begin."""

from __future__ import annotations

import math

from attrs import define

#: What is taken for granted of a stage that is not the first, and how sure that is.
_PART, _PART_ERROR = 0.2, 0.2
#: How far one job is from another: preparing takes its time whatever the recording's length.
_SPREAD = 0.1
#: So many jobs are remembered.
_MEMORY = 100.0


@define
class Entrance:
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

    def whole(self, age: float, done: float, cut_off: float) -> tuple[float, float]:
        """How long a job lasts, and the standard error: seconds.

        Args:
            age: Seconds it ran so far.
            done: The part of its last stage that is done, 0 to 1.
            cut_off: The standard error of that.
        """
        gone = self.mean + done * (1 - self.mean)
        error = math.hypot(self.error * (1 - done), cut_off * (1 - self.mean))
        return age / gone, age / gone * error / gone


def part_before(age: float, done: float, whole: float, error: float) -> tuple[float, float]:
    """The part of a life that was over when its last stage began, and the standard error.

    Args:
        age: Seconds the job had run.
        done: The part of its last stage that was done then, 0 to 1.
        whole: Seconds it lasted in the end, known to within `error`.
        error: Its standard error.
    """
    gone = age / whole
    return (gone - done) / (1 - done), gone * error / whole / (1 - done)
