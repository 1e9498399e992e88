"""The work of `batch status` and `batch report`: what a journal knows."""

from __future__ import annotations

import csv
import io
from contextlib import aclosing
from typing import TYPE_CHECKING

from attrs import asdict

from diffio_async._text import csv_cell
from diffio_async.batch.journal import Journal, journal_at
from diffio_async.batch.journal_queries import (
    COLUMNS,
    Status,
    left_out_after,
    orphans,
    report,
    status,
)
from diffio_async.batch.service import named
from diffio_async.batch.sources import in_words
from diffio_async.cli.console import after_output, console
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.formatting import size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffio_async.batch.journal_queries import Row

_PAGE = 500


async def print_status(path: str, *, as_json: bool) -> int:
    """Tell the numbers of now.

    Raises:
        DatabaseError: It is no journal.
    """
    journal = await Journal.open(journal_at(path), create=False)
    try:
        found = await journal.read(status)
    finally:
        await journal.close()
    if as_json:
        console.json({"event": "status", "journal": journal.path, **asdict(found)})
    else:
        for name, value in _lines(found):
            console.result(f"{name:<12} {value}")
    return after_output(FAILED if found.files.get("failed") else OK)


def _lines(found: Status) -> list[tuple[str, str]]:
    files = {name: found.files.get(name, 0) for name in ("done", "skipped", "failed")}
    waiting = sum(found.files.values()) - sum(files.values())
    said = [f"{count} {name}" for name, count in files.items() if count or name == "done"]
    lines = [
        ("files", f"{sum(found.files.values())}: {', '.join([*said, f'{waiting} to come'])}"),
        ("recordings", size(found.size_bytes)),
        ("results", size(found.received_bytes)),
        ("generations", f"{_states(found.jobs)}; {found.billed_seconds:g} s billed at least"),
        ("at work", f"{found.runs} runs" if found.runs else "nobody"),
        ("folder", found.to),
        ("model", found.model),
    ]
    if found.errors:
        lines.append(("failures", _states(found.errors)))
    if found.left_out:
        lines.append(("left out", in_words(found.left_out)))
    if found.service:
        lines.append(("service", named(found.service)))
    if found.orphans or found.suspected:
        lines.append(
            (
                "in vain",
                f"{found.orphans} projects, and up to {found.suspected} more whose answer was lost "
                "(nothing is billed for them)",
            )
        )
    return lines


def _states(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


async def print_report(path: str, *, as_csv: bool, as_json: bool) -> int:
    """Tell what became of each file.

    Raises:
        DatabaseError: It is no journal.
    """
    journal = await Journal.open(journal_at(path), create=False)
    try:
        if as_csv:
            console.out.write(_csv(COLUMNS))
        rows = report(journal)
        async with aclosing(rows):
            async for row in rows:
                if as_csv:
                    console.out.write(_csv(row[column] for column in COLUMNS))
                elif as_json:
                    console.json({"event": "result", **row})
                else:
                    console.result(_line(row))
                console.out.wait()
        last = 0
        while names := await journal.read(left_out_after, last, _PAGE):
            for last, name in names:  # noqa: B007 - where the next page begins
                row = {"source": str(name.path), "file_state": "left_out", "error": name.reason}
                if as_csv:
                    console.out.write(_csv(row.get(column) for column in COLUMNS))
                elif as_json:
                    said = {"path": str(name.path), "reason": name.reason}
                    console.json({"event": "left_out", **said})
                else:
                    console.result(f"left out {name.path}: {in_words({name.reason: 1})}")
            console.out.wait()
        for row in [] if as_csv else await journal.read(orphans):
            if as_json:
                console.json({"event": "orphan", **row})
            else:
                console.result(_orphan(row))
    finally:
        await journal.close()
    return after_output(OK)


def _csv(values: Iterable[object]) -> str:
    """A row, with nothing in it that a spreadsheet would run."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([csv_cell(value) for value in values])
    return text.getvalue()


def _line(row: Row) -> str:
    """One line for people."""
    state = row["result_state"] if row["file_state"] == "joined" else row["file_state"]
    if row["result_state"] == "done":
        return f"done     {row['source']} -> {row['path']}"
    return f"{state or '':<8} {row['source']} ({row['type']})" + (
        f": {row['error']}" if row["error"] else ""
    )


def _orphan(row: Row) -> str:
    return f"in vain  project {row['project'] or 'of an unknown id'}: {row['reason']}"
