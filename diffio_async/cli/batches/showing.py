"""What `batch` shows as it goes on: a bar on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from diffio_async.cli.batches.asking import status_line
from diffio_async.cli.batches.words import progress_line

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress

    from diffio_async.errors import BatchStopped
    from diffio_async.models.batches import BatchProgress, FileOutcome

#: Seconds between two facts of progress in JSON.
_BETWEEN = 1.0


def teller(*, as_json: bool) -> Teller:
    """JSON where asked for, a bar where someone watches, and lines elsewhere."""
    if as_json:
        return JsonTeller()
    return Bar() if sys.stderr.isatty() else Teller()


class Teller:
    """A line for each file that ends in this run, and one for all of them at the end."""

    def __init__(self) -> None:
        self.done = self.failed = self.earlier = 0
        self.last: BatchProgress | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Leave the terminal as it was."""

    def progressed(self, progress: BatchProgress) -> None:
        """Remember how far it is."""
        self.last = progress

    def ended(self, outcome: FileOutcome) -> None:
        """Count it, and tell of it unless an earlier run has."""
        if outcome.state == "failed":
            self.failed += 1
        else:
            self.done += 1
        self.earlier += outcome.earlier
        if not outcome.earlier or outcome.state == "failed":
            self.tell(outcome)

    def tell(self, outcome: FileOutcome) -> None:
        """Results on stdout, failures on stderr."""
        self.say(line(outcome), error=outcome.state == "failed")

    def say(self, text: str, *, error: bool = True) -> None:
        """A line."""
        stream = sys.stderr if error else sys.stdout
        stream.write(text + "\n")
        stream.flush()

    def finished(self, journal: Path) -> None:
        """All files have ended."""
        before = f" ({self.earlier} of them before)" if self.earlier else ""
        self.say(f"{self.done} restored, {self.failed} failed{before}: {status_line(journal)}")

    def stopped(self, error: BatchStopped) -> None:
        """It ended early, by itself."""
        self.say(f"diffio-async: {error}")

    def interrupted(self, journal: Path) -> None:
        """The user ended it; what runs is parked."""
        self.say(
            "interrupted; nothing is lost: run the same again, and it goes on "
            f"({status_line(journal)})"
        )


def line(outcome: FileOutcome) -> str:
    """One line for people."""
    if outcome.state == "failed":
        again = ""
        if outcome.billed_again:
            again = " (batch retry starts it anew, which is billed anew)"
        return f"{outcome.source}: {outcome.error}{again}"
    if outcome.state == "skipped":
        return f"{outcome.source}: skipped, its results are there"
    changed = " (the recording changed)" if outcome.changed else ""
    return f"{outcome.source} -> {', '.join(map(str, outcome.paths.values()))}{changed}"


class JsonTeller(Teller):
    """One object per line on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at = 0.0

    def tell(self, outcome: FileOutcome) -> None:
        """`restored`, `skipped` or `failed`."""
        self._say(
            "restored" if outcome.state == "done" else outcome.state,
            file=str(outcome.source),
            paths={kind: str(path) for kind, path in outcome.paths.items()},
            api_project_id=outcome.api_project_id,
            generation_id=outcome.generation_id,
            idempotency_key=outcome.idempotency_key,
            error=outcome.error_type,
            message=outcome.error,
            billed_again=outcome.billed_again,
            attempts=outcome.attempts,
            size_bytes=outcome.size_bytes,
            received_bytes=outcome.received_bytes,
            seconds=round(outcome.seconds, 3),
            changed=outcome.changed,
            earlier=outcome.earlier,
        )

    def progressed(self, progress: BatchProgress) -> None:
        """`progress`, once a second."""
        super().progressed(progress)
        if time.monotonic() - self._told_at >= _BETWEEN:
            self._told_at = time.monotonic()
            fields = ("files", "done", "failed", "uploading", "generating", "downloading")
            self._say(
                "progress",
                **{name: getattr(progress, name) for name in fields},
                sent_bytes=progress.sent_bytes,
                received_bytes=progress.received_bytes,
                seconds=round(progress.seconds, 3),
                seconds_left=progress.seconds_left,
                pausing=progress.pausing,
            )

    def finished(self, journal: Path) -> None:
        """`finished`."""
        self._say("finished", **self._numbers(), journal=str(journal))

    def stopped(self, error: BatchStopped) -> None:
        """`stopped`."""
        self._say(
            "stopped",
            **self._numbers(),
            journal=error.journal,
            left=error.left,
            error=type(error.__cause__).__name__ if error.__cause__ is not None else None,
            message=str(error),
        )
        super().stopped(error)

    def interrupted(self, journal: Path) -> None:
        """`interrupted`."""
        self._say("interrupted", **self._numbers(), journal=str(journal))
        super().interrupted(journal)

    def _numbers(self) -> dict[str, int]:
        return {"done": self.done, "failed": self.failed, "earlier": self.earlier}

    def _say(self, event: str, **more: object) -> None:
        self.say(json.dumps({"event": event, **more}), error=False)


class Bar(Teller):
    """A bar for all of the batch on stderr; failures are printed above it."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = _bar()
        self._task = self._progress.add_task("", total=None, words="listing")

    def __enter__(self) -> Self:
        """Take the terminal's last lines."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the bar."""
        self._progress.stop()

    def progressed(self, progress: BatchProgress) -> None:
        """Move it."""
        super().progressed(progress)
        self._progress.update(
            self._task,
            total=progress.files,
            completed=progress.done + progress.failed,
            words=progress_line(progress),
        )

    def tell(self, outcome: FileOutcome) -> None:
        """What failed; and on stdout what was restored, where that is no terminal."""
        if outcome.state == "failed" or not sys.stdout.isatty():
            super().tell(outcome)

    def say(self, text: str, *, error: bool = True) -> None:
        """Above the bar."""
        if error or sys.stdout.isatty():
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            super().say(text, error=error)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        console=Console(stderr=True),
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    )
