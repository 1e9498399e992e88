"""Display of a wait for many generations: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._console import Console
from diffio_async._notebook_output import in_notebook, live_output
from diffio_async._protocol.redaction import message_excerpt
from diffio_async._text import ProgressCounts, cells, fit_line
from diffio_async.errors import WaitTimeout

if TYPE_CHECKING:
    from typing import Self

    from diffio_async.models.generations import GenerationProgress, Outcome

#: Seconds between two plain lines.
_LINE_INTERVAL = 10.0
#: Seconds over which ends are counted for the rate.
_RATE_WINDOW = 60.0
#: Ends before there is a rate, and mean percent per job before percentages give an estimate.
_MIN_ENDS, _MIN_PERCENT = 3, 5.0
_ALL = 100.0
#: States in the order of the display; `waiting`: no progress yet, `late`: timed out.
STATES = ("waiting", "queued", "running", "complete", "failed", "late")
_NOT_ENDED = ("running", "queued", "waiting")
ENDED = frozenset({"complete", "failed", "late"})


@define
class WaitStats:
    """Counts by state, rate and estimated end of a wait; instants are of any steady clock.

    Attributes:
        started_at: When the wait began.
        counts: How many generations are in each of `STATES`.
    """

    started_at: float
    counts: Counter[str] = field(factory=Counter)
    _jobs: dict[str, tuple[str, float | None]] = field(factory=dict)
    _percent_done: float = 0.0
    _percent_left: float = 0.0
    _end_times: deque[float] = field(factory=deque)

    def record(self, generation_id: str, state: str, percent: float | None, now: float) -> bool:
        """Record the state of a generation and return whether it changed; ends are final."""
        before, done = self._jobs.get(generation_id, ("", None))
        if before in ENDED:
            return False
        if before:
            self.counts[before] -= 1
        self.counts[state] += 1
        if state in ENDED:
            self._end_times.append(now)
            self._percent_left -= 0.0 if done is None else _ALL - done
            percent = _ALL
        elif percent is not None:
            # Percent that were done before the wait are not evidence of the speed.
            self._percent_done += 0.0 if done is None else percent - done
            self._percent_left += _ALL - percent if done is None else done - percent
        self._jobs[generation_id] = state, done if percent is None else percent
        return state != before

    @property
    def total(self) -> int:
        """The number of generations so far."""
        return len(self._jobs)

    @property
    def ended(self) -> int:
        """The number of generations that have ended, in any way."""
        return sum(self.counts[state] for state in ENDED)

    def rate(self, now: float) -> float | None:
        """Return the ends per minute in the last minute, None if there were too few."""
        while self._end_times and self._end_times[0] < now - _RATE_WINDOW:
            self._end_times.popleft()
        if len(self._end_times) < _MIN_ENDS:
            return None
        return 60 * len(self._end_times) / max(1.0, min(_RATE_WINDOW, now - self.started_at))

    def eta(self, now: float) -> float | None:
        """Return the seconds until the last end at the present rate, None if it is too early."""
        remaining = self.total - self.ended
        if not remaining:
            return 0.0
        rate = self.rate(now)
        if rate is not None:
            return 60 * remaining / rate
        if self._percent_done < _MIN_PERCENT * self.total:
            return None
        return (now - self.started_at) * self._percent_left / self._percent_done

    def summary(self, now: float) -> str:
        """Return all of it in one line."""
        parts = [f"{self.counts[state]} {state}" for state in STATES if self.counts[state]]
        rate, left = self.rate(now), self.eta(now)
        if rate is not None:
            parts.append(f"{rate:.0f} a minute")
        if left:
            parts.append(f"about {format_duration(left)} left")
        return f"{self.ended} of {self.total} ended: " + ", ".join(parts)

    def parts(self, now: float) -> tuple[ProgressCounts, list[str]]:
        """Return the numbers, and further parts for a line if there is space."""
        failed = self.counts["failed"] + self.counts["late"]
        states = [f"{self.counts[state]} {state}" for state in _NOT_ENDED if self.counts[state]]
        return ProgressCounts(self.ended, self.total, failed, self.eta(now) or None), states


def format_duration(seconds: float) -> str:
    """Format a duration as `45 s`, `12 min` or `3 h 20 min`."""
    rounded = round(seconds)
    if rounded < 90:  # noqa: PLR2004 - seconds
        return f"{rounded} s"
    minutes = round(seconds / 60)
    if minutes < 90:  # noqa: PLR2004 - minutes
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class TextDisplay:
    """Plain lines on standard error, at intervals and at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.stats = WaitStats(time.monotonic())
        self._last_line = ""
        self._last_line_at = self.stats.started_at

    def __enter__(self) -> Self:
        """Return the display."""
        return self

    def __exit__(self, *_: object) -> None:
        """Print the final summary."""
        self._print_summary(time.monotonic())

    def started(self, generation_id: str) -> None:
        """Record that a generation is waited for."""
        self.stats.record(generation_id, "waiting", None, time.monotonic())

    def progressed(self, progress: GenerationProgress) -> None:
        """Record progress that changed; ends are recorded by `ended`."""
        if not (progress.complete or progress.failed):
            state = "queued" if progress.status == "queued" else "running"
            self._record(progress.generation_id, state, progress.percent)

    def ended(self, outcome: Outcome) -> None:
        """Record the outcome of one generation."""
        late = isinstance(outcome.error, WaitTimeout)
        state = "complete" if outcome.ok else "late" if late else "failed"
        self._record(outcome.generation_id, state, None)

    def print_line(self, line: str) -> None:
        """Print a line on standard error."""
        self.console.note(line)

    def _record(self, generation_id: str, state: str, percent: float | None) -> None:
        now = time.monotonic()
        self.stats.record(generation_id, state, percent, now)
        if now - self._last_line_at >= _LINE_INTERVAL:
            self._print_summary(now)

    def _print_summary(self, now: float) -> None:
        line = self.stats.summary(now)
        if self.stats.total and line != self._last_line:
            self.print_line(line)
        self._last_line, self._last_line_at = line, now


class NullDisplay(TextDisplay):
    """Display that shows and counts nothing."""

    def started(self, generation_id: str) -> None:
        """Do nothing."""

    def progressed(self, progress: GenerationProgress) -> None:
        """Do nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Do nothing."""

    def print_line(self, line: str) -> None:
        """Do nothing."""


class LiveDisplay(TextDisplay):
    """Table of counts on standard error, drawn several times a second."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._live = ExitStack()

    def __enter__(self) -> Self:
        """Start to draw on the last lines of the terminal, or in a notebook."""
        live = live_output if in_notebook() else self.console.live
        self._live.enter_context(live(self.lines))
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the table and print the final summary; a notebook keeps the last table."""
        self._live.close()
        if not in_notebook():
            super().__exit__(*_)

    def lines(self, width: int) -> list[str]:
        """Return the table, or one line with the most important numbers if it is too wide."""
        now, stats = time.monotonic(), self.stats
        rate, left = stats.rate(now), stats.eta(now)
        columns = [(state, f"{stats.counts[state]:,}") for state in STATES]
        columns += [
            ("ends a minute", "" if rate is None else f"{rate:.0f}"),
            ("left", "" if left is None else f"about {format_duration(left)}"),
            ("for", format_duration(now - stats.started_at)),
        ]
        widths = [max(cells(name), cells(value)) for name, value in columns]
        if sum(widths) + 3 * len(widths) > width:
            return [fit_line(*stats.parts(now), width)]
        rows = (
            "   ".join(text.rjust(wide) for text, wide in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        )
        return [f"{stats.ended} of {stats.total} generations ended", *rows]

    def _record(self, generation_id: str, state: str, percent: float | None) -> None:
        self.stats.record(generation_id, state, percent, time.monotonic())


def make_display(console: Console | None = None) -> TextDisplay:
    """Return a live table in a notebook, or on a terminal with rich; plain lines otherwise."""
    console = console or Console()
    live = in_notebook() or (console.err.isatty() and find_spec("rich") is not None)
    return LiveDisplay(console) if live else TextDisplay(console)


_console = Console()


def print_progress(progress: GenerationProgress) -> None:
    """Print one line of progress on standard error."""
    stage = f" ({progress.stage})" if progress.stage else ""
    status = message_excerpt(f"{progress.generation_id}: {progress.status}{stage}")
    _console.note(f"{status} {progress.percent:.0f} %")
