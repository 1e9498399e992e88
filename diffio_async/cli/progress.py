"""What is shown during the work: bars on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from diffio_async._text import Numbers, cells, clock, fitted, shortened
from diffio_async.cli.console import console
from diffio_async.cli.formatting import bar
from diffio_async.cli.task_results import describe_stage
from diffio_async.events import DownloadProgress, UploadProgress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from diffio_async.cli.task_results import Fact, Subject, TaskResult

#: Columns that a name keeps while there is anything else to shorten or leave out.
_NAME = 12


class Reporter(Protocol):
    """Is told all that happens; entered before the first file, left after the last."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Leave the terminal as it was."""
        ...

    def expecting(self, count: int) -> None:
        """Take the number of files."""
        ...

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """Show how far the work is."""
        ...

    def ended(self, outcome: TaskResult) -> None:
        """Show how it ended."""
        ...


def make_reporter(*, as_json: bool, to_stdout: bool = False) -> Reporter:
    """JSON where asked for, bars where someone watches, and final lines elsewhere.

    `to_stdout`: the result itself takes standard output, and no line may be mixed into it.
    """
    if as_json:
        return JsonReporter()
    return (BarReporter if console.err.isatty() else TextReporter)(to_stdout=to_stdout)


class TextReporter:
    """One line or two per file, when it has ended: results on stdout, failures on stderr."""

    def __init__(self, *, to_stdout: bool = False) -> None:
        self._to_stdout = to_stdout

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def expecting(self, count: int) -> None:
        """Nothing is counted."""

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """Say nothing."""

    def ended(self, outcome: TaskResult) -> None:
        """Say it."""
        said = console.result if outcome.done and not self._to_stdout else console.note
        said(*outcome.lines())


class JsonReporter(TextReporter):
    """One object per line on stdout, for each step and each end."""

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """`upload`, `progress` or `download`."""
        said: dict[str, object]
        if isinstance(fact, UploadProgress):
            said = {"event": "upload", "sent": fact.sent, "total": fact.total}
            said |= _rate(fact)
        elif isinstance(fact, DownloadProgress):
            said = {"event": "download", "received": fact.received, "total": fact.total}
            said |= _rate(fact)
        else:
            said = {
                "event": "progress",
                "status": fact.status,
                "stage": describe_stage(fact),
                "percent": round(fact.percent, 1),
                "api_project_id": fact.api_project_id,
                "generation_id": fact.generation_id,
            }
        console.json({**subject.json(), **said}, optional=True)

    def ended(self, outcome: TaskResult) -> None:
        """`restored`, `downloaded`, `failed` or `interrupted`."""
        console.json(outcome.json())


@define
class _Row:
    """One file in the works: upload, generation and download each fill its bar anew."""

    words: str
    percent: float
    began: float = field(factory=time.monotonic)

    def line(self, name: str, width: int) -> str:
        """Its line: the percentage always, then the name, what is done, the time, and a bar."""
        end = f" {self.percent:3.0f} %"
        room = width - cells(end)
        name = shortened(name, max(room - cells(self.words) - 1, min(room, _NAME)))
        line = f"{name} {self.words}" if cells(name) + 1 + cells(self.words) <= room else name
        time_taken = f" {clock(time.monotonic() - self.began)}"
        if cells(line) + cells(end) + cells(time_taken) <= width:
            end += time_taken
        return line + bar(self.percent, width - cells(line) - cells(end)) + end


class BarReporter(TextReporter):
    """A bar per file in the works, on stderr; what has ended is printed above the bars."""

    def __init__(self, *, to_stdout: bool = False) -> None:
        super().__init__(to_stdout=to_stdout)
        self._rows: dict[Subject, _Row] = {}
        self._began = time.monotonic()
        self._count = self._done = self._failed = 0
        self._live = ExitStack()

    def __enter__(self) -> Self:
        """Take the terminal's last lines."""
        self._live.enter_context(console.live(self.lines))
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the bars."""
        self._live.close()

    def expecting(self, count: int) -> None:
        """Count files, where there are several."""
        self._count = count

    def lines(self, width: int) -> list[str]:
        """The bars of now, and how far all files are."""
        rows = list(self._rows.items())
        lines = [row.line(subject.short, width) for subject, row in rows]
        ended = self._done + self._failed
        if self._count > 1:
            passed = time.monotonic() - self._began
            left = passed / self._done * (self._count - ended) if self._done else None
            numbers = Numbers(ended, self._count, self._failed, left)
            lines.append(fitted(numbers, [f"for {clock(passed)}"], width))
        return lines

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """Move the file's bar."""
        row = self._rows.setdefault(subject, _Row("", 0.0))
        row.words, row.percent = describe_stage(fact), fact.percent or 0.0

    def ended(self, outcome: TaskResult) -> None:
        """Replace the file's bar by its lines: on stdout, where that is not the terminal."""
        self._rows.pop(outcome.subject, None)
        if outcome.done:
            self._done += 1
        else:
            self._failed += 1
        super().ended(outcome)


def _rate(fact: UploadProgress | DownloadProgress) -> dict[str, object]:
    """Bytes a second, once they can be told."""
    return {} if fact.rate is None else {"bytes_per_second": round(fact.rate)}
