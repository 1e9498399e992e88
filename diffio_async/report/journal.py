"""Recordings of a batch for a report, read from a copy of its journal."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._storage.sqlite_open import connect, translate_error
from diffio_async._store_url import Place, StoreUrl, place_of
from diffio_async._text import shell_line
from diffio_async.batch.job_queries import MIN_BILLED_SECONDS
from diffio_async.batch.journal import (
    SANDBOX,
    identity_of,
    journal_at,
    recorded_service,
    relocate,
)
from diffio_async.batch.schema import SCHEMA, absolute, decode_place
from diffio_async.batch.snapshot import copy_journal, temporary_folder
from diffio_async.errors import ConfigurationError, DatabaseError
from diffio_async.report.listing import Listing, Problem, Recording, key_of
from diffio_async.report.objects import check_readable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from diffio_async.report.listing import State

_STATES: dict[str, State] = {"done": "restored", "skipped": "skipped", "failed": "failed"}


def list_batch(path: str | os.PathLike[str]) -> Listing:
    """Return a listing of the files of a batch, which may be running: its journal is copied.

    Args:
        path: The journal, or the folder that contains it.

    Raises:
        DatabaseError: The journal cannot be read.
        ConfigurationError: It lists no file yet.
    """
    journal = absolute(journal_at(os.fspath(path)))
    with temporary_folder() as folder:
        copy = folder / "journal.sqlite"
        copy_journal(journal, copy)
        try:
            with contextlib.closing(connect(str(copy), SCHEMA, create=False)) as connection:
                relocate(connection, journal)
                return _read(connection, journal)
        except DatabaseError as failure:
            raise DatabaseError(str(failure).replace(str(copy), str(journal))) from failure
        except Exception as failure:
            error = translate_error(str(journal), SCHEMA, failure)
            if error is failure:
                raise
            raise error from failure


def _read(connection: sqlite3.Connection, journal: Path) -> Listing:
    identity = identity_of(connection)
    rows = connection.execute(
        "SELECT file.id, file.source, file.state, file.model, file.error,"
        " job.error, file.state = 'failed' AND job.state = 'failed' AND NOT file.retryable,"
        " job.generation, job.cost_reserved,"
        " (SELECT min(first.id) FROM file AS first WHERE first.job_id = job.id)"
        " FROM file LEFT JOIN job ON job.id = file.job_id"
        " WHERE file.state != 'draft' ORDER BY file.id"
    ).fetchall()
    if identity is None or not rows:
        raise ConfigurationError(
            f"the journal {str(journal)!r} does not list any file yet: start the batch first"
        )
    check_readable(identity.to)
    bills = recorded_service(connection) != SANDBOX
    sources = [decode_place(row[1]) for row in rows]
    recordings = []
    for row, where, name in zip(rows, sources, names_of(sources), strict=True):
        file, _, state, model, error, job_error, is_billed, generation, reserved, first = row
        results = _results(connection, file)
        recordings.append(
            Recording(
                name=name,
                source=str(where),
                before=where,
                after=results.media,
                transcript=results.transcript,
                state=_STATES.get(state, "waiting"),
                file_id=file,
                generation=generation,
                model=model,
                billed=_billed(reserved, is_first=first == file) if bills else None,
                worker=results.worker,
                problem=_problem(error or results.error or job_error, journal, is_billed=is_billed),
            )
        )
    return Listing(
        kind="batch",
        title=place_of(identity.to).name or identity.to,
        key=key_of(str(journal)),
        recordings=tuple(recordings),
    )


def names_of(places: Sequence[PurePath | StoreUrl]) -> list[str]:
    """Return paths relative to their common folder, or whole if they are on several drives."""
    paths = [each for each in places if isinstance(each, PurePath)]
    if len(paths) < len(places):
        return [*map(str, places)]
    folder = next(
        (each for each in paths[0].parents if all(path.is_relative_to(each) for path in paths)),
        None,
    )
    return [str(path if folder is None else path.relative_to(folder)) for path in paths]


def _billed(reserved: int | None, *, is_first: bool) -> float | None:
    """Return the seconds billed at least; files with the same content share a generation."""
    if reserved is None:
        return None
    return MIN_BILLED_SECONDS if reserved and is_first else 0.0


def _problem(error: str | None, journal: Path, *, is_billed: int | None) -> Problem | None:
    if error is None:
        return None
    retry = shell_line(["diffio-async", "batch", "retry", str(journal)])
    if is_billed:
        return Problem(message=error, next=f"{retry} (a new generation, which is billed)")
    return Problem(message=error, next="run the batch again, which retries it without a bill")


@frozen
class _Results:
    media: Place | None
    transcript: Place | None
    worker: str | None
    error: str | None


def _results(connection: sqlite3.Connection, file: int) -> _Results:
    """Return the results of a file that were written, the sound before the video."""
    paths, workers, errors = dict[str, Place](), list[str](), list[str]()
    for kind, path, state, worker, error, file_state in connection.execute(
        "SELECT result.type, path, result.state, worker, result.error, file.state FROM result"
        " JOIN file ON file.id = file_id WHERE file_id = ?",
        (file,),
    ):
        if state == "done" or file_state == "skipped":
            paths[kind] = decode_place(path)
        workers += [worker] if worker else []
        errors += [error] if error else []
    return _Results(
        paths.get("audio") or paths.get("video"),
        paths.get("transcript"),
        next(iter(workers), None),
        next(iter(errors), None),
    )
