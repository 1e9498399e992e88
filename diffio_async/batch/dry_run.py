"""What a batch would do: listed in a copy of its journal, and nothing sent."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import evolve, frozen

from diffio_async._storage.private_files import check_private
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._uploads.open_source import open_source
from diffio_async.batch.assignment import places_of
from diffio_async.batch.intake import all_kept, check_not_empty
from diffio_async.batch.journal import Journal
from diffio_async.batch.journal_queries import left_out_after
from diffio_async.batch.records import decode_path
from diffio_async.batch.restore_many import list_files
from diffio_async.errors import DatabaseError, InvalidSource, InvalidTarget

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from diffio_async._uploads.source import FileSource
    from diffio_async.batch.context import Plan
    from diffio_async.batch.records import ResultPath
    from diffio_async.batch.restore_many import BatchRequest
    from diffio_async.models.batches import LeftOut

_PAGE = 500


@frozen(kw_only=True)
class PlannedFile:
    """A file that a run would take up; sizes in bytes.

    `billed` where it needs a generation that is not paid for yet, if its content is no other
    file's. `problem` is what is wrong with it already.
    """

    source: Path
    paths: tuple[Path, ...]
    size_bytes: int
    billed: bool
    problem: str | None


async def plan_batch(order: BatchRequest) -> AsyncGenerator[PlannedFile | LeftOut, None]:
    """What a run of `order` would take up, file by file, and what it would leave out.

    Raises:
        ConfigurationError: As the run itself would.
        DatabaseError: As the run itself would.
    """
    order.check()
    with _folder() as folder:
        copy = Path(folder) / "journal.sqlite"
        await TrackedExecutor().run(_copy_journal, order.journal, copy)
        journal = await _opened(copy, str(order.journal))
        try:
            await order.enter(journal)
            await list_files(order, journal)
            last = 0
            while page := await journal.read(_planned_files, last):
                for last, listed_, places in page:  # noqa: B007 - where the next page begins
                    planned = await _looked_at(listed_, places, order.plan)
                    if planned is not None:
                        yield planned
            last = 0
            while names := await journal.read(left_out_after, last, _PAGE):
                for last, name in names:  # noqa: B007 - where the next page begins
                    yield name
        finally:
            await journal.close()


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A folder for the copy.

    Raises:
        DatabaseError: There is no place for one.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="diffio-batch-")
    except OSError as failure:
        raise DatabaseError(
            f"there is no room for a copy of the journal: {reason_of(failure)} (TMPDIR names "
            "another folder)"
        ) from failure
    with made as folder:
        yield folder


async def _opened(copy: Path, shown: str) -> Journal:
    """The copy of a journal; messages name the journal itself."""
    try:
        return await Journal.open(copy, original=shown)
    except DatabaseError as failure:
        raise DatabaseError(str(failure).replace(str(copy), shown)) from failure


async def _looked_at(
    planned: PlannedFile, places: tuple[ResultPath, ...], plan: Plan
) -> PlannedFile | None:
    """The plan with what a run would find wrong; None for a file that a run would leave out."""
    if planned.problem is not None:
        return planned
    kept: list[bool] = []
    path = str(planned.source)

    def look() -> None:
        kept.append(all_kept(path, places, plan))

    try:
        async with open_source(path, max_bytes=plan.max_upload_bytes, before_open=look) as found:
            check_not_empty(cast("FileSource", found), path)
    except (InvalidSource, InvalidTarget) as failure:
        if not any(kept):
            return evolve(planned, problem=str(failure), billed=False)
    return None if any(kept) else planned


def _copy_journal(source: Path, target: Path) -> None:
    try:
        _copy(source, target)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as failure:
        raise DatabaseError(
            f"the batch journal {str(source)!r} cannot be used: {reason_of(failure)}"
        ) from failure


def _copy(source: Path, target: Path) -> None:
    check_private(source)
    # What is no journal is said to be none when the copy is opened.
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as a,
        contextlib.closing(sqlite3.connect(target)) as b,
    ):
        a.backup(b)
        return
    target.write_bytes(source.read_bytes())


def _planned_files(
    connection: sqlite3.Connection, after: int
) -> list[tuple[int, PlannedFile, tuple[ResultPath, ...]]]:
    rows = connection.execute(
        "SELECT file.id, source, size, coalesce(work.state, 'new'), file.error FROM file"
        " LEFT JOIN work ON work.id = file.work AND work.attempt >= file.attempt"
        " WHERE file.id > ? AND file.state IN ('listed', 'joined') ORDER BY file.id LIMIT ?",
        (after, _PAGE),
    ).fetchall()
    return [
        (
            number,
            PlannedFile(
                source=Path(decode_path(source)),
                paths=tuple(
                    Path(decode_path(path))
                    for (path,) in connection.execute(
                        "SELECT path FROM result WHERE file = ? AND state != 'done'", (number,)
                    )
                ),
                size_bytes=size,
                billed=problem is None and state in {"new", "uploaded"},
                problem=problem,
            ),
            places_of(connection, number),
        )
        for number, source, size, state, problem in rows
    ]
