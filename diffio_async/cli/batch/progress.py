"""What `batch` shows as it goes on: a bar on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from diffio_async._text import cells, fitted, shell_line, shortened
from diffio_async.batch.sources import in_words
from diffio_async.cli.batch.options import report_line, status_line
from diffio_async.cli.console import console
from diffio_async.cli.formatting import bar, details_of, numbers_of
from diffio_async.models.batches import LeftOutReason

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from diffio_async.errors import BatchStopped
    from diffio_async.models.batches import BatchProgress, FileOutcome, LeftOut

#: Seconds between two facts of progress in JSON.
_BETWEEN = 1.0
#: Seconds between two lines of progress, where there is no terminal.
_BETWEEN_LINES = 10.0
#: Columns that such a line may have.
_LINE = 200


def make_reporter(*, as_json: bool) -> BatchReporter:
    """JSON where asked for, a bar where someone watches, and lines elsewhere."""
    if as_json:
        return JsonBatchReporter()
    return BarBatchReporter() if console.err.isatty() else BatchReporter()


class BatchReporter:
    """A line for each file that ends in this run, and one for all of them at the end."""

    def __init__(self) -> None:
        self.done = self.skipped = self.failed = self.earlier = 0
        self.missing: FileOutcome | None = None
        self.missing_results = 0
        self.last: BatchProgress | None = None
        self._told_at = time.monotonic()
        self.names_left_out = Counter[LeftOutReason]()

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
        """Tell how far it is, every ten seconds."""
        if time.monotonic() - self._told_at >= _BETWEEN_LINES:
            self._told_at = time.monotonic()
            self.print_line(fitted(numbers_of(progress), details_of(progress), _LINE))

    def left_out(self, name: LeftOut) -> None:
        """Count a name that is not restored."""
        self.names_left_out[name.reason] += 1

    def ended(self, outcome: FileOutcome) -> None:
        """Count it, and tell of it unless an earlier run has."""
        if outcome.state == "failed":
            self.failed += 1
        elif outcome.state == "skipped":
            self.skipped += 1
        else:
            self.done += 1
            self._count_missing(outcome)
        self.earlier += outcome.from_earlier_run
        if not outcome.from_earlier_run or outcome.state == "failed":
            self.report(outcome)

    def _count_missing(self, outcome: FileOutcome) -> None:
        """Count the results of an earlier run that somebody has removed or moved since."""
        if outcome.from_earlier_run:
            gone = sum(not os.path.lexists(path) for path in outcome.paths.values())
            self.missing_results += gone
            if gone and self.missing is None:
                self.missing = outcome

    def report_missing(self) -> None:
        """Print how a result that is no longer there is fetched again, which bills nothing."""
        found = self.missing
        if found is None or found.generation_id is None or found.api_project_id is None:
            return
        kind, path = next(each for each in found.paths.items() if not os.path.lexists(each[1]))
        words = ["diffio-async", "download", found.generation_id, "--project", found.api_project_id]
        words += ["--type", kind, "-o", str(path)]
        is_, them = ("is", "it") if self.missing_results == 1 else ("are", "each")
        console.note(
            f"{self.missing_results} {'result' if is_ == 'is' else 'results'} {is_} no longer "
            f"there; to fetch {them} again without a bill: {shell_line(words)}"
        )

    def report(self, outcome: FileOutcome) -> None:
        """Results on stdout, failures on stderr."""
        self.print_line(line(outcome), error=outcome.state == "failed")

    def print_line(self, text: str, *, error: bool = True) -> None:
        """A line."""
        (console.note if error else console.result)(text)

    def finished(self, journal: Path) -> None:
        """All files have ended."""
        before = f" ({self.earlier} of them before)" if self.earlier else ""
        skipped = f" {self.skipped} skipped," if self.skipped else ""
        self.print_line(
            f"{self.done} restored,{skipped} {self.failed} failed{before}: {status_line(journal)}"
        )
        if self.names_left_out:
            self.print_line(f"left out: {in_words(self.names_left_out)} ({report_line(journal)})")
        self.report_missing()

    def stopped(self, error: BatchStopped) -> None:
        """It ended early, by itself."""
        self.print_line(f"diffio-async: {error}")

    def interrupted(self, journal: Path) -> None:
        """The user ended it; what runs is parked."""
        self.print_line(
            "interrupted; nothing is lost: run the same again, and it goes on "
            f"({status_line(journal)})"
        )


def line(outcome: FileOutcome) -> str:
    """One line for people."""
    if outcome.state == "failed":
        again = ""
        if outcome.retry_is_billed:
            again = " (batch retry starts it anew, which is billed anew)"
        return f"{outcome.source}: {outcome.error}{again}"
    if outcome.state == "skipped":
        return f"{outcome.source}: skipped, its results are there"
    changed = " (the recording changed)" if outcome.source_changed else ""
    return f"{outcome.source} -> {', '.join(map(str, outcome.paths.values()))}{changed}"


class JsonBatchReporter(BatchReporter):
    """One object per line on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at = float("-inf")

    def report(self, outcome: FileOutcome) -> None:
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
            retry_is_billed=outcome.retry_is_billed,
            attempts=outcome.attempts,
            size_bytes=outcome.size_bytes,
            received_bytes=outcome.received_bytes,
            seconds=round(outcome.seconds, 3),
            changed=outcome.source_changed,
            earlier=outcome.from_earlier_run,
        )

    def progressed(self, progress: BatchProgress) -> None:
        """`progress`, once a second."""
        if time.monotonic() - self._told_at >= _BETWEEN:
            self._told_at = time.monotonic()
            fields = ("files", "done", "failed", "uploading", "generating", "downloading")
            self._say(
                "progress",
                optional=True,
                **{name: getattr(progress, name) for name in fields},
                sent_bytes=progress.sent_bytes,
                received_bytes=progress.received_bytes,
                seconds=round(progress.seconds, 3),
                eta_seconds=progress.eta_seconds,
                pausing=progress.pause_reason,
            )

    def left_out(self, name: LeftOut) -> None:
        """`left_out`."""
        super().left_out(name)
        self._say("left_out", path=str(name.path), reason=name.reason)

    def finished(self, journal: Path) -> None:
        """`finished`."""
        counted: dict[str, Any] = (
            {"left_out": dict(self.names_left_out)} if self.names_left_out else {}
        )
        self._say("finished", **self._numbers(), **counted, journal=str(journal))
        self.report_missing()

    def stopped(self, error: BatchStopped) -> None:
        """`stopped`."""
        self._say(
            "stopped",
            **self._numbers(),
            journal=error.journal,
            left=error.remaining_files,
            error=type(error.__cause__).__name__ if error.__cause__ is not None else None,
            message=str(error),
        )
        super().stopped(error)

    def interrupted(self, journal: Path) -> None:
        """`interrupted`."""
        self._say("interrupted", **self._numbers(), journal=str(journal))
        super().interrupted(journal)

    def _numbers(self) -> dict[str, Any]:
        skipped = {"skipped": self.skipped} if self.skipped else {}
        return {"done": self.done, **skipped, "failed": self.failed, "earlier": self.earlier}

    def _say(self, event: str, *, optional: bool = False, **more: object) -> None:
        console.json({"event": event, **more}, optional=optional)


class BarBatchReporter(BatchReporter):
    """A line for all of the batch, live on stderr; failures are printed above it."""

    def __init__(self) -> None:
        super().__init__()
        self._live = ExitStack()

    def __enter__(self) -> Self:
        """Take the terminal's last line."""
        self._live.enter_context(console.live(self.lines))
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the line."""
        self._live.close()

    def lines(self, width: int) -> list[str]:
        """How far it is now, and a bar where there is room for one."""
        progress = self.last
        if progress is None:
            return [shortened("listing", width)]
        line = fitted(numbers_of(progress), details_of(progress), width)
        percent = 100.0 * (progress.done + progress.failed) / max(progress.files, 1)
        return [line + bar(percent, width - cells(line))]

    def progressed(self, progress: BatchProgress) -> None:
        """Take how far it is; the line is drawn anew several times a second."""
        self.last = progress

    def report(self, outcome: FileOutcome) -> None:
        """What failed; and on stdout what was restored, where that is no terminal."""
        if outcome.state == "failed" or not console.out.isatty():
            super().report(outcome)
