"""Printed reports of a batch: `batch status`, `batch report` and `batch --dry-run`."""

from __future__ import annotations

import csv
import io
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from attrs import asdict

from diffio_async._text import csv_cell, format_bytes, format_clock
from diffio_async.batch.dry_run import plan_batch
from diffio_async.batch.job_queries import MIN_BILLED_SECONDS
from diffio_async.batch.journal import Journal, describe_service, journal_at
from diffio_async.batch.journal_queries import (
    COLUMNS,
    LeftOutCounts,
    Status,
    describe_left_out,
    left_out_after,
    orphans,
    report,
    status,
)
from diffio_async.cli import FAILED, OK
from diffio_async.cli.batch.lengths import LengthReader, can_read_lengths
from diffio_async.cli.batch.progress import left_out_event, left_out_lines
from diffio_async.cli.command import console, exit_code_after_output, print_event
from diffio_async.models.batches import LeftOut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from diffio_async.batch.dry_run import PlannedFile
    from diffio_async.batch.journal_queries import Row
    from diffio_async.batch.request import BatchRequest

_PAGE_SIZE = 500
#: Workers of a cluster that the status names.
_SHOWN_WORKERS = 8
#: Seconds that reading lengths may delay a dry run.
_LENGTHS_BUDGET = 30.0


@asynccontextmanager
async def _open_journal(path: str) -> AsyncIterator[Journal]:
    journal = await Journal.open(journal_at(path), create=False)
    try:
        yield journal
    finally:
        await journal.close()


async def print_status(path: str, *, as_json: bool) -> int:
    """Print the current totals of a journal. Return the exit code."""
    async with _open_journal(path) as journal:
        found = await journal.read(status)
    event = {
        "event": "status",
        "journal": journal.path,
        **asdict(found),
        "left_out": found.left_out.reasons,
        "passed_over": found.left_out.passed_over,
    }
    lines = (f"{name:<12} {value}" for name, value in _status_lines(found))
    print_event(event, *lines, as_json=as_json)
    return exit_code_after_output(FAILED if found.files.get("failed") else OK)


def _status_lines(found: Status) -> list[tuple[str, str]]:
    ended = {name: found.files.get(name, 0) for name in ("done", "skipped", "failed")}
    total = sum(found.files.values())
    counts = [f"{count} {name}" for name, count in ended.items() if count or name == "done"]
    counts.append(f"{total - sum(ended.values())} remaining")
    lines = [
        ("files", f"{total}: {', '.join(counts)}"),
        ("recordings", format_bytes(found.size_bytes)),
        ("results", format_bytes(found.received_bytes)),
        ("generations", f"{_states(found.jobs)}; at least {found.billed_seconds:g} s billed"),
        ("active runs", str(found.runs)),
        ("folder", found.to),
        ("model", found.model),
    ]
    if found.errors:
        lines.append(("failures", _states(found.errors)))
    if found.workers:
        lines.append(("workers", _stored_by(found.workers)))
    if found.left_out.reasons:
        lines.append(("left out", found.left_out.describe()))
    if found.service:
        lines.append(("service", describe_service(found.service)))
    if found.orphans or found.suspected:
        lines.append(
            (
                "orphaned",
                f"{found.orphans} projects, and up to {found.suspected} more whose response was "
                "lost (nothing is billed for them)",
            )
        )
    return lines


def _states(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _stored_by(workers: dict[str, int]) -> str:
    """Return how many results each worker of a cluster has stored, the most first."""
    counts = sorted(workers.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} by {worker}" for worker, count in counts[:_SHOWN_WORKERS]]
    shown += [f"and {len(counts) - len(shown)} more (--json)"] if len(counts) > len(shown) else []
    return f"{len(counts)}: {', '.join(shown)}"


async def print_report(path: str, *, as_csv: bool, as_json: bool) -> int:
    """Print each result, each name left out and each orphaned project. Return the exit code."""
    async with _open_journal(path) as journal:
        if as_csv:
            console.out.write(_csv(COLUMNS))
        rows = report(journal)
        async with aclosing(rows):
            async for row in rows:
                if as_csv:
                    console.out.write(_csv(row[column] for column in COLUMNS))
                else:
                    print_event({"event": "result", **row}, _result_line(row), as_json=as_json)
                console.out.wait()
        last = 0
        while names := await journal.read(left_out_after, last, _PAGE_SIZE):
            for last, name in names:  # noqa: B007 - the start of the next page
                if as_csv:
                    row = {"source": str(name.path), "file_state": "left_out", "error": name.reason}
                    console.out.write(_csv(row.get(column) for column in COLUMNS))
                else:
                    _print_left_out(name, as_json=as_json)
            console.out.wait()
        for row in [] if as_csv else await journal.read(orphans):
            line = f"orphaned project {row['project'] or 'with an unknown id'}: {row['reason']}"
            print_event({"event": "orphan", **row}, line, as_json=as_json)
    return exit_code_after_output(OK)


def _csv(values: Iterable[object]) -> str:
    """Return a CSV row without cells that a spreadsheet would run as formulas."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([csv_cell(value) for value in values])
    return text.getvalue()


def _result_line(row: Row) -> str:
    state = row["result_state"] if row["file_state"] == "joined" else row["file_state"]
    if row["result_state"] == "done":
        return f"done     {row['source']} -> {row['path']}"
    return f"{state or '':<8} {row['source']} ({row['type']})" + (
        f": {row['error']}" if row["error"] else ""
    )


def _print_left_out(name: LeftOut, *, as_json: bool) -> None:
    line = f"left out {name.path}: {describe_left_out({name.reason: 1})}"
    print_event(left_out_event(name), line, as_json=as_json)


async def print_plan(request: BatchRequest, *, as_json: bool) -> int:
    """Print what a run would do, without sending or writing anything. Return the exit code."""
    files = generations = size_bytes = problems = 0
    left_out = LeftOutCounts()
    reader = LengthReader(_LENGTHS_BUDGET if can_read_lengths() else 0.0)
    lengths: list[float] = []
    plans = plan_batch(request)
    items = reader.read(plans)
    async with aclosing(plans), aclosing(items):
        async for planned, seconds in items:
            if isinstance(planned, LeftOut):
                left_out.count(planned)
                _print_left_out(planned, as_json=as_json)
                continue
            files += 1
            generations += planned.billed
            size_bytes += planned.size_bytes if planned.problem is None else 0
            problems += planned.problem is not None
            lengths += [] if seconds is None else [seconds]
            _print_planned(planned, seconds, as_json=as_json)
            console.out.wait()
    billed_seconds = generations * MIN_BILLED_SECONDS
    unknown = generations - len(lengths)
    likely = sum(max(seconds - MIN_BILLED_SECONDS, 0.0) for seconds in lengths) + billed_seconds
    event = {
        "event": "planned",
        "files": files,
        "size_bytes": size_bytes,
        "generations": generations,
        "problems": problems,
        **left_out.as_fields(),
        "billed_seconds": billed_seconds,
        "likely_seconds": round(likely, 3) if lengths or not generations else None,
        "unknown_lengths": unknown,
    }
    lines = [
        f"{files - problems} to restore, {format_bytes(size_bytes)}; {generations} generations, "
        f"at least {billed_seconds:g} seconds billed (60 for each; equal contents are billed once)"
    ]
    if lengths:
        line = f"likely {likely:,.0f} seconds, if each is billed by its length"
        lines.append(line + (f"; {unknown} of unknown length count as 60" if unknown else ""))
    elif generations and not can_read_lengths():
        lines.append(
            "install the extra 'report' (pip install 'diffio-async[report]') to estimate from the "
            "lengths of the recordings"
        )
    if unknown and reader.budget and reader.exhausted:
        lines.append(f"reading lengths ended after {reader.budget:g} seconds")
    lines += [f"{problems} cannot be restored"] if problems else []
    lines += left_out_lines(left_out)
    print_event(event, *lines, as_json=as_json)
    return exit_code_after_output(FAILED if problems else OK)


def _print_planned(planned: PlannedFile, seconds: float | None, *, as_json: bool) -> None:
    paths = [str(path) for path in planned.paths]
    event = {
        "event": "plan",
        "file": str(planned.source),
        "paths": paths,
        "size_bytes": planned.size_bytes,
        "billed": planned.billed,
        "seconds": seconds,
        "problem": planned.problem,
    }
    length = "" if seconds is None else f", {format_clock(seconds)}"
    what = f" -> {', '.join(paths)} ({format_bytes(planned.size_bytes)}{length})"
    if planned.problem is not None:
        what = f": {planned.problem}"
    print_event(event, f"{planned.source}{what}", as_json=as_json)
