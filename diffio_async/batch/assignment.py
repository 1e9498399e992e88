"""Lease files, and assign each to the job that restores its content."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._storage.database_clock import now
from diffio_async.batch.file_queries import fail_with_job, finish_if_complete
from diffio_async.batch.journal import salt_of
from diffio_async.batch.records import (
    JOB_COLUMNS,
    LeaseLost,
    RestorationJob,
    ResultPath,
    SourceFile,
    fetch_records,
    job_column,
)
from diffio_async.batch.settings import idempotency_key_for

if TYPE_CHECKING:
    import sqlite3

#: Minimum seconds billed for a generation.
MIN_BILLED_SECONDS = 60.0


class Assignment(Enum):
    """Result of an assignment that needs no upload by this run."""

    IN_PROGRESS = "another run or step processes its job"
    READY = "its results can be downloaded"
    ENDED = "the file has ended"
    OVER_BUDGET = "its generation would exceed max_spend_seconds"


def lease_files(connection: sqlite3.Connection, run_id: int, max_count: int) -> list[SourceFile]:
    """Lease up to `max_count` files that are due."""
    cursor = connection.execute(
        "SELECT id, source AS path, error AS problem, attempts + 1 AS attempts"
        " FROM file INDEXED BY file_due"
        " WHERE state = 'listed' AND run_id IS NULL AND run_at <= ? ORDER BY run_at, id LIMIT ?",
        (now(connection), max_count),
    )
    files = fetch_records(cursor, SourceFile)
    connection.executemany(
        "UPDATE file SET run_id = ?, leased_at = coalesce(leased_at, ?), attempts = attempts + 1"
        " WHERE id = ?",
        [(run_id, time.time(), file.id) for file in files],
    )
    return [evolve(file, result_paths=result_paths_of(connection, file.id)) for file in files]


def result_paths_of(connection: sqlite3.Connection, file: int) -> tuple[ResultPath, ...]:
    """Return the paths of a file's results."""
    return tuple(
        fetch_records(
            connection.execute(
                "SELECT type AS download_type, path, owned, bytes FROM result WHERE file_id = ?",
                (file,),
            ),
            ResultPath,
        )
    )


def assign_job(
    connection: sqlite3.Connection,
    run_id: int,
    file: int,
    digest: str,
    size: int,
    max_seconds: float | None,
) -> RestorationJob | Assignment:
    """Assign a file to the job of its content.

    Returns the job, leased, if this run must upload it.

    Raises:
        LeaseLost: The run does not lease the file.
    """
    row = connection.execute(
        "SELECT file.model, file.settings, file.attempt, job.digest FROM file"
        " LEFT JOIN job ON job.id = file.job_id WHERE file.id = ? AND file.run_id = ?",
        (file, run_id),
    ).fetchone()
    if row is None:
        raise LeaseLost
    model, settings, attempt, previous_digest = row
    job, is_leased = _job_for(connection, model, settings, attempt, digest)
    to_upload = job.state == "new" and not is_leased
    if to_upload and not _reserve(connection, job.id, max_seconds):
        connection.execute(
            "UPDATE file SET run_id = NULL, attempts = attempts - 1 WHERE id = ?", (file,)
        )
        return Assignment.OVER_BUDGET
    changed = previous_digest is not None and previous_digest != digest
    connection.execute(
        "UPDATE file SET job_id = ?, state = 'joined', run_id = NULL, size = ?, error = NULL,"
        " error_type = NULL, changed = changed OR ? WHERE id = ?",
        (job.id, size, changed, file),
    )
    if changed:
        # The existing results are of the previous content.
        connection.execute(
            "UPDATE result SET state = 'wanted', attempts = 0, run_at = 0 WHERE file_id = ?",
            (file,),
        )
    if to_upload:
        connection.execute(
            "UPDATE job SET run_id = ?, create_pending = upload IS NULL WHERE id = ?",
            (run_id, job.id),
        )
        return job
    if not is_leased and job.state in {"uploaded", "started"}:
        # The job may have been deferred when its previous files ended.
        connection.execute("UPDATE job SET run_at = 0 WHERE id = ?", (job.id,))
    if job.state == "failed":
        fail_with_job(connection, file, job.id)
        return Assignment.ENDED
    if job.state == "complete":
        connection.execute(
            "UPDATE result SET state = 'ready' WHERE file_id = ? AND state = 'wanted'", (file,)
        )
        return Assignment.ENDED if finish_if_complete(connection, file) else Assignment.READY
    return Assignment.IN_PROGRESS


def _job_for(
    connection: sqlite3.Connection, model: str, settings: str, attempt: int, digest: str
) -> tuple[RestorationJob, bool]:
    """Return the job of a content, created if missing, and whether a run leases it."""
    content = (digest, model, settings)
    query = (
        f"SELECT {JOB_COLUMNS} FROM job"  # noqa: S608 - our own names
        " WHERE digest = ? AND model = ? AND settings = ? AND attempt >= ?"
        " ORDER BY attempt DESC LIMIT 1"
    )
    found = fetch_records(connection.execute(query, (*content, attempt)), RestorationJob)
    if not found:
        connection.execute(
            "INSERT INTO job (digest, model, settings, attempt, key) VALUES (?, ?, ?, ?, ?)",
            (*content, attempt, idempotency_key_for(salt_of(connection), *content, attempt)),
        )
        found = fetch_records(connection.execute(query, (*content, attempt)), RestorationJob)
    (job,) = found
    leased_by = job_column(connection, job.id, "run_id")
    return job, leased_by is not None


def _reserve(connection: sqlite3.Connection, job: int, max_seconds: float | None) -> bool:
    """Add the minimum cost of a job, once; return False if it would exceed `max_seconds`."""
    if connection.execute("SELECT cost_reserved FROM job WHERE id = ?", (job,)).fetchone()[0]:
        return True
    written = connection.execute(
        "UPDATE batch SET value = value + ? WHERE name = 'spent_seconds'"
        " AND (? IS NULL OR value + ? <= ?)",
        (MIN_BILLED_SECONDS, max_seconds, MIN_BILLED_SECONDS, max_seconds),
    ).rowcount
    if written:
        connection.execute("UPDATE job SET cost_reserved = 1 WHERE id = ?", (job,))
    return bool(written)


def refund(connection: sqlite3.Connection, job: int) -> None:
    """Subtract the cost reserved for a job that was never started."""
    written = connection.execute(
        "UPDATE job SET cost_reserved = 0 WHERE id = ? AND cost_reserved = 1", (job,)
    ).rowcount
    if written:
        connection.execute(
            "UPDATE batch SET value = value - ? WHERE name = 'spent_seconds'", (MIN_BILLED_SECONDS,)
        )
