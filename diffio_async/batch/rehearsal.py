"""What a batch would do: listed in a copy of its journal, and nothing sent."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from diffio_async._engine.opening import opened
from diffio_async._engine.private_files import check_private
from diffio_async._engine.system_errors import reason_of
from diffio_async._engine.threads import Threads
from diffio_async.batch.intake import all_kept
from diffio_async.batch.joining import places_of
from diffio_async.batch.journal import Journal
from diffio_async.batch.many import listed
from diffio_async.batch.paths import path_of
from diffio_async.batch.reading import left_out_after
from diffio_async.errors import DatabaseUnusable, SourceUnusable, TargetUnusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from diffio_async.batch.many import Order
    from diffio_async.batch.plan import Plan
    from diffio_async.batch.rows import Place
    from diffio_async.models.batches import LeftOut

_PAGE = 500


@frozen(kw_only=True)
class Planned:
    """A file that a run would take up; sizes in bytes.

    `billed` where it needs a generation that is not paid for yet, if its content is no other
    file's. `problem` is what is wrong with it already.
    """

    source: Path
    paths: tuple[Path, ...]
    size_bytes: int
    billed: bool
    problem: str | None


async def rehearsed(order: Order) -> AsyncGenerator[Planned | LeftOut, None]:
    """What a run of `order` would take up, file by file, and what it would leave out.

    Raises:
        ConfigurationError: As the run itself would.
        DatabaseUnusable: As the run itself would.
    """
    order.check()
    with _folder() as folder:
        copy = Path(folder) / "journal.sqlite"
        await Threads().run(_copied, order.journal, copy)
        journal = await _opened(copy, str(order.journal))
        try:
            await order.enter(journal)
            await listed(order, journal)
            last = 0
            while page := await journal.see(_planned, last):
                for last, listed_, places in page:  # noqa: B007 - where the next page begins
                    planned = await _looked_at(listed_, places, order.plan)
                    if planned is not None:
                        yield planned
            last = 0
            while names := await journal.see(left_out_after, last, _PAGE):
                for last, name in names:  # noqa: B007 - where the next page begins
                    yield name
        finally:
            await journal.close()


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A folder for the copy.

    Raises:
        DatabaseUnusable: There is no place for one.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="diffio-batch-")
    except OSError as failure:
        raise DatabaseUnusable(
            f"there is no room for a copy of the journal: {reason_of(failure)} (TMPDIR names "
            "another folder)"
        ) from failure
    with made as folder:
        yield folder


async def _opened(copy: Path, shown: str) -> Journal:
    """The copy of a journal; messages name the journal itself."""
    try:
        journal = await Journal.open(copy)
    except DatabaseUnusable as failure:
        raise DatabaseUnusable(str(failure).replace(str(copy), shown)) from failure
    journal.path = shown
    return journal


async def _looked_at(planned: Planned, places: tuple[Place, ...], plan: Plan) -> Planned | None:
    """The plan with what a run would find wrong; None for a file that a run would leave out."""
    if planned.problem is not None:
        return planned
    kept: list[bool] = []
    path = str(planned.source)

    def look() -> None:
        kept.append(all_kept(path, places, plan))

    try:
        async with opened(path, max_bytes=plan.max_upload_bytes, first=look):
            pass
    except (SourceUnusable, TargetUnusable) as failure:
        if not any(kept):
            return evolve(planned, problem=str(failure), billed=False)
    return None if any(kept) else planned


def _copied(source: Path, target: Path) -> None:
    try:
        _copy(source, target)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as failure:
        raise DatabaseUnusable(
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


def _planned(
    connection: sqlite3.Connection, after: int
) -> list[tuple[int, Planned, tuple[Place, ...]]]:
    rows = connection.execute(
        "SELECT file.id, source, size, coalesce(work.state, 'new'), file.error FROM file"
        " LEFT JOIN work ON work.id = file.work AND work.attempt >= file.attempt"
        " WHERE file.id > ? AND file.state IN ('listed', 'joined') ORDER BY file.id LIMIT ?",
        (after, _PAGE),
    ).fetchall()
    return [
        (
            number,
            Planned(
                source=Path(path_of(source)),
                paths=tuple(
                    Path(path_of(path))
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
