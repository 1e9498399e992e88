"""Transactions of jobs: assignment of files, each step of a job, and its end.

Each step is committed before the next one starts.
"""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async._storage.sqlite_open import now
from diffio_async.batch.file_queries import fail_with_job, finish_if_complete, requeue_files
from diffio_async.batch.journal import salt_of
from diffio_async.batch.request import idempotency_key_for
from diffio_async.batch.schema import (
    FAR_FUTURE,
    JOB_COLUMNS,
    JOB_FIELDS,
    LeaseLost,
    RestorationJob,
    change_job,
    fetch_records,
    job_column,
)

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.batch.file_queries import ErrorRecord

#: Minimum seconds billed for a generation.
MIN_BILLED_SECONDS = 60.0


class Assignment(Enum):
    """Result of an assignment that needs no upload by this run."""

    IN_PROGRESS = "another run or step processes its job"
    READY = "its results can be downloaded"
    ENDED = "the file has ended"
    OVER_BUDGET = "its generation would exceed max_spend_seconds"


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
    job, is_leased, is_reserved = _job_for(connection, model, settings, attempt, digest)
    to_upload = job.state == "new" and not is_leased
    if to_upload and not is_reserved and not _reserve(connection, max_seconds):
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
            "UPDATE job SET run_id = ?, create_pending = upload IS NULL, cost_reserved = 1"
            " WHERE id = ?",
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
) -> tuple[RestorationJob, bool, bool]:
    """Return the job of a content, created if missing.

    Return too whether a run leases it, and whether its cost is reserved.
    """
    content = (digest, model, settings)
    state = "run_id IS NOT NULL, cost_reserved"
    row = connection.execute(
        f"SELECT {JOB_COLUMNS}, {state} FROM job"  # noqa: S608 - our own names
        " WHERE digest = ? AND model = ? AND settings = ? AND attempt >= ?"
        " ORDER BY attempt DESC LIMIT 1",
        (*content, attempt),
    ).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO job (digest, model, settings, attempt, key) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
            f" RETURNING {JOB_COLUMNS}, {state}",
            (*content, attempt, idempotency_key_for(salt_of(connection), *content, attempt)),
        ).fetchone()
    *columns, is_leased, is_reserved = row
    job = RestorationJob(**dict(zip(JOB_FIELDS, columns, strict=True)))
    return job, bool(is_leased), bool(is_reserved)


def _reserve(connection: sqlite3.Connection, max_seconds: float | None) -> bool:
    """Add the minimum cost of a job; return False if it would exceed `max_seconds`."""
    written = connection.execute(
        "UPDATE batch SET value = value + ? WHERE name = 'spent_seconds'"
        " AND (? IS NULL OR value + ? <= ?)",
        (MIN_BILLED_SECONDS, max_seconds, MIN_BILLED_SECONDS, max_seconds),
    ).rowcount
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


def lease_jobs(connection: sqlite3.Connection, run_id: int, max_count: int) -> list[RestorationJob]:
    """Lease up to `max_count` uploaded or started jobs that no run leases."""
    cursor = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM job INDEXED BY job_due"  # noqa: S608 - our own names
        " WHERE state IN ('uploaded', 'started') AND run_id IS NULL"
        " AND run_at <= steady_now() ORDER BY run_at, id LIMIT ?",
        (max_count,),
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
    connection: sqlite3.Connection, run_id: int, job: int, no_video: ErrorRecord | None = None
) -> int:
    """Record the completed generation; its results can be downloaded now.

    `no_video` is why it has no video, None if it may have one: videos fail with it at once.
    Return the number of those that failed.
    """
    change_job(
        connection,
        run_id,
        job,
        "state = 'complete', run_id = NULL, error = NULL, error_type = NULL, complete_at = ?",
        time.time(),
    )
    connection.execute(
        "UPDATE result SET state = 'ready' WHERE state = 'wanted' AND file_id IN"
        " (SELECT id FROM file WHERE job_id = ? AND state = 'joined')",
        (job,),
    )
    failed = list[tuple[int]]()
    if no_video is not None:
        failed = connection.execute(
            "UPDATE result SET state = 'failed', error_type = ?, error = ?, retryable = 0"
            " WHERE state = 'ready' AND type = 'video' AND file_id IN"
            " (SELECT id FROM file WHERE job_id = ? AND state = 'joined') RETURNING file_id",
            (*no_video, job),
        ).fetchall()
        for (file,) in failed:
            finish_if_complete(connection, file)
    return len(failed)


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
        requeue_files(connection, job, run_at)


def reset_lost_project(connection: sqlite3.Connection, run_id: int, job: int) -> None:
    """Upload again: the service no longer knows the project."""
    _replace(connection, job, None, "the service no longer knows it")
    change_job(
        connection,
        run_id,
        job,
        "state = 'new', project = NULL, upload = NULL, run_id = NULL, attempts = attempts + 1",
    )
    requeue_files(connection, job)


def restart_job(connection: sqlite3.Connection, run_id: int, job: int) -> None:
    """Restart a job whose generation an unbilled service no longer knows."""
    change_job(
        connection,
        run_id,
        job,
        "state = 'new', project = NULL, upload = NULL, generation = NULL, run_id = NULL",
    )
    requeue_files(connection, job)


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
