"""Progress reporters of `restore` and `download`: bars on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from diffio_async._text import (
    ProgressCounts,
    cells,
    fit_line,
    format_clock,
    progress_bar,
    shorten,
)
from diffio_async.cli.console import console
from diffio_async.cli.task_results import describe_stage
from diffio_async.events import DownloadProgress, UploadProgress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from diffio_async.cli.task_results import Progress, Subject, TaskResult

#: Minimum columns of a name while anything else can be shortened or left out.
_MIN_NAME = 12


class Reporter(Protocol):
    """Context manager that displays progress and results."""

    def __enter__(self) -> Self:
        """Start the display."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Restore the terminal."""
        ...

    def expect(self, count: int) -> None:
        """Set the number of files."""
        ...

    def on_progress(self, subject: Subject, progress: Progress) -> None:
        """Display progress."""
        ...

    def on_result(self, result: TaskResult) -> None:
        """Display a result."""
        ...


def make_reporter(*, as_json: bool, to_stdout: bool = False) -> Reporter:
    """Return a JSON reporter if requested, bars on a terminal, and lines elsewhere.

    `to_stdout`: standard output receives the audio itself, so no line is printed on it.
    """
    if as_json:
        return JsonReporter()
    return (BarReporter if console.err.isatty() else TextReporter)(to_stdout=to_stdout)


class TextReporter:
    """Reporter that prints each result: successes on stdout, failures on stderr."""

    def __init__(self, *, to_stdout: bool = False) -> None:
        self._to_stdout = to_stdout

    def __enter__(self) -> Self:
        """Return the reporter."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def expect(self, count: int) -> None:
        """Ignore the number of files."""

    def on_progress(self, subject: Subject, progress: Progress) -> None:
        """Ignore progress."""

    def on_result(self, result: TaskResult) -> None:
        """Print the lines of a result."""
        write = console.result if result.succeeded and not self._to_stdout else console.note
        write(*result.lines())


class JsonReporter(TextReporter):
    """Reporter that prints one JSON object per line for each step and each result."""

    def on_progress(self, subject: Subject, progress: Progress) -> None:
        """Print an `upload`, `progress` or `download` event."""
        event: dict[str, object]
        if isinstance(progress, UploadProgress):
            event = {"event": "upload", "sent": progress.sent, "total": progress.total}
            event |= _rate(progress)
        elif isinstance(progress, DownloadProgress):
            event = {"event": "download", "received": progress.received, "total": progress.total}
            event |= _rate(progress)
        else:
            event = {
                "event": "progress",
                "status": progress.status,
                "stage": describe_stage(progress),
                "percent": round(progress.percent, 1),
                "api_project_id": progress.api_project_id,
                "generation_id": progress.generation_id,
            }
        console.json({**subject.json(), **event}, optional=True)

    def on_result(self, result: TaskResult) -> None:
        """Print a `restored`, `downloaded`, `failed` or `interrupted` event."""
        console.json(result.json())


def _rate(progress: UploadProgress | DownloadProgress) -> dict[str, object]:
    return {} if progress.rate is None else {"bytes_per_second": round(progress.rate)}


@define
class _Row:
    """Bar of one file; upload, generation and download each fill it from zero."""

    stage: str
    percent: float
    started_at: float = field(factory=time.monotonic)

    def line(self, name: str, width: int) -> str:
        """Return the percentage, then the name, the stage, the time and a bar as they fit."""
        end = f" {self.percent:3.0f} %"
        free = width - cells(end)
        name = shorten(name, max(free - cells(self.stage) - 1, min(free, _MIN_NAME)))
        line = f"{name} {self.stage}" if cells(name) + 1 + cells(self.stage) <= free else name
        elapsed = f" {format_clock(time.monotonic() - self.started_at)}"
        if cells(line) + cells(end) + cells(elapsed) <= width:
            end += elapsed
        return line + progress_bar(self.percent, width - cells(line) - cells(end)) + end


class BarReporter(TextReporter):
    """Reporter with a bar per active file on stderr; results are printed above the bars."""

    def __init__(self, *, to_stdout: bool = False) -> None:
        super().__init__(to_stdout=to_stdout)
        self._rows: dict[Subject, _Row] = {}
        self._started_at = time.monotonic()
        self._count = self._succeeded = self._failed = 0
        self._live = ExitStack()

    def __enter__(self) -> Self:
        """Start the live lines."""
        self._live.enter_context(console.live(self.lines))
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live lines."""
        self._live.close()

    def expect(self, count: int) -> None:
        """Set the number of files, for the line of totals."""
        self._count = count

    def lines(self, width: int) -> list[str]:
        """Return the current bars, and the totals of several files."""
        rows = list(self._rows.items())
        lines = [row.line(subject.short, width) for subject, row in rows]
        ended = self._succeeded + self._failed
        if self._count > 1:
            elapsed = time.monotonic() - self._started_at
            eta = elapsed / self._succeeded * (self._count - ended) if self._succeeded else None
            counts = ProgressCounts(ended, self._count, self._failed, eta)
            lines.append(fit_line(counts, [f"for {format_clock(elapsed)}"], width))
        return lines

    def on_progress(self, subject: Subject, progress: Progress) -> None:
        """Update the bar of a file."""
        row = self._rows.setdefault(subject, _Row("", 0.0))
        row.stage, row.percent = describe_stage(progress), progress.percent or 0.0

    def on_result(self, result: TaskResult) -> None:
        """Replace the bar of a file by the lines of its result."""
        self._rows.pop(result.subject, None)
        if result.succeeded:
            self._succeeded += 1
        else:
            self._failed += 1
        super().on_result(result)
