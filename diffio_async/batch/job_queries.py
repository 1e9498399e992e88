"""Each step of a work, committed before the next one is taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diffio_async._storage.database_clock import now
from diffio_async.batch.assignment import refund
from diffio_async.batch.file_queries import fail_with_job
from diffio_async.batch.records import JOB_COLUMNS, RestorationJob, change_job, job_column
from diffio_async.batch.result_queries import lease_downloads
from diffio_async.batch.schema import NOT_NOW

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.batch.file_queries import Problem
    from diffio_async.batch.records import ResultDownload


def lease_jobs(connection: sqlite3.Connection, runner: int, most: int) -> list[RestorationJob]:
    """Hold works that are uploaded, or started, and that no run holds."""
    rows = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM work INDEXED BY work_free"  # noqa: S608 - our own names
        " WHERE state IN ('uploaded', 'started') AND runner IS NULL AND due <= ?"
        " ORDER BY due, id LIMIT ?",
        (now(connection), most),
    ).fetchall()
    works = [RestorationJob.of(row) for row in rows]
    connection.executemany(
        "UPDATE work SET runner = ? WHERE id = ?", [(runner, work.id) for work in works]
    )
    return works


def save_upload_state(
    connection: sqlite3.Connection, runner: int, work: int, project: str, record: str
) -> None:
    """The project is there, and so much of the recording: how to go on."""
    _replace(connection, work, project, "its upload could not be gone on with")
    change_job(connection, runner, work, "project = ?, upload = ?, asked = 0", project, record)


def upload_finished(connection: sqlite3.Connection, runner: int, work: int, project: str) -> None:
    """The recording is at the service, whole."""
    _replace(connection, work, project, "its upload could not be gone on with")
    change_job(
        connection,
        runner,
        work,
        "state = 'uploaded', project = ?, upload = NULL, asked = 0, uploaded_at = ?",
        project,
        time.time(),
    )


def generation_created(
    connection: sqlite3.Connection, runner: int, work: int, project: str, generation: str
) -> None:
    """The generation is accepted, and billed. Another project's may answer: its content is ours."""
    _replace(connection, work, project, "the same content was being restored in another project")
    change_job(
        connection,
        runner,
        work,
        "state = 'started', project = ?, generation = ?, started_at = ?, tries = 0",
        project,
        generation,
        time.time(),
    )


def generation_complete(
    connection: sqlite3.Connection, runner: int, work: int, most: int
) -> tuple[list[ResultDownload], bool]:
    """Its results can be fetched: up to `most` that are held for that now, and whether more can."""
    change_job(
        connection,
        runner,
        work,
        "state = 'complete', runner = NULL, error = NULL, error_type = NULL, complete_at = ?",
        time.time(),
    )
    ready = connection.execute(
        "UPDATE result SET state = 'ready' WHERE state = 'wanted' AND file IN"
        " (SELECT id FROM file WHERE work = ? AND state = 'joined')",
        (work,),
    ).rowcount
    fetches = lease_downloads(connection, runner, most) if most else []
    return fetches, ready > len(fetches)


def requeue_job(
    connection: sqlite3.Connection, runner: int, work: int, delay: float, *, counts: bool
) -> None:
    """Another time, `delay` seconds from now; `counts` where the failure was its own."""
    due = now(connection) + delay
    new = job_column(connection, work, "state") == "new"
    change_job(
        connection,
        runner,
        work,
        "runner = NULL, asked = 0, due = ?, tries = tries + ?",
        due,
        int(counts),
    )
    if new:
        connection.execute(
            "UPDATE file SET state = 'listed', due = ? WHERE work = ? AND state = 'joined'",
            (due, work),
        )


def reset_lost_project(connection: sqlite3.Connection, runner: int, work: int) -> None:
    """The service does not know the project (any more): the recording is to be sent again."""
    _replace(connection, work, None, "the service no longer knows it")
    change_job(
        connection,
        runner,
        work,
        "state = 'new', project = NULL, upload = NULL, runner = NULL, tries = tries + 1",
    )
    connection.execute(
        "UPDATE file SET state = 'listed' WHERE work = ? AND state = 'joined'", (work,)
    )


def generation_lost(connection: sqlite3.Connection, runner: int, work: int) -> None:
    """The service no longer knows the generation and bills nothing: all of it is done again."""
    change_job(
        connection,
        runner,
        work,
        "state = 'new', project = NULL, upload = NULL, generation = NULL, runner = NULL",
    )
    connection.execute(
        "UPDATE file SET state = 'listed' WHERE work = ? AND state = 'joined'", (work,)
    )


def uploads_dropped(connection: sqlite3.Connection) -> None:
    """The upload hosts have new addresses: uploads that were under way begin again."""
    dropped = "state = 'new' AND upload IS NOT NULL AND runner IS NULL"
    connection.execute(
        "INSERT INTO orphan (work, project, reason, at) SELECT id, project,"  # noqa: S608
        f" 'the upload host moved', ? FROM work WHERE project IS NOT NULL AND {dropped}",
        (time.time(),),
    )
    connection.execute(
        f"UPDATE work SET project = NULL, upload = NULL WHERE {dropped}"  # noqa: S608
    )


def record_possible_orphan(connection: sqlite3.Connection, runner: int, work: int) -> None:
    """A project was asked for and the answer was lost: it may be there, and nobody knows its id."""
    if job_column(connection, work, "asked"):
        change_job(connection, runner, work, "asked = 0")
        _add_orphan(connection, work, None, "the answer was lost that would have named it")


def record_orphan(connection: sqlite3.Connection, runner: int, work: int, project: str) -> None:
    """A project was made whose upload failed and cannot be gone on with."""
    change_job(connection, runner, work, "asked = 0, project = NULL, upload = NULL")
    _add_orphan(connection, work, project, "its upload failed")


def _replace(connection: sqlite3.Connection, work: int, project: str | None, reason: str) -> None:
    before = job_column(connection, work, "project")
    if before is not None and before != project:
        _add_orphan(connection, work, str(before), reason)


def _add_orphan(
    connection: sqlite3.Connection, work: int, project: str | None, reason: str
) -> None:
    connection.execute(
        "INSERT INTO orphan (work, project, reason, at) VALUES (?, ?, ?, ?)",
        (work, project, reason, time.time()),
    )


def job_failed(
    connection: sqlite3.Connection, runner: int, work: int, problem: Problem, *, again: bool
) -> None:
    """It is over, and its files fail with it."""
    if job_column(connection, work, "state") in {"new", "uploaded"}:
        refund(connection, work)
    change_job(
        connection,
        runner,
        work,
        "state = 'failed', asked = 0, runner = NULL, error_type = ?, error = ?, again = ?",
        *problem,
        int(again),
    )
    _end_files(connection, work)


def stop_waiting(connection: sqlite3.Connection, runner: int, work: int, problem: Problem) -> None:
    """Only the waiting is over: the generation goes on, and another run can wait for it again."""
    change_job(
        connection,
        runner,
        work,
        "runner = NULL, error_type = ?, error = ?, again = 1, due = ?",
        *problem,
        NOT_NOW,
    )
    _end_files(connection, work)


def work_broken(connection: sqlite3.Connection, runner: int, work: int, problem: Problem) -> None:
    """Record an unexpected failure: a generation that was started is kept, to be waited for."""
    if job_column(connection, work, "state") == "started":
        stop_waiting(connection, runner, work, problem)
    else:
        job_failed(connection, runner, work, problem, again=True)


def _end_files(connection: sqlite3.Connection, work: int) -> None:
    for (file,) in connection.execute(
        "SELECT id FROM file WHERE work = ? AND state = 'joined'", (work,)
    ).fetchall():
        fail_with_job(connection, file, work)
