"""Telling how far the work is, not more often than anyone reads."""

import time
from collections.abc import Callable

Report = Callable[[str, float], None]
"""Takes a stage ("preProcessing", "inference", "restoredVideo") and a percentage, 0 to 100."""

_PAUSE = 0.1  # seconds
_ALL = 100.0


class Progress:
    """Percentages of one stage, never going back, at most ten a second; 0 and 100 are sure."""

    def __init__(self, report: Report, stage: str) -> None:
        self._report = report
        self._stage = stage
        self._told = 0.0
        self._next = time.monotonic() + _PAUSE
        report(stage, 0.0)

    def part(self, start: float, end: float) -> Callable[[float], None]:
        """A callback for a piece of the work that covers `start` to `end` of the stage, in 0..1.

        It takes what part of the piece is done, from 0 to 1.
        """

        def done(piece: float) -> None:
            percent = _ALL * (start + (end - start) * min(max(piece, 0.0), 1.0))
            now = time.monotonic()
            if now >= self._next and self._told < percent < _ALL:
                self._told, self._next = percent, now + _PAUSE
                self._report(self._stage, percent)

        return done

    def finish(self) -> None:
        """The stage is over."""
        self._report(self._stage, _ALL)
