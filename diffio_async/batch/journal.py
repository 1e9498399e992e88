"""The journal of a batch, open: its terms, its salt, and a run's place in it."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from attrs import asdict

from diffio_async._storage.local_paths import local_path
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async._storage.threads import wait_uncancelled
from diffio_async.batch import leases
from diffio_async.batch.records import absolute, decode_path, encode_path
from diffio_async.batch.relocation import relocate, relocation
from diffio_async.batch.schema import SCHEMA
from diffio_async.batch.service import bind_service
from diffio_async.batch.settings import JournalIdentity, RunOptions
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

#: The journal's name where none is given: beside the results.
DEFAULT_JOURNAL = ".diffio-batch.sqlite"
#: Seconds for which transitions gather that are committed together; a file has six of them.
_BATCH_WINDOW = 0.01
#: Seconds between two looks at whether another run's listing is over.
_LISTING_LOCK_SECONDS = 0.1


class Journal:
    """A journal that a run takes part in; `run_id` is its number there."""

    def __init__(self, database: SqliteThread, path: str) -> None:
        self._database, self.path = database, path
        self.run_id = 0
        self._run: leases.RunId | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        original: str | None = None,
    ) -> Self:
        """Open it; if it was moved with its folder, its paths follow.

        Args:
            path: The file.
            create: Whether it is created where it is missing.
            original: The journal that the file is a copy of, which messages name.

        Raises:
            DatabaseError: It cannot be; the message says why.
        """
        shown = local_path(path, "the journal")
        database = await SqliteThread.open(shown, SCHEMA, create=create, batch_window=_BATCH_WINDOW)
        journal = cls(database, shown if original is None else original)
        try:
            located = absolute(journal.path)
            if await journal.read(relocation, located) is not None:
                await journal.write(relocate, located)
        except BaseException:
            await wait_uncancelled(asyncio.ensure_future(journal.close()))
            raise
        return journal

    async def write(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """What `step` gives; what it did is on the disk when this returns."""
        return await self._database.run(lambda connection: step(connection, *args, **kwargs))

    async def read(
        self,
        look: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """What `look` gives of one state of the journal; it writes nothing."""
        return await self._database.read(lambda connection: look(connection, *args, **kwargs))

    async def register(
        self,
        terms: JournalIdentity,
        salt: str | None,
        *,
        service: str | None = None,
        options: RunOptions | None = None,
    ) -> None:
        """Take part: as the first run, or under the terms of the first.

        Without a `service` the journal is not bound to one.

        Raises:
            ConfigurationError: It is of another batch or service, or has another salt.
        """
        await self.write(_check_identity, self.path, terms, salt, service, options)
        self._run = await self.write(leases.register_run)
        self.run_id = self._run.id
        await self.heartbeat()

    async def heartbeat(self) -> bool:
        """Give a sign of life, and free what dead runs held; whether there was any."""
        return self._run is not None and await self.write(leases.heartbeat, self._run)

    async def acquire_listing_lock(self) -> None:
        """Wait until no other run is listing; `listed` ends the turn, as does the run's end."""
        while not await self.write(_lock_listing, self.run_id):
            await asyncio.sleep(_LISTING_LOCK_SECONDS)
            await self.heartbeat()

    async def release_listing_lock(self) -> None:
        """End the turn."""
        await self.write(_unlock_listing)

    async def close(self) -> None:
        """Let go of all that is held, and close the file."""
        try:
            if self.run_id:
                await self.write(leases.release_run, self.run_id)
        finally:
            await self._database.close()


def journal_at(path: str) -> Path:
    """The journal that a path means: itself, or the one in a folder."""
    found = Path(local_path(path, "the journal"))
    # Any text may be asked for; opening it says what is wrong.
    return found / DEFAULT_JOURNAL if os.path.isdir(found) else found  # noqa: PTH112


def identity_of(connection: sqlite3.Connection) -> JournalIdentity | None:
    """The terms of the batch, None where no run has begun yet."""
    said = dict(connection.execute("SELECT name, value FROM batch").fetchall())
    names = ("model", "sampling", "params", "to", "name")
    if "salt" not in said:
        return None
    texts = {name: decode_path(said[name]) for name in names}
    return JournalIdentity(**texts)


def salt_of(connection: sqlite3.Connection) -> str:
    """What makes this batch's keys its own."""
    row = connection.execute("SELECT value FROM batch WHERE name = 'salt'").fetchone()
    return str(row[0])


def options_of(connection: sqlite3.Connection) -> RunOptions:
    """The options of the run that began last."""
    row = connection.execute("SELECT value FROM batch WHERE name = 'options'").fetchone()
    return RunOptions() if row is None else RunOptions.read(row[0])


def _check_identity(
    connection: sqlite3.Connection,
    path: str,
    terms: JournalIdentity,
    salt: str | None,
    service: str | None,
    options: RunOptions | None,
) -> None:
    recorded = identity_of(connection)
    # A batch that never got a file is bound to nothing.
    bound = bool(connection.execute("SELECT EXISTS (SELECT 1 FROM file)").fetchone()[0])
    if service is not None:
        bind_service(connection, path, service)
    if recorded is not None and bound:
        terms.check(recorded, path)
        if salt is not None and salt != salt_of(connection):
            raise ConfigurationError(
                f"the journal {path!r} has another salt: its generations would be paid again "
                "under this one"
            )
        facts: list[tuple[str, object]] = []
    else:
        facts = [
            ("salt", secrets.token_hex(16) if salt is None else salt),
            ("begun_at", time.time()),
            ("spent_seconds", 0),
            *{**asdict(terms), "to": encode_path(terms.to)}.items(),
            ("folder", encode_path(_own_folder(path, terms.to))),
        ]
    connection.executemany(
        "INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)",
        facts if options is None else [*facts, ("options", options.text)],
    )


def _own_folder(path: str, to: str) -> str:
    """The journal's folder where the results go there, or below: they move with it."""
    folder = absolute(path).parent
    return str(folder) if Path(to).is_relative_to(folder) else ""


def _lock_listing(connection: sqlite3.Connection, runner: int) -> bool:
    row = connection.execute(
        "SELECT value FROM batch JOIN runner ON runner.id = value WHERE name = 'listing'"
    ).fetchone()
    if row is not None and row[0] != runner:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO batch (name, value) VALUES ('listing', ?)", (runner,)
    )
    return True


def _unlock_listing(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM batch WHERE name = 'listing'")
