"""What is shown during the work: bars on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Protocol

from diffio_async.cli.outcomes import stage
from diffio_async.events import DownloadProgress, UploadProgress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID

    from diffio_async.cli.outcomes import Fact, Outcome, Subject


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

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """Show how far the work is."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """Show how it ended."""
        ...


def reporter(*, as_json: bool) -> Reporter:
    """JSON where asked for, bars where someone watches, and final lines elsewhere."""
    if as_json:
        return JsonLines()
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """One line or two per file, when it has ended: results on stdout, failures on stderr."""

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """Say nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Say it."""
        stream = sys.stdout if outcome.done else sys.stderr
        stream.write(outcome.line() + "\n")
        stream.flush()


class JsonLines(Lines):
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
                "stage": stage(fact),
                "percent": round(fact.percent, 1),
                "api_project_id": fact.api_project_id,
                "generation_id": fact.generation_id,
            }
        self._say({**subject.json(), **said})

    def ended(self, outcome: Outcome) -> None:
        """`restored`, `downloaded`, `failed` or `interrupted`."""
        self._say(outcome.json())

    def _say(self, fact: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(fact) + "\n")
        sys.stdout.flush()


class Bars:
    """A bar per file in the works, on stderr; what has ended is printed above the bars."""

    def __init__(self) -> None:
        self._bars: dict[Subject, tuple[TaskID, type[Fact]]] = {}
        self._progress = _progress()

    def __enter__(self) -> Self:
        """Take the terminal's last lines."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the bars."""
        for bar, _kind in self._bars.values():
            self._progress.remove_task(bar)
        self._bars.clear()
        self._progress.stop()

    def progressed(self, subject: Subject, fact: Fact) -> None:
        """Move the file's bar: upload, generation and download each fill it anew."""
        words, kind = stage(fact), type(fact)
        if subject not in self._bars:
            self._bars[subject] = self._progress.add_task(subject.short, stage=words), kind
        bar, before = self._bars[subject]
        if kind is not before:
            self._bars[subject] = bar, kind
            self._progress.reset(bar)
        self._progress.update(bar, completed=fact.percent or 0.0, total=100, stage=words)

    def ended(self, outcome: Outcome) -> None:
        """Replace the file's bar by its lines: on stdout, where that is not the terminal."""
        bar = self._bars.pop(outcome.subject, None)
        if bar is not None:
            self._progress.remove_task(bar[0])
        if not outcome.done or sys.stdout.isatty():
            self._progress.console.print(
                outcome.line(), markup=False, highlight=False, soft_wrap=True
            )
        else:
            Lines().ended(outcome)


def _rate(fact: UploadProgress | DownloadProgress) -> dict[str, object]:
    """Bytes a second, once they can be told."""
    return {} if fact.rate is None else {"bytes_per_second": round(fact.rate)}


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        # A file's name is no markup, whatever it holds.
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[stage]}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    )
