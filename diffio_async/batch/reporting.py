"""A report of a journal: a row for each result of each file, and the projects made in vain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async.batch.paths import path_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator

    from diffio_async.batch.journal import Journal

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
    while page := await journal.see(_page, last):
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
        row[name] = str(Path(path_of(value))) if isinstance(value, (str, bytes)) else None
    return row


def orphans(connection: sqlite3.Connection) -> list[Row]:
    """The projects made in vain; one that a lost answer may have made has no id."""
    rows = connection.execute("SELECT project, reason, at FROM orphan ORDER BY id").fetchall()
    return [{"project": project, "reason": reason, "at": at} for project, reason, at in rows]
