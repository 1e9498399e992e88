"""One display for many generations: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from diffio_async._console import Console
from diffio_async._polling.wait_stats import STATES, WaitStats, format_duration
from diffio_async._text import cells, fitted
from diffio_async.errors import WaitTimeout

if TYPE_CHECKING:
    from typing import Self

    from diffio_async.models.generations import GenerationProgress
    from diffio_async.models.outcomes import Outcome

#: Seconds between two plain lines.
_EVERY = 10.0


class TextDisplay:
    """Plain lines on standard error: how all stand, from time to time and in the end."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.census = WaitStats(time.monotonic())
        self._said = ""
        self._said_at = self.census.started_at

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Say how it stands in the end."""
        self._say(time.monotonic())

    def started(self, generation_id: str) -> None:
        """A generation is waited for."""
        self.census.record(generation_id, "waiting", None, time.monotonic())

    def progressed(self, progress: GenerationProgress) -> None:
        """Take progress that changed; what has ended is left to `ended`."""
        if not (progress.complete or progress.failed):
            state = "queued" if progress.status == "queued" else "running"
            self._see(progress.generation_id, state, progress.percent)

    def ended(self, outcome: Outcome) -> None:
        """Take how the wait for one ended."""
        late = isinstance(outcome.error, WaitTimeout)
        state = "complete" if outcome.ok else "late" if late else "failed"
        self._see(outcome.generation_id, state, None)

    def print_line(self, line: str) -> None:
        """Print a line on standard error."""
        self.console.note(line)

    def _see(self, generation_id: str, state: str, percent: float | None) -> None:
        now = time.monotonic()
        self.census.record(generation_id, state, percent, now)
        if now - self._said_at >= _EVERY:
            self._say(now)

    def _say(self, now: float) -> None:
        line = self.census.summary(now)
        if self.census.total and line != self._said:
            self.print_line(line)
        self._said, self._said_at = line, now


class NullDisplay(TextDisplay):
    """Shows nothing, so it counts nothing."""

    def started(self, generation_id: str) -> None:
        """Say nothing."""

    def progressed(self, progress: GenerationProgress) -> None:
        """Say nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Say nothing."""

    def print_line(self, line: str) -> None:
        """Say nothing."""


class LiveDisplay(TextDisplay):
    """A table of counts on standard error, drawn anew several times a second."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._live = ExitStack()

    def __enter__(self) -> Self:
        """Take the terminal's last lines."""
        self._live.enter_context(self.console.live(self.lines))
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the table, and say how it stands in the end."""
        self._live.close()
        super().__exit__(*_)

    def lines(self, width: int) -> list[str]:
        """The table as it is now; where it is too wide, one line with what matters most."""
        now, census = time.monotonic(), self.census
        rate, left = census.rate(now), census.eta(now)
        columns = [(state, f"{census.counts[state]:,}") for state in STATES]
        columns += [
            ("ends a minute", "" if rate is None else f"{rate:.0f}"),
            ("left", "" if left is None else f"about {format_duration(left)}"),
            ("for", format_duration(now - census.started_at)),
        ]
        widths = [max(cells(name), cells(value)) for name, value in columns]
        if sum(widths) + 3 * len(widths) > width:
            return [fitted(*census.parts(now), width)]
        rows = (
            "   ".join(text.rjust(wide) for text, wide in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        )
        return [f"{census.ended} of {census.total} generations ended", *rows]

    def _see(self, generation_id: str, state: str, percent: float | None) -> None:
        self.census.record(generation_id, state, percent, time.monotonic())


def make_display(console: Console | None = None) -> TextDisplay:
    """A table where someone watches and rich is installed, lines elsewhere."""
    console = console or Console()
    watched = console.err.isatty() and find_spec("rich") is not None
    return LiveDisplay(console) if watched else TextDisplay(console)
