"""Transactions of files and results; each step is committed before the next one starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._storage.sqlite_open import now
from diffio_async.batch.schema import (
    LeaseLost,
    ResultDownload,
    ResultPath,
    SourceFile,
    encode_path,
    fetch_records,
)

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.batch.executor import StoredResult


#: Class and message of an error.
ErrorRecord = tuple[str, str]


def lease_files(connection: sqlite3.Connection, run_id: int, max_count: int) -> list[SourceFile]:
    """Lease up to `max_count` files that are due."""
    cursor = connection.execute(
        "SELECT id, source AS path, error AS problem, attempts + 1 AS attempts"
        " FROM file INDEXED BY file_due"
        " WHERE state = 'listed' AND run_id IS NULL AND run_at <= steady_now()"
        " ORDER BY run_at, id LIMIT ?",
        (max_count,),
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


def fail_file(connection: sqlite3.Connection, run_id: int, file: int, problem: ErrorRecord) -> None:
    """Fail a file that cannot be read, or whose result cannot be written."""
    _leased(connection, run_id, file)
    finish(connection, file, "failed", problem)


def skip_file(connection: sqlite3.Connection, run_id: int, file: int) -> None:
    """Skip a file whose results exist and must not be replaced."""
    _leased(connection, run_id, file)
    finish(connection, file, "skipped")


def requeue_file(
    connection: sqlite3.Connection, run_id: int, file: int, delay: float = 0.0
) -> None:
    """Requeue a file after `delay` seconds; the attempt does not count."""
    _leased(connection, run_id, file)
    connection.execute(
        "UPDATE file SET run_id = NULL, attempts = attempts - 1, run_at = ? WHERE id = ?",
        (now(connection) + delay, file),
    )


def requeue_files(connection: sqlite3.Connection, job: int, run_at: float = 0.0) -> None:
    """Requeue the files of a job that must be uploaded again."""
    connection.execute(
        "UPDATE file SET state = 'listed', run_at = ? WHERE job_id = ? AND state = 'joined'",
        (run_at, job),
    )


def _leased(connection: sqlite3.Connection, run_id: int, file: int) -> None:
    if not connection.execute(
        "SELECT 1 FROM file WHERE id = ? AND run_id = ?", (file, run_id)
    ).fetchone():
        raise LeaseLost


def fail_with_job(connection: sqlite3.Connection, file: int, job: int) -> None:
    """Fail a file with the error of its job."""
    error_type, text, retryable = connection.execute(
        "SELECT error_type, error, retryable FROM job WHERE id = ?", (job,)
    ).fetchone()
    finish(connection, file, "failed", (error_type, text), retryable=bool(retryable))


def finish_if_complete(connection: sqlite3.Connection, file: int) -> bool:
    """End the file if all its results are done or failed; return whether it ended."""
    left, failed = connection.execute(
        "SELECT sum(state NOT IN ('done', 'failed')), sum(state = 'failed') FROM result"
        " WHERE file_id = ?",
        (file,),
    ).fetchone()
    if left:
        return False
    if not failed:
        finish(connection, file, "done")
        return True
    error_type, text, retryable = connection.execute(
        "SELECT error_type, error, retryable FROM result WHERE file_id = ? AND state = 'failed'"
        " ORDER BY retryable DESC LIMIT 1",
        (file,),
    ).fetchone()
    finish(connection, file, "failed", (error_type, text), retryable=bool(retryable))
    return True


def finish(
    connection: sqlite3.Connection,
    file: int,
    state: str,
    problem: ErrorRecord | None = None,
    *,
    retryable: bool = True,
) -> None:
    """Record the end of a file with the next `end_seq`."""
    error_type, text = problem or (None, None)
    connection.execute(
        "UPDATE file SET state = ?, run_id = NULL, error_type = ?, error = ?, retryable = ?,"
        " ended_at = ?, end_seq = (SELECT coalesce(max(end_seq), 0) + 1 FROM file) WHERE id = ?",
        (state, error_type, text, retryable, time.time(), file),
    )


def requeue_failed(connection: sqlite3.Connection, *, billed: bool) -> None:
    """Requeue what failed at the start of a run, where a retry is not billed.

    With `billed`, failed generations are restarted too, with a new key: they are billed again.
    """
    connection.execute(
        "UPDATE job SET state = 'new', attempts = 0, run_at = 0"
        " WHERE state = 'failed' AND retryable = 1"
    )
    if billed:
        connection.execute(
            "UPDATE file SET retryable = 1, attempt = 1 + (SELECT attempt FROM job"
            " WHERE job.id = file.job_id) WHERE state = 'failed' AND job_id IN (SELECT id FROM job"
            " WHERE state = 'failed'"
            " OR (state IN ('started', 'complete') AND error_type = 'NotFound'))"
        )
    connection.execute("UPDATE file SET run_at = 0 WHERE state = 'listed' AND run_at > 0")
    connection.execute(
        "UPDATE job SET run_at = 0 WHERE state IN ('uploaded', 'started') AND run_at > 0"
    )
    connection.execute("UPDATE result SET run_at = 0 WHERE state = 'ready' AND run_at > 0")
    failed = (
        "SELECT file.id FROM file LEFT JOIN job ON job.id = file.job_id"
        " WHERE file.state = 'failed' AND file.retryable = 1"
    )
    known = "job.state IN ('uploaded', 'started', 'complete') AND job.attempt >= file.attempt"
    connection.execute(
        "UPDATE result SET state = 'wanted', attempts = 0, run_at = 0"  # noqa: S608 - our own names
        f" WHERE state = 'failed' AND retryable = 1 AND file_id IN ({failed})"
    )
    for state, where in (("joined", known), ("listed", f"(job.id IS NULL OR NOT ({known}))")):
        connection.execute(
            f"UPDATE file SET state = '{state}', end_seq = NULL, error = NULL,"  # noqa: S608
            f" error_type = NULL, attempts = 0, run_at = 0 WHERE id IN ({failed} AND {where})"
        )
    connection.execute(
        "UPDATE result SET state = 'ready' WHERE state = 'wanted' AND file_id IN"
        " (SELECT file.id FROM file JOIN job ON job.id = file.job_id"
        " WHERE file.state = 'joined' AND job.state = 'complete')"
    )


def lease_downloads(
    connection: sqlite3.Connection, run_id: int, max_count: int
) -> list[ResultDownload]:
    """Lease up to `max_count` ready results; the batch owns their files from now on."""
    cursor = connection.execute(
        "SELECT result.file_id, result.type AS download_type, result.path,"
        " result.attempts + 1 AS attempts, result.owned, result.bytes, job.id AS job_id,"
        " job.project, job.generation, file.size AS source_size"
        " FROM result INDEXED BY result_due JOIN file ON file.id = result.file_id"
        " JOIN job ON job.id = file.job_id"
        " WHERE result.state = 'ready' AND result.run_id IS NULL"
        " AND result.run_at <= steady_now() ORDER BY result.run_at LIMIT ?",
        (max_count,),
    )
    downloads = fetch_records(cursor, ResultDownload)
    connection.executemany(
        "UPDATE result SET run_id = ?, owned = 1, bytes = NULL, attempts = attempts + 1"
        " WHERE file_id = ? AND type = ?",
        [(run_id, download.file_id, download.download_type) for download in downloads],
    )
    return downloads


def finish_download(
    connection: sqlite3.Connection,
    run_id: int,
    download: ResultDownload,
    path: str,
    stored: StoredResult,
) -> None:
    """Record a finished download, and the end of its file if it is the last one."""
    _change(
        connection,
        run_id,
        download,
        "state = 'done', path = ?, bytes = ?, worker = ?, done_at = ?, error_type = NULL,"
        " error = NULL",
        encode_path(path),
        stored.size,
        stored.worker,
        time.time(),
    )
    finish_if_complete(connection, download.file_id)


def fail_download(
    connection: sqlite3.Connection,
    run_id: int,
    download: ResultDownload,
    problem: ErrorRecord,
    *,
    retryable: bool,
    owned: bool,
) -> None:
    """Fail a result; `owned` is whether a file that the batch wrote may exist at its path."""
    _change(
        connection,
        run_id,
        download,
        "state = 'failed', error_type = ?, error = ?, retryable = ?, owned = ?",
        *problem,
        int(retryable),
        int(owned),
    )
    finish_if_complete(connection, download.file_id)


def requeue_download(
    connection: sqlite3.Connection,
    run_id: int,
    download: ResultDownload,
    delay: float,
    *,
    counts: bool,
) -> None:
    """Requeue a result after `delay` seconds; `counts` is whether the attempt counts."""
    _change(
        connection,
        run_id,
        download,
        "run_at = ?, attempts = attempts - ?",
        now(connection) + delay,
        int(not counts),
    )


def fail_lost_result(
    connection: sqlite3.Connection, run_id: int, download: ResultDownload, text: str
) -> None:
    """Fail a result whose generation the service no longer knows; `retry` starts another one."""
    connection.execute(
        "UPDATE job SET error_type = 'NotFound', error = ? WHERE id = ? AND state = 'complete'"
        " AND generation = ?",
        (text, download.job_id, download.generation),
    )
    fail_download(
        connection, run_id, download, ("NotFound", text), retryable=True, owned=download.owned
    )


def restart_lost_job(connection: sqlite3.Connection, run_id: int, download: ResultDownload) -> None:
    """Restart a job whose generation an unbilled service no longer knows."""
    _change(connection, run_id, download, "state = 'wanted', attempts = 0, run_at = 0")
    lost = connection.execute(
        "UPDATE job SET state = 'new', project = NULL, upload = NULL, generation = NULL"
        " WHERE id = ? AND state = 'complete' AND generation = ?",
        (download.job_id, download.generation),
    ).rowcount
    if lost:
        connection.execute(
            "UPDATE result SET state = 'wanted' WHERE state = 'ready' AND run_id IS NULL"
            " AND file_id IN (SELECT id FROM file WHERE job_id = ? AND state = 'joined')",
            (download.job_id,),
        )
        requeue_files(connection, download.job_id)
    else:
        # Another result restarted the job before; it may be complete again.
        connection.execute(
            "UPDATE result SET state = 'ready' WHERE file_id = ? AND type = ? AND EXISTS"
            " (SELECT 1 FROM job WHERE id = ? AND state = 'complete')",
            (download.file_id, download.download_type, download.job_id),
        )


def _change(
    connection: sqlite3.Connection,
    run_id: int,
    download: ResultDownload,
    change: str,
    *values: object,
) -> None:
    written = connection.execute(
        f"UPDATE result SET run_id = NULL, {change}"  # noqa: S608 - our own names
        " WHERE file_id = ? AND type = ? AND run_id = ?",
        (*values, download.file_id, download.download_type, run_id),
    ).rowcount
    if not written:
        raise LeaseLost
