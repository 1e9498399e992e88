"""A file's turn: it is taken, its content becomes known, and joins the work that restores it."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async._engine.database_clock import now
from diffio_async.batch.ends import end_if_all, end_with_work
from diffio_async.batch.journal import salt_of
from diffio_async.batch.paths import path_of
from diffio_async.batch.rows import WORK, File, Lost, Place, Work
from diffio_async.batch.settings import key_of

if TYPE_CHECKING:
    import sqlite3

#: Seconds that every generation bills at least.
LEAST_BILLED = 60.0


class Joined(Enum):
    """What becomes of a file whose content is known, where it is not to be uploaded now."""

    CARRIED = "a work that is under way carries it"
    READY = "its results can be fetched"
    ENDED = "it has ended"
    TOO_DEAR = "its generation would exceed the limit"


def taken_files(connection: sqlite3.Connection, runner: int, most: int) -> list[File]:
    """Hold files whose turn it is."""
    rows = connection.execute(
        "SELECT id, source, error, tries FROM file INDEXED BY file_free"
        " WHERE state = 'listed' AND runner IS NULL AND due <= ? ORDER BY due, id LIMIT ?",
        (now(connection), most),
    ).fetchall()
    connection.executemany(
        "UPDATE file SET runner = ?, begun_at = coalesce(begun_at, ?), tries = tries + 1"
        " WHERE id = ?",
        [(runner, time.time(), row[0]) for row in rows],
    )
    return [
        File(
            id=number,
            path=path_of(source),
            problem=problem,
            tries=tries + 1,
            places=places_of(connection, number),
        )
        for number, source, problem, tries in rows
    ]


def places_of(connection: sqlite3.Connection, file: int) -> tuple[Place, ...]:
    """Where the results of a file go."""
    return tuple(
        Place(kind, path_of(path), bool(begun), size)
        for kind, path, begun, size in connection.execute(
            "SELECT type, path, begun, bytes FROM result WHERE file = ?", (file,)
        )
    )


def joined(
    connection: sqlite3.Connection,
    runner: int,
    file: int,
    digest: str,
    size: int,
    most_seconds: float | None,
) -> Work | Joined:
    """The content of a file is known: the work it is part of, held if it is to be uploaded now."""
    row = connection.execute(
        "SELECT file.model, file.settings, file.attempt, work.digest FROM file"
        " LEFT JOIN work ON work.id = file.work WHERE file.id = ? AND file.runner = ?",
        (file, runner),
    ).fetchone()
    if row is None:
        raise Lost
    model, settings, attempt, before = row
    work, held = _work_of(connection, model, settings, attempt, digest)
    to_upload = work.state == "new" and held is None
    if to_upload and not _reserved(connection, work.id, most_seconds):
        connection.execute("UPDATE file SET runner = NULL, tries = tries - 1 WHERE id = ?", (file,))
        return Joined.TOO_DEAR
    changed = before is not None and before != digest
    connection.execute(
        "UPDATE file SET work = ?, state = 'joined', runner = NULL, size = ?, error = NULL,"
        " error_type = NULL, changed = changed OR ? WHERE id = ?",
        (work.id, size, changed, file),
    )
    if changed:
        # What stands under these names is ours, and of the recording as it was.
        connection.execute(
            "UPDATE result SET state = 'wanted', tries = 0, due = 0 WHERE file = ?", (file,)
        )
    if to_upload:
        connection.execute(
            "UPDATE work SET runner = ?, asked = upload IS NULL WHERE id = ?", (runner, work.id)
        )
        return work
    if held is None and work.state in {"uploaded", "started"}:
        # Its waiting may have been over, for files that have ended.
        connection.execute("UPDATE work SET due = 0 WHERE id = ?", (work.id,))
    if work.state == "failed":
        end_with_work(connection, file, work.id)
        return Joined.ENDED
    if work.state == "complete":
        connection.execute(
            "UPDATE result SET state = 'ready' WHERE file = ? AND state = 'wanted'", (file,)
        )
        return Joined.ENDED if end_if_all(connection, file) else Joined.READY
    return Joined.CARRIED


def _work_of(
    connection: sqlite3.Connection, model: str, settings: str, attempt: int, digest: str
) -> tuple[Work, int | None]:
    """The work of a content, made where there is none, and which run holds it."""
    what = (digest, model, settings)
    look = (
        f"SELECT {WORK}, runner FROM work"  # noqa: S608 - our own names
        " WHERE digest = ? AND model = ? AND settings = ? AND attempt >= ?"
        " ORDER BY attempt DESC LIMIT 1"
    )
    row = connection.execute(look, (*what, attempt)).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO work (digest, model, settings, attempt, key) VALUES (?, ?, ?, ?, ?)",
            (*what, attempt, key_of(salt_of(connection), *what, attempt)),
        )
        row = connection.execute(look, (*what, attempt)).fetchone()
    return Work.of(row[:-1]), row[-1]


def _reserved(connection: sqlite3.Connection, work: int, most_seconds: float | None) -> bool:
    """Count the least that a work bills, once; False where it would be too much."""
    if connection.execute("SELECT reserved FROM work WHERE id = ?", (work,)).fetchone()[0]:
        return True
    written = connection.execute(
        "UPDATE batch SET value = value + ? WHERE name = 'spent_seconds'"
        " AND (? IS NULL OR value + ? <= ?)",
        (LEAST_BILLED, most_seconds, LEAST_BILLED, most_seconds),
    ).rowcount
    if written:
        connection.execute("UPDATE work SET reserved = 1 WHERE id = ?", (work,))
    return bool(written)


def given_back(connection: sqlite3.Connection, work: int) -> None:
    """A work that never started bills nothing."""
    written = connection.execute(
        "UPDATE work SET reserved = 0 WHERE id = ? AND reserved = 1", (work,)
    ).rowcount
    if written:
        connection.execute(
            "UPDATE batch SET value = value - ? WHERE name = 'spent_seconds'", (LEAST_BILLED,)
        )
