"""A file's turn: it is taken, its content becomes known, and joins the work that restores it."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async._storage.database_clock import now
from diffio_async.batch.file_queries import fail_with_job, finish_if_complete
from diffio_async.batch.journal import salt_of
from diffio_async.batch.records import (
    JOB_COLUMNS,
    LeaseLost,
    RestorationJob,
    ResultPath,
    SourceFile,
    decode_path,
)
from diffio_async.batch.settings import idempotency_key_for

if TYPE_CHECKING:
    import sqlite3

#: Seconds that every generation bills at least.
MIN_BILLED_SECONDS = 60.0


class Assignment(Enum):
    """What becomes of a file whose content is known, where it is not to be uploaded now."""

    IN_PROGRESS = "a work that is under way carries it"
    READY = "its results can be fetched"
    ENDED = "it has ended"
    OVER_BUDGET = "its generation would exceed the limit"


def lease_files(connection: sqlite3.Connection, runner: int, most: int) -> list[SourceFile]:
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
        SourceFile(
            id=number,
            path=decode_path(source),
            problem=problem,
            tries=tries + 1,
            result_paths=places_of(connection, number),
        )
        for number, source, problem, tries in rows
    ]


def places_of(connection: sqlite3.Connection, file: int) -> tuple[ResultPath, ...]:
    """Where the results of a file go."""
    return tuple(
        ResultPath(kind, decode_path(path), bool(begun), size)
        for kind, path, begun, size in connection.execute(
            "SELECT type, path, begun, bytes FROM result WHERE file = ?", (file,)
        )
    )


def assign_job(
    connection: sqlite3.Connection,
    runner: int,
    file: int,
    digest: str,
    size: int,
    most_seconds: float | None,
) -> RestorationJob | Assignment:
    """The content of a file is known: the work it is part of, held if it is to be uploaded now."""
    row = connection.execute(
        "SELECT file.model, file.settings, file.attempt, work.digest FROM file"
        " LEFT JOIN work ON work.id = file.work WHERE file.id = ? AND file.runner = ?",
        (file, runner),
    ).fetchone()
    if row is None:
        raise LeaseLost
    model, settings, attempt, before = row
    work, held = _job_for(connection, model, settings, attempt, digest)
    to_upload = work.state == "new" and held is None
    if to_upload and not _reserve(connection, work.id, most_seconds):
        connection.execute("UPDATE file SET runner = NULL, tries = tries - 1 WHERE id = ?", (file,))
        return Assignment.OVER_BUDGET
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
        fail_with_job(connection, file, work.id)
        return Assignment.ENDED
    if work.state == "complete":
        connection.execute(
            "UPDATE result SET state = 'ready' WHERE file = ? AND state = 'wanted'", (file,)
        )
        return Assignment.ENDED if finish_if_complete(connection, file) else Assignment.READY
    return Assignment.IN_PROGRESS


def _job_for(
    connection: sqlite3.Connection, model: str, settings: str, attempt: int, digest: str
) -> tuple[RestorationJob, int | None]:
    """The work of a content, made where there is none, and which run holds it."""
    what = (digest, model, settings)
    look = (
        f"SELECT {JOB_COLUMNS}, runner FROM work"  # noqa: S608 - our own names
        " WHERE digest = ? AND model = ? AND settings = ? AND attempt >= ?"
        " ORDER BY attempt DESC LIMIT 1"
    )
    row = connection.execute(look, (*what, attempt)).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO work (digest, model, settings, attempt, key) VALUES (?, ?, ?, ?, ?)",
            (*what, attempt, idempotency_key_for(salt_of(connection), *what, attempt)),
        )
        row = connection.execute(look, (*what, attempt)).fetchone()
    return RestorationJob.of(row[:-1]), row[-1]


def _reserve(connection: sqlite3.Connection, work: int, most_seconds: float | None) -> bool:
    """Count the least that a work bills, once; False where it would be too much."""
    if connection.execute("SELECT reserved FROM work WHERE id = ?", (work,)).fetchone()[0]:
        return True
    written = connection.execute(
        "UPDATE batch SET value = value + ? WHERE name = 'spent_seconds'"
        " AND (? IS NULL OR value + ? <= ?)",
        (MIN_BILLED_SECONDS, most_seconds, MIN_BILLED_SECONDS, most_seconds),
    ).rowcount
    if written:
        connection.execute("UPDATE work SET reserved = 1 WHERE id = ?", (work,))
    return bool(written)


def refund(connection: sqlite3.Connection, work: int) -> None:
    """A work that never started bills nothing."""
    written = connection.execute(
        "UPDATE work SET reserved = 0 WHERE id = ? AND reserved = 1", (work,)
    ).rowcount
    if written:
        connection.execute(
            "UPDATE batch SET value = value - ? WHERE name = 'spent_seconds'", (MIN_BILLED_SECONDS,)
        )
