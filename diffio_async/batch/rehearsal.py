"""What a batch would do: listed in a copy of its journal, and nothing sent."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._engine.threads import Threads
from diffio_async.batch.journal import Journal
from diffio_async.batch.many import listed
from diffio_async.batch.paths import path_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async.batch.many import Order

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


async def rehearsed(order: Order) -> AsyncGenerator[Planned, None]:
    """What a run of `order` would take up, file by file.

    Raises:
        ConfigurationError: As the run itself would.
        DatabaseUnusable: As the run itself would.
    """
    order.check()
    with tempfile.TemporaryDirectory(prefix="diffio-batch-") as folder:
        copy = Path(folder) / "journal.sqlite"
        await Threads().run(_copied, order.journal, copy)
        journal = await Journal.open(copy)
        try:
            await journal.enter(order.terms, order.salt)
            await listed(order, journal)
            last = 0
            while page := await journal.see(_planned, last):
                for last, planned in page:  # noqa: B007 - where the next page begins
                    yield planned
        finally:
            await journal.close()


def _copied(source: Path, target: Path) -> None:
    if not source.exists():
        return
    # What is no journal is said to be none when the copy is opened.
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as a,
        contextlib.closing(sqlite3.connect(target)) as b,
    ):
        a.backup(b)
        return
    target.write_bytes(source.read_bytes())


def _planned(connection: sqlite3.Connection, after: int) -> list[tuple[int, Planned]]:
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
        )
        for number, source, size, state, problem in rows
    ]
