"""A report of a journal: a row for each result of each file, and the projects made in vain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import field, frozen

from diffio_async.batch.leases import count_live_runs
from diffio_async.batch.records import decode_path
from diffio_async.models.batches import FileOutcome, LeftOut, LeftOutReason

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator

    from diffio_async.batch.journal import Journal
    from diffio_async.models.batches import FileState
    from diffio_async.models.generations import DownloadType


def outcomes_after(
    connection: sqlite3.Connection, ended: int, most: int, before: int
) -> list[tuple[int, FileOutcome]]:
    """The next ends after number `ended`; those up to number `before` are earlier ones."""
    rows = connection.execute(
        "SELECT file.id, file.ended, file.source, file.state, file.error, file.error_type,"
        " file.again, file.tries, file.size, file.begun_at, file.ended_at, file.changed,"
        " work.project, work.generation, work.key, work.state, work.tries"
        " FROM file LEFT JOIN work ON work.id = file.work"
        " WHERE file.ended > ? ORDER BY file.ended LIMIT ?",
        (ended, most),
    ).fetchall()
    return [(row[1], _outcome(connection, row, row[1] <= before)) for row in rows]


def _outcome(connection: sqlite3.Connection, row: tuple[object, ...], earlier: bool) -> FileOutcome:
    (number, _, source, state, error, error_type, again, tries, size, begun_at, ended_at) = row[:11]
    changed, project, generation, key, work_state, _ = row[11:]
    results = connection.execute(
        "SELECT type, path, state, bytes FROM result WHERE file = ?", (number,)
    ).fetchall()
    there = [
        (kind, decode_path(path), length) for kind, path, done, length in results if done == "done"
    ]
    begun, ended = cast("float | None", begun_at), cast("float", ended_at)
    return FileOutcome(
        source=Path(decode_path(cast("str | bytes", source))),
        state=cast("FileState", state),
        paths={cast("DownloadType", kind): Path(path) for kind, path, _ in there},
        api_project_id=cast("str | None", project),
        generation_id=cast("str | None", generation),
        idempotency_key=cast("str | None", key),
        error=cast("str | None", error),
        error_type=cast("str | None", error_type),
        retry_is_billed=state == "failed" and work_state == "failed" and not again,
        attempts=cast("int", tries),
        size_bytes=cast("int", size),
        received_bytes=sum(length or 0 for _, _, length in there),
        seconds=max(0.0, ended - begun) if begun is not None else 0.0,
        source_changed=bool(changed),
        from_earlier_run=earlier,
    )


def last_seq(connection: sqlite3.Connection) -> int:
    """The number of the last end so far."""
    row = connection.execute("SELECT coalesce(max(ended), 0) FROM file").fetchone()
    return int(row[0])


def unfinished(connection: sqlite3.Connection, *, fetching: bool) -> bool:
    """Whether anything is left to be done, by this run or another; downloads if `fetching`."""
    if fetching:
        look = "SELECT 1 FROM file WHERE state IN ('listed', 'joined') LIMIT 1"
    else:
        look = (
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM file WHERE state = 'listed') OR EXISTS"
            " (SELECT 1 FROM work WHERE state IN ('new', 'uploaded', 'started')"
            " AND runner IS NOT NULL)"
        )
    return connection.execute(look).fetchone() is not None


def remaining(connection: sqlite3.Connection) -> int:
    """How many files have no end yet."""
    row = connection.execute(
        "SELECT count(*) FROM file WHERE state IN ('listed', 'joined')"
    ).fetchone()
    return int(row[0])


def left_out_counts(connection: sqlite3.Connection) -> dict[LeftOutReason, int]:
    """How many names the last listing left out, by reason."""
    return dict(
        connection.execute(
            "SELECT reason, count(*) FROM left_out WHERE runner IS NULL GROUP BY reason"
        ).fetchall()
    )


def left_out_after(
    connection: sqlite3.Connection, last: int, most: int
) -> list[tuple[int, LeftOut]]:
    """The next names that the last listing left out, after number `last`."""
    rows = connection.execute(
        "SELECT rowid, path, reason FROM left_out WHERE rowid > ? AND runner IS NULL"
        " ORDER BY rowid LIMIT ?",
        (last, most),
    ).fetchall()
    return [
        (number, LeftOut(path=Path(decode_path(path)), reason=reason))
        for number, path, reason in rows
    ]


def download_types_of(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The download types that were asked for."""
    return tuple(
        kind for (kind,) in connection.execute("SELECT DISTINCT type FROM result ORDER BY type")
    )


@frozen(kw_only=True)
class Status:
    """A journal in numbers; `files`, `jobs` and `results` by state, times and sizes in bytes.

    `billed_seconds` is the least that all its generations bill. `orphans` are projects made in
    vain, `suspected` those that a lost answer may have made.
    `left_out` are names that the last listing did not take for recordings.
    """

    files: dict[str, int] = field(factory=dict)
    jobs: dict[str, int] = field(factory=dict)
    results: dict[str, int] = field(factory=dict)
    errors: dict[str, int] = field(factory=dict)
    size_bytes: int = 0
    received_bytes: int = 0
    billed_seconds: float = 0.0
    orphans: int = 0
    suspected: int = 0
    left_out: dict[LeftOutReason, int] = field(factory=dict)
    runs: int = 0
    to: str = ""
    model: str = ""
    service: str = ""


def status(connection: sqlite3.Connection) -> Status:
    """The numbers of now."""

    def by_state(table: str) -> dict[str, int]:
        return dict(
            connection.execute(
                f"SELECT state, count(*) FROM {table} GROUP BY state"  # noqa: S608 - our own names
            ).fetchall()
        )

    errors = connection.execute(
        "SELECT coalesce(error_type, ''), count(*) FROM file WHERE state = 'failed' GROUP BY 1"
    ).fetchall()
    said = dict(connection.execute("SELECT name, value FROM batch").fetchall())
    known, suspected = connection.execute(
        "SELECT count(project), count(*) - count(project) FROM orphan"
    ).fetchone()
    return Status(
        files={name: count for name, count in by_state("file").items() if name != "draft"},
        jobs=by_state("work"),
        results=by_state("result"),
        errors=dict(errors),
        size_bytes=connection.execute("SELECT coalesce(sum(size), 0) FROM file").fetchone()[0],
        received_bytes=connection.execute("SELECT coalesce(sum(bytes), 0) FROM result").fetchone()[
            0
        ],
        billed_seconds=float(said.get("spent_seconds", 0)),
        orphans=known,
        suspected=suspected,
        left_out=left_out_counts(connection),
        runs=count_live_runs(connection),
        to=decode_path(said.get("to", "")),
        model=str(said.get("model", "")),
        service=str(said.get("service", "")),
    )


def file_count(connection: sqlite3.Connection) -> int:
    """How many files there are."""
    row = connection.execute("SELECT count(*) FROM file WHERE state != 'draft'").fetchone()
    return int(row[0])


Row = dict[str, object]

#: All but the upload's state, which holds a token.
COLUMNS = (
    *("source", "type", "path", "file_state", "work_state", "result_state", "size", "bytes"),
    *("digest", "model", "settings", "attempt", "key", "project", "generation"),
    *("file_tries", "work_tries", "result_tries", "error_type", "error"),
    *("begun_at", "uploaded_at", "started_at", "complete_at", "done_at", "ended_at"),
)
_PATHS = ("source", "path")
_PAGE = 500


async def report(journal: Journal) -> AsyncGenerator[Row, None]:
    """A row for each result, in the order the files were listed."""
    last: tuple[int, str] = (0, "")
    while page := await journal.read(_page, last):
        for file, kind, row in page:
            last = file, kind
            yield row


def _page(connection: sqlite3.Connection, after: tuple[int, str]) -> list[tuple[int, str, Row]]:
    rows = connection.execute(
        f"SELECT file_id, type, {', '.join(COLUMNS)} FROM everything"  # noqa: S608 - our own names
        " WHERE (file_id, type) > (?, ?) ORDER BY file_id, type LIMIT ?",
        (*after, _PAGE),
    ).fetchall()
    return [(row[0], row[1], _row(row[2:])) for row in rows]


def _row(values: tuple[object, ...]) -> Row:
    row = dict(zip(COLUMNS, values, strict=True))
    for name in _PATHS:
        value = row[name]
        row[name] = str(Path(decode_path(value))) if isinstance(value, (str, bytes)) else None
    return row


def orphans(connection: sqlite3.Connection) -> list[Row]:
    """The projects made in vain; one that a lost answer may have made has no id."""
    rows = connection.execute("SELECT project, reason, at FROM orphan ORDER BY id").fetchall()
    return [{"project": project, "reason": reason, "at": at} for project, reason, at in rows]
