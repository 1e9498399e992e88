"""Dry run: list the sources in a copy of the journal, without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from diffio_async._storage.threads import TrackedExecutor
from diffio_async._store_url import Place, StoreUrl
from diffio_async._uploads.open_source import check_object_source
from diffio_async.batch.executor import ResultsExist
from diffio_async.batch.file_queries import result_paths_of
from diffio_async.batch.journal import Journal
from diffio_async.batch.journal_queries import left_out_after
from diffio_async.batch.local_executor import check_results, open_recording
from diffio_async.batch.restore_many import list_sources
from diffio_async.batch.schema import decode_place
from diffio_async.batch.snapshot import copy_journal, temporary_folder
from diffio_async.batch.upload_stage import check_not_empty, recording_order
from diffio_async.errors import DatabaseError, InvalidSource, InvalidTarget

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from diffio_async.batch.request import BatchRequest, Plan
    from diffio_async.batch.schema import ResultPath
    from diffio_async.models.batches import LeftOut

_PAGE = 500


@frozen(kw_only=True)
class PlannedFile:
    """A file that a run would process.

    Attributes:
        size_bytes: The size of the recording.
        billed: Whether it needs a new generation, unless another file has the same content.
        problem: Why it would fail, None if nothing is wrong.
    """

    source: Place
    paths: tuple[Place, ...]
    size_bytes: int
    billed: bool
    problem: str | None


async def plan_batch(request: BatchRequest) -> AsyncGenerator[PlannedFile | LeftOut, None]:
    """Yield the files that a run of `request` would process, and the names it would leave out.

    Raises:
        ConfigurationError: As the run itself would.
        DatabaseError: As the run itself would.
    """
    request.check()
    with temporary_folder() as folder:
        copy = folder / "journal.sqlite"
        await TrackedExecutor().run(copy_journal, request.journal, copy)
        journal = await _open_copy(copy, str(request.journal))
        try:
            await journal.register(request)
            await list_sources(request, journal)
            last = 0
            while page := await journal.read(_planned_files, last):
                for last, file, result_paths in page:  # noqa: B007 - the start of the next page
                    planned = await _with_problem(file, result_paths, request.plan)
                    if planned is not None:
                        yield planned
            last = 0
            while names := await journal.read(left_out_after, last, _PAGE):
                for last, name in names:  # noqa: B007 - the start of the next page
                    yield name
        finally:
            await journal.close()


async def _open_copy(copy: Path, shown: str) -> Journal:
    """Open the copy of a journal; error messages name the journal itself."""
    try:
        return await Journal.open(copy, original=shown)
    except DatabaseError as failure:
        raise DatabaseError(str(failure).replace(str(copy), shown)) from failure


async def _with_problem(
    planned: PlannedFile, result_paths: tuple[ResultPath, ...], plan: Plan
) -> PlannedFile | None:
    """Return the file with the problem a run would find; None if a run would skip it."""
    if planned.problem is not None:
        return planned
    path = str(planned.source)
    order = recording_order(path, result_paths, plan)
    try:
        if isinstance(planned.source, StoreUrl):
            # Its content is not downloaded.
            await check_object_source(planned.source, plan.max_upload_bytes)
            await check_results(order)
        else:
            async with open_recording(order) as source:
                check_not_empty(source.size, path)
    except ResultsExist:
        return None
    except (InvalidSource, InvalidTarget) as failure:
        return evolve(planned, problem=str(failure), billed=False)
    return planned


def _planned_files(
    connection: sqlite3.Connection, after: int
) -> list[tuple[int, PlannedFile, tuple[ResultPath, ...]]]:
    rows = connection.execute(
        "SELECT file.id, source, size, coalesce(job.state, 'new'), file.error FROM file"
        " LEFT JOIN job ON job.id = file.job_id AND job.attempt >= file.attempt"
        " WHERE file.id > ? AND file.state IN ('listed', 'joined') ORDER BY file.id LIMIT ?",
        (after, _PAGE),
    ).fetchall()
    return [
        (
            number,
            PlannedFile(
                source=decode_place(source),
                paths=tuple(
                    decode_place(path)
                    for (path,) in connection.execute(
                        "SELECT path FROM result WHERE file_id = ? AND state != 'done'", (number,)
                    )
                ),
                size_bytes=size,
                billed=problem is None and state in {"new", "uploaded"},
                problem=problem,
            ),
            result_paths_of(connection, number),
        )
        for number, source, size, state, problem in rows
    ]
