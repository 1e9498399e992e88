"""Progress reporters of `batch`: a bar on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from diffio_async._text import (
    ProgressCounts,
    cells,
    fit_line,
    format_bytes,
    progress_bar,
    shell_line,
    shorten,
)
from diffio_async.batch.journal_queries import describe_left_out
from diffio_async.cli.console import console
from diffio_async.models.batches import LeftOutReason

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from diffio_async.errors import BatchStopped
    from diffio_async.models.batches import BatchProgress, FileOutcome, LeftOut

#: Seconds between two progress events in JSON.
_JSON_INTERVAL = 1.0
#: Seconds between two lines of progress without a terminal, and their maximum width.
_LINE_INTERVAL, _LINE_WIDTH = 10.0, 200


def make_reporter(*, as_json: bool) -> BatchReporter:
    """Return a JSON reporter if requested, a bar on a terminal, and lines elsewhere."""
    if as_json:
        return JsonBatchReporter()
    return BarBatchReporter() if console.err.isatty() else BatchReporter()


class BatchReporter:
    """Reporter that prints a line for each file that ends in this run, and the totals."""

    def __init__(self) -> None:
        self.done = self.skipped = self.failed = self.from_earlier_run = 0
        self.missing: FileOutcome | None = None
        self.missing_results = 0
        self.last_progress: BatchProgress | None = None
        self._reported_at = time.monotonic()
        self.left_out_counts = Counter[LeftOutReason]()

    def __enter__(self) -> Self:
        """Return the reporter."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Restore the terminal."""

    def on_progress(self, progress: BatchProgress) -> None:
        """Print progress every ten seconds."""
        if time.monotonic() - self._reported_at >= _LINE_INTERVAL:
            self._reported_at = time.monotonic()
            self.print_line(fit_line(_counts(progress), _details(progress), _LINE_WIDTH))

    def on_left_out(self, name: LeftOut) -> None:
        """Count a name that is not restored."""
        self.left_out_counts[name.reason] += 1

    def on_outcome(self, outcome: FileOutcome) -> None:
        """Count an outcome, and report it unless it is a success of an earlier run."""
        if outcome.state == "failed":
            self.failed += 1
        elif outcome.state == "skipped":
            self.skipped += 1
        else:
            self.done += 1
            self._count_missing(outcome)
        self.from_earlier_run += outcome.from_earlier_run
        if not outcome.from_earlier_run or outcome.state == "failed":
            self.report(outcome)

    def _count_missing(self, outcome: FileOutcome) -> None:
        """Count results of an earlier run that were removed or moved since."""
        if outcome.from_earlier_run:
            missing = sum(not os.path.lexists(path) for path in outcome.paths.values())
            self.missing_results += missing
            if missing and self.missing is None:
                self.missing = outcome

    def report_missing(self) -> None:
        """Print how to download a missing result, which is not billed."""
        found = self.missing
        if found is None or found.generation_id is None or found.api_project_id is None:
            return
        kind, path = next(each for each in found.paths.items() if not os.path.lexists(each[1]))
        words = ["diffio-async", "download", found.generation_id, "--project", found.api_project_id]
        words += ["--type", kind, "-o", str(path)]
        count = self.missing_results
        which, each = ("result is", "it") if count == 1 else ("results are", "each")
        console.note(
            f"{count} {which} no longer there; to download {each} again without a bill: "
            f"{shell_line(words)}"
        )

    def report(self, outcome: FileOutcome) -> None:
        """Print a result on stdout, a failure on stderr."""
        self.print_line(outcome_line(outcome), error=outcome.state == "failed")

    def print_line(self, text: str, *, error: bool = True) -> None:
        """Print a line on stderr, or on stdout if it is no `error`."""
        (console.note if error else console.result)(text)

    def on_finished(self, journal: Path) -> None:
        """Print the totals after all files have ended."""
        earlier = f" ({self.from_earlier_run} by earlier runs)" if self.from_earlier_run else ""
        skipped = f" {self.skipped} skipped," if self.skipped else ""
        self.print_line(
            f"{self.done} restored,{skipped} {self.failed} failed{earlier}: "
            f"{_command('status', journal)}"
        )
        if self.left_out_counts:
            counts = describe_left_out(self.left_out_counts)
            self.print_line(f"left out: {counts} ({_command('report', journal)})")
        self.report_missing()

    def on_stopped(self, error: BatchStopped) -> None:
        """Print why the batch stopped early."""
        self.print_line(f"diffio-async: {error}")

    def on_interrupt(self, journal: Path) -> None:
        """Print how to resume after the user stopped the batch."""
        self.print_line(
            "interrupted; nothing is lost: run the same command again to resume "
            f"({_command('status', journal)})"
        )


def _command(name: str, journal: Path) -> str:
    return shell_line(["diffio-async", "batch", name, str(journal)])


def outcome_line(outcome: FileOutcome) -> str:
    """Return one line for people."""
    if outcome.state == "failed":
        hint = ""
        if outcome.retry_is_billed:
            hint = " (batch retry starts a new generation, which is billed again)"
        return f"{outcome.source}: {outcome.error}{hint}"
    if outcome.state == "skipped":
        return f"{outcome.source}: skipped, its results exist"
    changed = " (the recording changed)" if outcome.source_changed else ""
    return f"{outcome.source} -> {', '.join(map(str, outcome.paths.values()))}{changed}"


def _counts(progress: BatchProgress) -> ProgressCounts:
    return ProgressCounts(
        ended=progress.done + progress.failed,
        total=progress.files,
        failed=progress.failed,
        eta_seconds=progress.eta_seconds,
    )


def _details(progress: BatchProgress) -> list[str]:
    """Return the reason of a pause, the jobs by stage, the bytes both ways and the rate."""
    return [
        "" if progress.pause_reason is None else f"paused: {progress.pause_reason}",
        f"{progress.uploading} up, {progress.generating} restoring, {progress.downloading} down",
        f"{format_bytes(progress.sent_bytes)} sent, "
        f"{format_bytes(progress.received_bytes)} received",
        f"{progress.files_per_minute:.3g} files/min" if progress.files_per_minute else "",
    ]


class JsonBatchReporter(BatchReporter):
    """Reporter that prints one JSON object per line on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._reported_at = float("-inf")

    def report(self, outcome: FileOutcome) -> None:
        """Print a `restored`, `skipped` or `failed` event."""
        self._json(
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
            source_changed=outcome.source_changed,
            from_earlier_run=outcome.from_earlier_run,
        )

    def on_progress(self, progress: BatchProgress) -> None:
        """Print a `progress` event once a second."""
        if time.monotonic() - self._reported_at >= _JSON_INTERVAL:
            self._reported_at = time.monotonic()
            fields = ("files", "done", "failed", "uploading", "generating", "downloading")
            self._json(
                "progress",
                optional=True,
                **{name: getattr(progress, name) for name in fields},
                sent_bytes=progress.sent_bytes,
                received_bytes=progress.received_bytes,
                seconds=round(progress.seconds, 3),
                eta_seconds=progress.eta_seconds,
                pause_reason=progress.pause_reason,
            )

    def on_left_out(self, name: LeftOut) -> None:
        """Count the name and print a `left_out` event."""
        super().on_left_out(name)
        self._json("left_out", path=str(name.path), reason=name.reason)

    def on_finished(self, journal: Path) -> None:
        """Print a `finished` event."""
        left_out: dict[str, Any] = (
            {"left_out": dict(self.left_out_counts)} if self.left_out_counts else {}
        )
        self._json("finished", **self._totals(), **left_out, journal=str(journal))
        self.report_missing()

    def on_stopped(self, error: BatchStopped) -> None:
        """Print a `stopped` event, and the reason on stderr."""
        self._json(
            "stopped",
            **self._totals(),
            journal=error.journal,
            remaining_files=error.remaining_files,
            error=type(error.__cause__).__name__ if error.__cause__ is not None else None,
            message=str(error),
        )
        super().on_stopped(error)

    def on_interrupt(self, journal: Path) -> None:
        """Print an `interrupted` event, and how to resume on stderr."""
        self._json("interrupted", **self._totals(), journal=str(journal))
        super().on_interrupt(journal)

    def _totals(self) -> dict[str, Any]:
        return {
            "done": self.done,
            **({"skipped": self.skipped} if self.skipped else {}),
            "failed": self.failed,
            "from_earlier_run": self.from_earlier_run,
        }

    def _json(self, event: str, *, optional: bool = False, **fields: object) -> None:
        console.json({"event": event, **fields}, optional=optional)


class BarBatchReporter(BatchReporter):
    """Reporter with one live line for the batch on stderr; failures are printed above it."""

    def __init__(self) -> None:
        super().__init__()
        self._live = ExitStack()

    def __enter__(self) -> Self:
        """Start the live line."""
        self._live.enter_context(console.live(self.lines))
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live line."""
        self._live.close()

    def lines(self, width: int) -> list[str]:
        """Return the current counts, and a bar if there is space for one."""
        progress = self.last_progress
        if progress is None:
            return [shorten("listing", width)]
        line = fit_line(_counts(progress), _details(progress), width)
        percent = 100.0 * (progress.done + progress.failed) / max(progress.files, 1)
        return [line + progress_bar(percent, width - cells(line))]

    def on_progress(self, progress: BatchProgress) -> None:
        """Store the progress for the live line."""
        self.last_progress = progress

    def report(self, outcome: FileOutcome) -> None:
        """Print a failure, and a result if stdout is not the terminal."""
        if outcome.state == "failed" or not console.out.isatty():
            super().report(outcome)
