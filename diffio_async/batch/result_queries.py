"""Each step of a result, committed before the next one is taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from diffio_async._storage.database_clock import now
from diffio_async.batch.file_queries import finish_if_complete
from diffio_async.batch.records import LeaseLost, ResultDownload, decode_path, encode_path

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.batch.file_queries import Problem


def lease_downloads(connection: sqlite3.Connection, runner: int, most: int) -> list[ResultDownload]:
    """Hold results that can be fetched. From now on what stands under their names is ours."""
    rows = connection.execute(
        "SELECT result.file, result.type, result.path, result.tries + 1, result.begun,"
        " result.bytes, work.id, work.project, work.generation, file.size"
        " FROM result INDEXED BY result_free JOIN file ON file.id = result.file"
        " JOIN work ON work.id = file.work"
        " WHERE result.state = 'ready' AND result.runner IS NULL AND result.due <= ?"
        " ORDER BY result.due LIMIT ?",
        (now(connection), most),
    ).fetchall()
    connection.executemany(
        "UPDATE result SET runner = ?, begun = 1, bytes = NULL, tries = tries + 1"
        " WHERE file = ? AND type = ?",
        [(runner, row[0], row[1]) for row in rows],
    )
    return [_fetch(row) for row in rows]


def _fetch(row: tuple[Any, ...]) -> ResultDownload:
    file, kind, path, tries, begun, size, work, project, generation, source_size = row
    return ResultDownload(
        file=file,
        kind=kind,
        path=decode_path(path),
        tries=tries,
        ours=bool(begun),
        bytes=size,
        work=work,
        project=project,
        generation=generation,
        source_size=source_size,
    )


def download_finished(
    connection: sqlite3.Connection, runner: int, fetch: ResultDownload, path: str, size: int
) -> bool:
    """It is there, whole; whether its file has ended."""
    _change(
        connection,
        runner,
        fetch,
        "state = 'done', path = ?, bytes = ?, done_at = ?, error_type = NULL, error = NULL",
        encode_path(path),
        size,
        time.time(),
    )
    return finish_if_complete(connection, fetch.file)


def download_failed(
    connection: sqlite3.Connection,
    runner: int,
    fetch: ResultDownload,
    problem: Problem,
    *,
    again: bool,
    ours: bool,
) -> bool:
    """It is not there; `ours` whether something of the batch's may stand under its name."""
    _change(
        connection,
        runner,
        fetch,
        "state = 'failed', error_type = ?, error = ?, again = ?, begun = ?",
        *problem,
        int(again),
        int(ours),
    )
    return finish_if_complete(connection, fetch.file)


def requeue_download(
    connection: sqlite3.Connection,
    runner: int,
    fetch: ResultDownload,
    delay: float,
    *,
    counts: bool,
) -> None:
    """Another time, `delay` seconds from now; `counts` where the failure was its own."""
    _change(
        connection,
        runner,
        fetch,
        "due = ?, tries = tries - ?",
        now(connection) + delay,
        int(not counts),
    )


def result_lost(
    connection: sqlite3.Connection, runner: int, fetch: ResultDownload, text: str
) -> None:
    """The service no longer knows the generation; `text` says so. `retry` starts another one."""
    connection.execute(
        "UPDATE work SET error_type = 'NotFound', error = ? WHERE id = ? AND state = 'complete'"
        " AND generation = ?",
        (text, fetch.work, fetch.generation),
    )
    download_failed(connection, runner, fetch, ("NotFound", text), again=True, ours=fetch.ours)


def result_to_do_again(connection: sqlite3.Connection, runner: int, fetch: ResultDownload) -> None:
    """The service no longer knows the generation and bills nothing: all of it is done again."""
    _change(connection, runner, fetch, "state = 'wanted', tries = 0, due = 0")
    lost = connection.execute(
        "UPDATE work SET state = 'new', project = NULL, upload = NULL, generation = NULL"
        " WHERE id = ? AND state = 'complete' AND generation = ?",
        (fetch.work, fetch.generation),
    ).rowcount
    if lost:
        connection.execute(
            "UPDATE result SET state = 'wanted' WHERE state = 'ready' AND runner IS NULL"
            " AND file IN (SELECT id FROM file WHERE work = ? AND state = 'joined')",
            (fetch.work,),
        )
        connection.execute(
            "UPDATE file SET state = 'listed' WHERE work = ? AND state = 'joined'", (fetch.work,)
        )
    else:
        # Another result found out before: the work may be under way, or complete again.
        connection.execute(
            "UPDATE result SET state = 'ready' WHERE file = ? AND type = ? AND EXISTS"
            " (SELECT 1 FROM work WHERE id = ? AND state = 'complete')",
            (fetch.file, fetch.kind, fetch.work),
        )


def _change(
    connection: sqlite3.Connection, runner: int, fetch: ResultDownload, change: str, *values: object
) -> None:
    written = connection.execute(
        f"UPDATE result SET runner = NULL, {change}"  # noqa: S608 - our own words
        " WHERE file = ? AND type = ? AND runner = ?",
        (*values, fetch.file, fetch.kind, runner),
    ).rowcount
    if not written:
        raise LeaseLost
