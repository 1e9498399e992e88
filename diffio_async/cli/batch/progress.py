"""Progress and outcomes of a running batch, as a bar on a terminal, lines, or JSON."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from diffio_async._text import (
    ProgressCounts,
    cells,
    fit_line,
    format_bytes,
    progress_bar,
    shell_line,
    shorten,
)
from diffio_async.batch.journal_queries import LeftOutCounts
from diffio_async.cli.command import command_line, console, print_error, print_event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from diffio_async.errors import BatchStopped
    from diffio_async.models.batches import BatchProgress, FileOutcome, LeftOut

#: Seconds between two progress events in JSON.
_JSON_INTERVAL = 1.0
#: Seconds between two lines of progress without a terminal, and their maximum width.
_LINE_INTERVAL, _LINE_WIDTH = 10.0, 200
#: Workers of a cluster whose files are shown.
_SHOWN_WORKERS = 8


class BatchReporter:
    """Displays the progress of a batch, each file that ends, and the totals.

    With `as_json`, each is an object on stdout. Otherwise results are lines on stdout, the rest
    goes to stderr: on a terminal below it is one live line, elsewhere a line every ten seconds.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shows_bar = not as_json and console.err.isatty()
        self.done = self.skipped = self.failed = self.from_earlier_run = 0
        self.progress: BatchProgress | None = None
        self._missing: FileOutcome | None = None
        self._missing_results = 0
        self._left_out = LeftOutCounts()
        self._next_report_at = time.monotonic() + (0.0 if as_json else _LINE_INTERVAL)

    def live(self) -> AbstractContextManager[None]:
        """Show the live line during the body, if stderr is a terminal."""
        return console.live(self.lines) if self._shows_bar else nullcontext()

    def lines(self, width: int) -> list[str]:
        """Return the current counts, and a bar if there is space for one."""
        progress = self.progress
        if progress is None:
            return [shorten("listing", width)]
        line = _progress_line(progress, width)
        percent = 100.0 * (progress.done + progress.failed) / max(progress.files, 1)
        return [line + progress_bar(percent, width - cells(line))]

    def on_progress(self, progress: BatchProgress) -> None:
        """Store the progress for the live line, or print it at intervals."""
        self.progress = progress
        now = time.monotonic()
        if self._shows_bar or now < self._next_report_at:
            return
        self._next_report_at = now + (_JSON_INTERVAL if self._as_json else _LINE_INTERVAL)
        if self._as_json:
            console.json(_progress_event(progress), optional=True)
        else:
            console.note(_progress_line(progress, _LINE_WIDTH))

    def on_left_out(self, name: LeftOut) -> None:
        """Count a name that is not restored."""
        self._left_out.count(name)
        if self._as_json:
            console.json(left_out_event(name))

    def on_outcome(self, outcome: FileOutcome) -> None:
        """Count an outcome, and report it unless it is a success of an earlier run."""
        if outcome.state == "failed":
            self.failed += 1
        elif outcome.state == "skipped":
            self.skipped += 1
        else:
            self.done += 1
            if outcome.from_earlier_run:
                self._count_missing(outcome)
        self.from_earlier_run += outcome.from_earlier_run
        failed = outcome.state == "failed"
        if outcome.from_earlier_run and not failed:
            return
        # The live line counts the successes, unless stdout goes elsewhere.
        if failed or not self._shows_bar or not console.out.isatty():
            line = _outcome_line(outcome)
            print_event(_outcome_event(outcome), line, as_json=self._as_json, to_stderr=failed)

    def _count_missing(self, outcome: FileOutcome) -> None:
        """Count results of an earlier run that were removed or moved since."""
        missing = sum(not os.path.lexists(path) for path in outcome.paths.values())
        self._missing_results += missing
        if missing and self._missing is None:
            self._missing = outcome

    def _report_missing(self) -> None:
        """Print how to download a missing result, which is not billed."""
        found = self._missing
        if found is None or found.generation_id is None or found.api_project_id is None:
            return
        kind, path = next(each for each in found.paths.items() if not os.path.lexists(each[1]))
        ids = [found.generation_id, "--project", found.api_project_id]
        command = command_line("download", *ids, "--type", kind, "-o", str(path))
        count = self._missing_results
        which, each = ("result is", "it") if count == 1 else ("results are", "each")
        console.note(
            f"{count} {which} no longer there; to download {each} again without a bill: {command}"
        )

    def on_finished(self, journal: Path) -> None:
        """Print the totals after all files have ended."""
        if self._as_json:
            left_out = self._left_out.as_fields()
            console.json(self._totals("finished") | left_out | {"journal": str(journal)})
        else:
            earlier = f" ({self.from_earlier_run} by earlier runs)" if self.from_earlier_run else ""
            skipped = f" {self.skipped} skipped," if self.skipped else ""
            status = _batch_command("status", journal)
            console.note(f"{self.done} restored,{skipped} {self.failed} failed{earlier}: {status}")
            for line in left_out_lines(self._left_out, f" ({_batch_command('report', journal)})"):
                console.note(line)
        self._report_missing()

    def on_stopped(self, error: BatchStopped) -> None:
        """Print why the batch stopped early."""
        if self._as_json:
            reason = {
                "journal": error.journal,
                "remaining_files": error.remaining_files,
                "error": None if error.__cause__ is None else type(error.__cause__).__name__,
                "message": str(error),
            }
            console.json(self._totals("stopped") | reason)
        print_error(error)

    def on_interrupt(self, journal: Path) -> None:
        """Print how to resume after the user stopped the batch."""
        if self._as_json:
            console.json(self._totals("interrupted") | {"journal": str(journal)})
        console.note(
            "interrupted; nothing is lost: run the same command again to resume "
            f"({_batch_command('status', journal)})"
        )

    def _totals(self, event: str) -> dict[str, object]:
        return {
            "event": event,
            "done": self.done,
            **({"skipped": self.skipped} if self.skipped else {}),
            "failed": self.failed,
            "from_earlier_run": self.from_earlier_run,
        }


def left_out_event(name: LeftOut) -> dict[str, object]:
    """Return a `left_out` event."""
    return {"event": "left_out", "path": str(name.path), "reason": name.reason}


def left_out_lines(counts: LeftOutCounts, more: str = "") -> list[str]:
    """Return lines about the names that are not restored.

    `more` is appended to the last line.
    """
    lines = [f"left out: {counts.describe_others()}"] if counts.describe_others() else []
    if counts.passed_over:
        lines.append(f"{counts.describe_passed_over()}: --all takes every file")
    return [*lines[:-1], lines[-1] + more] if lines else []


def _batch_command(name: str, journal: Path) -> str:
    return shell_line(["diffio-async", "batch", name, str(journal)])


def _outcome_line(outcome: FileOutcome) -> str:
    if outcome.state == "failed":
        hint = ""
        if outcome.retry_is_billed:
            hint = " (batch retry starts a new generation, which is billed again)"
        return f"{outcome.source}: {outcome.error}{hint}"
    if outcome.state == "skipped":
        return f"{outcome.source}: skipped, its results exist"
    changed = " (the recording changed)" if outcome.source_changed else ""
    results = [*map(str, outcome.paths.values()), *outcome.urls.values()]
    return f"{outcome.source} -> {', '.join(results)}{changed}"


def _outcome_event(outcome: FileOutcome) -> dict[str, object]:
    """Return a `restored`, `skipped` or `failed` event."""
    fields = ("retry_is_billed", "attempts", "size_bytes", "received_bytes")
    return {
        "event": "restored" if outcome.state == "done" else outcome.state,
        "file": str(outcome.source),
        "paths": {kind: str(path) for kind, path in outcome.paths.items()},
        **({"urls": dict(outcome.urls)} if outcome.urls else {}),
        "api_project_id": outcome.api_project_id,
        "generation_id": outcome.generation_id,
        "idempotency_key": outcome.idempotency_key,
        "error": outcome.error_type,
        "message": outcome.error,
        **{name: getattr(outcome, name) for name in fields},
        "seconds": round(outcome.seconds, 3),
        "source_changed": outcome.source_changed,
        "from_earlier_run": outcome.from_earlier_run,
    }


def _progress_line(progress: BatchProgress, width: int) -> str:
    """Return the counts, the reason of a pause, the jobs by stage, the bytes and the rate."""
    counts = ProgressCounts(
        ended=progress.done + progress.failed,
        total=progress.files,
        failed=progress.failed,
        eta_seconds=progress.eta_seconds,
    )
    details = [
        "" if progress.pause_reason is None else f"paused: {progress.pause_reason}",
        f"{progress.uploading} up, {progress.generating} restoring, {progress.downloading} down",
        f"{format_bytes(progress.sent_bytes)} sent, "
        f"{format_bytes(progress.received_bytes)} received",
        f"{progress.files_per_minute:.3g} files/min" if progress.files_per_minute else "",
        _stored_by_workers(progress.workers),
    ]
    return fit_line(counts, details, width)


def _stored_by_workers(workers: Mapping[str, int]) -> str:
    """Return how many files each worker of a cluster has stored, the first ones only."""
    counts = sorted(workers.values(), reverse=True)
    more = "" if len(counts) <= _SHOWN_WORKERS else ", …"
    shown = ", ".join(map(str, counts[:_SHOWN_WORKERS]))
    several = "" if len(counts) == 1 else "s"
    return f"by {len(counts)} worker{several}: {shown}{more}" if counts else ""


def _progress_event(progress: BatchProgress) -> dict[str, object]:
    fields = (
        *("files", "done", "failed", "uploading", "generating", "downloading"),
        *("sent_bytes", "received_bytes", "eta_seconds", "pause_reason", "workers"),
    )
    values = {name: getattr(progress, name) for name in fields}
    return {"event": "progress", **values, "seconds": round(progress.seconds, 3)}
