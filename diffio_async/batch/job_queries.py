"""Transactions of jobs; each step is committed before the next one starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diffio_async._storage.database_clock import now
from diffio_async.batch.assignment import refund
from diffio_async.batch.file_queries import fail_with_job, lease_downloads
from diffio_async.batch.records import (
    JOB_COLUMNS,
    RestorationJob,
    change_job,
    fetch_records,
    job_column,
)
from diffio_async.batch.schema import FAR_FUTURE

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.batch.file_queries import ErrorRecord
    from diffio_async.batch.records import ResultDownload


def lease_jobs(connection: sqlite3.Connection, run_id: int, max_count: int) -> list[RestorationJob]:
    """Lease up to `max_count` uploaded or started jobs that no run leases."""
    cursor = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM job INDEXED BY job_due"  # noqa: S608 - our own names
        " WHERE state IN ('uploaded', 'started') AND run_id IS NULL AND run_at <= ?"
        " ORDER BY run_at, id LIMIT ?",
        (now(connection), max_count),
    )
    jobs = fetch_records(cursor, RestorationJob)
    connection.executemany(
        "UPDATE job SET run_id = ? WHERE id = ?", [(run_id, job.id) for job in jobs]
    )
    return jobs


def save_upload_state(
    connection: sqlite3.Connection, run_id: int, job: int, project: str, record: str
) -> None:
    """Save the state of an upload, so that it can be resumed."""
    _replace(connection, job, project, "its upload could not be resumed")
    change_job(
        connection, run_id, job, "project = ?, upload = ?, create_pending = 0", project, record
    )


def record_upload(connection: sqlite3.Connection, run_id: int, job: int, project: str) -> None:
    """Record a complete upload."""
    _replace(connection, job, project, "its upload could not be resumed")
    change_job(
        connection,
        run_id,
        job,
        "state = 'uploaded', project = ?, upload = NULL, create_pending = 0, uploaded_at = ?",
        project,
        time.time(),
    )


def record_generation(
    connection: sqlite3.Connection, run_id: int, job: int, project: str, generation: str
) -> None:
    """Record an accepted (and so billed) generation.

    It may belong to another project that holds the same content.
    """
    _replace(connection, job, project, "the same content was being restored in another project")
    change_job(
        connection,
        run_id,
        job,
        "state = 'started', project = ?, generation = ?, started_at = ?, attempts = 0",
        project,
        generation,
        time.time(),
    )


def record_completion(
    connection: sqlite3.Connection, run_id: int, job: int, max_downloads: int
) -> tuple[list[ResultDownload], bool]:
    """Record the completed generation and lease up to `max_downloads` of its results.

    Returns those, and whether more results are ready.
    """
    change_job(
        connection,
        run_id,
        job,
        "state = 'complete', run_id = NULL, error = NULL, error_type = NULL, complete_at = ?",
        time.time(),
    )
    ready = connection.execute(
        "UPDATE result SET state = 'ready' WHERE state = 'wanted' AND file_id IN"
        " (SELECT id FROM file WHERE job_id = ? AND state = 'joined')",
        (job,),
    ).rowcount
    downloads = lease_downloads(connection, run_id, max_downloads) if max_downloads else []
    return downloads, ready > len(downloads)


def requeue_job(
    connection: sqlite3.Connection, run_id: int, job: int, delay: float, *, counts: bool
) -> None:
    """Requeue a job after `delay` seconds; `counts` is whether the attempt counts."""
    run_at = now(connection) + delay
    new = job_column(connection, job, "state") == "new"
    change_job(
        connection,
        run_id,
        job,
        "run_id = NULL, create_pending = 0, run_at = ?, attempts = attempts + ?",
        run_at,
        int(counts),
    )
    if new:
        connection.execute(
            "UPDATE file SET state = 'listed', run_at = ? WHERE job_id = ? AND state = 'joined'",
            (run_at, job),
        )


def reset_lost_project(connection: sqlite3.Connection, run_id: int, job: int) -> None:
    """Upload again: the service no longer knows the project."""
    _replace(connection, job, None, "the service no longer knows it")
    change_job(
        connection,
        run_id,
        job,
        "state = 'new', project = NULL, upload = NULL, run_id = NULL, attempts = attempts + 1",
    )
    connection.execute(
        "UPDATE file SET state = 'listed' WHERE job_id = ? AND state = 'joined'", (job,)
    )


def restart_job(connection: sqlite3.Connection, run_id: int, job: int) -> None:
    """Restart a job whose generation an unbilled service no longer knows."""
    change_job(
        connection,
        run_id,
        job,
        "state = 'new', project = NULL, upload = NULL, generation = NULL, run_id = NULL",
    )
    connection.execute(
        "UPDATE file SET state = 'listed' WHERE job_id = ? AND state = 'joined'", (job,)
    )


def discard_uploads(connection: sqlite3.Connection) -> None:
    """Discard the state of interrupted uploads: the upload hosts have new addresses."""
    dropped = "state = 'new' AND upload IS NOT NULL AND run_id IS NULL"
    connection.execute(
        "INSERT INTO orphan (job_id, project, reason, at) SELECT id, project,"  # noqa: S608
        f" 'the upload host moved', ? FROM job WHERE project IS NOT NULL AND {dropped}",
        (time.time(),),
    )
    connection.execute(
        f"UPDATE job SET project = NULL, upload = NULL WHERE {dropped}"  # noqa: S608
    )


def record_possible_orphan(connection: sqlite3.Connection, run_id: int, job: int) -> None:
    """Record a possible orphan: the response that contained the project's id was lost."""
    if job_column(connection, job, "create_pending"):
        change_job(connection, run_id, job, "create_pending = 0")
        _add_orphan(connection, job, None, "the response with its id was lost")


def record_orphan(connection: sqlite3.Connection, run_id: int, job: int, project: str) -> None:
    """Record an orphaned project: its upload failed and cannot be resumed."""
    change_job(connection, run_id, job, "create_pending = 0, project = NULL, upload = NULL")
    _add_orphan(connection, job, project, "its upload failed")


def _replace(connection: sqlite3.Connection, job: int, project: str | None, reason: str) -> None:
    before = job_column(connection, job, "project")
    if before is not None and before != project:
        _add_orphan(connection, job, str(before), reason)


def _add_orphan(connection: sqlite3.Connection, job: int, project: str | None, reason: str) -> None:
    connection.execute(
        "INSERT INTO orphan (job_id, project, reason, at) VALUES (?, ?, ?, ?)",
        (job, project, reason, time.time()),
    )


def fail_job(
    connection: sqlite3.Connection, run_id: int, job: int, problem: ErrorRecord, *, retryable: bool
) -> None:
    """Fail a job and its files."""
    if job_column(connection, job, "state") in {"new", "uploaded"}:
        refund(connection, job)
    change_job(
        connection,
        run_id,
        job,
        "state = 'failed', create_pending = 0, run_id = NULL, error_type = ?, error = ?,"
        " retryable = ?",
        *problem,
        int(retryable),
    )
    _end_files(connection, job)


def stop_waiting(
    connection: sqlite3.Connection, run_id: int, job: int, problem: ErrorRecord
) -> None:
    """Fail the files, but keep the generation, so that another run can wait for it."""
    change_job(
        connection,
        run_id,
        job,
        "run_id = NULL, error_type = ?, error = ?, retryable = 1, run_at = ?",
        *problem,
        FAR_FUTURE,
    )
    _end_files(connection, job)


def fail_broken_job(
    connection: sqlite3.Connection, run_id: int, job: int, problem: ErrorRecord
) -> None:
    """Fail a job after an unexpected error; a started generation is kept for a later run."""
    if job_column(connection, job, "state") == "started":
        stop_waiting(connection, run_id, job, problem)
    else:
        fail_job(connection, run_id, job, problem, retryable=True)


def _end_files(connection: sqlite3.Connection, job: int) -> None:
    for (file,) in connection.execute(
        "SELECT id FROM file WHERE job_id = ? AND state = 'joined'", (job,)
    ).fetchall():
        fail_with_job(connection, file, job)
