"""Open journal of a batch: its identity, its salt, and the registration of a run."""

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
from diffio_async.batch.settings import JournalIdentity, RunOptions, bind_service
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

#: Default file name of the journal, in the folder of the results.
DEFAULT_JOURNAL = ".diffio-batch.sqlite"
#: Seconds during which transitions are collected into one commit; a file has six of them.
_BATCH_WINDOW = 0.01
#: Seconds between attempts to acquire the listing lock.
_LOCK_RETRY_SECONDS = 0.1


class Journal:
    """A journal and the run registered in it; `run_id` is 0 before `register`."""

    def __init__(self, database: SqliteThread, path: str) -> None:
        self._database, self.path = database, path
        self.run_id = 0
        self._run: leases.RegisteredRun | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        original: str | None = None,
    ) -> Self:
        """Open the journal; if it was moved with its folder, its paths are updated.

        Args:
            path: The file.
            create: Whether to create the file if it is missing.
            original: The journal of which the file is a copy; messages name it.

        Raises:
            DatabaseError: The file cannot be opened; the message has the reason.
        """
        location = local_path(path, "the journal")
        database = await SqliteThread.open(
            location, SCHEMA, create=create, batch_window=_BATCH_WINDOW
        )
        journal = cls(database, location if original is None else original)
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
        """Run `step` in a write transaction and return its result; it is durable on return."""
        return await self._database.run(lambda connection: step(connection, *args, **kwargs))

    async def read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `query` in a read transaction and return its result."""
        return await self._database.read(lambda connection: query(connection, *args, **kwargs))

    async def register(
        self,
        identity: JournalIdentity,
        salt: str | None,
        *,
        service: str | None = None,
        options: RunOptions | None = None,
    ) -> None:
        """Register a run; the first one sets the journal's identity, later ones must have the same.

        Without a `service` the journal is not bound to one.

        Raises:
            ConfigurationError: The journal has another identity, service or salt.
        """
        await self.write(_check_identity, self.path, identity, salt, service, options)
        self._run = await self.write(leases.register_run)
        self.run_id = self._run.id
        await self.heartbeat()

    async def heartbeat(self) -> bool:
        """Renew the run's lease and reclaim dead runs; return whether there were any."""
        return self._run is not None and await self.write(leases.heartbeat, self._run)

    async def acquire_listing_lock(self) -> None:
        """Wait until no other run is listing. The lock ends with the run at the latest."""
        while not await self.write(_lock_listing, self.run_id):
            await asyncio.sleep(_LOCK_RETRY_SECONDS)
            await self.heartbeat()

    async def release_listing_lock(self) -> None:
        """Release the listing lock."""
        await self.write(_unlock_listing)

    async def close(self) -> None:
        """Release all leases of the run, and close the file."""
        try:
            if self.run_id:
                await self.write(leases.release_run, self.run_id)
        finally:
            await self._database.close()


def journal_at(path: str) -> Path:
    """Return the path of a journal: the path itself, or the default name in a folder."""
    found = Path(local_path(path, "the journal"))
    # `os.path.isdir` accepts any text; opening the journal reports an invalid path.
    return found / DEFAULT_JOURNAL if os.path.isdir(found) else found  # noqa: PTH112


def identity_of(connection: sqlite3.Connection) -> JournalIdentity | None:
    """Return the identity of the batch, None before the first run."""
    values = dict(connection.execute("SELECT name, value FROM batch").fetchall())
    names = ("model", "sampling", "params", "to", "name")
    if "salt" not in values:
        return None
    return JournalIdentity(**{name: decode_path(values[name]) for name in names})


def salt_of(connection: sqlite3.Connection) -> str:
    """Return the salt of the batch's idempotency keys."""
    row = connection.execute("SELECT value FROM batch WHERE name = 'salt'").fetchone()
    return str(row[0])


def options_of(connection: sqlite3.Connection) -> RunOptions:
    """Return the options of the last run."""
    row = connection.execute("SELECT value FROM batch WHERE name = 'options'").fetchone()
    return RunOptions() if row is None else RunOptions.read(row[0])


def _check_identity(
    connection: sqlite3.Connection,
    path: str,
    identity: JournalIdentity,
    salt: str | None,
    service: str | None,
    options: RunOptions | None,
) -> None:
    recorded = identity_of(connection)
    # Without files, the identity may still change.
    bound = bool(connection.execute("SELECT EXISTS (SELECT 1 FROM file)").fetchone()[0])
    if service is not None:
        bind_service(connection, path, service)
    if recorded is not None and bound:
        identity.check(recorded, path)
        if salt is not None and salt != salt_of(connection):
            raise ConfigurationError(
                f"the journal {path!r} has another salt. With this one its generations would be "
                "billed again; use the same salt, or another journal"
            )
        facts: list[tuple[str, object]] = []
    else:
        facts = [
            ("salt", secrets.token_hex(16) if salt is None else salt),
            ("begun_at", time.time()),
            ("spent_seconds", 0),
            *{**asdict(identity), "to": encode_path(identity.to)}.items(),
            ("folder", encode_path(_own_folder(path, identity.to))),
        ]
    connection.executemany(
        "INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)",
        facts if options is None else [*facts, ("options", options.text)],
    )


def _own_folder(path: str, to: str) -> str:
    """Return the journal's folder if it contains the results, which move with it, else ""."""
    folder = absolute(path).parent
    return str(folder) if Path(to).is_relative_to(folder) else ""


def _lock_listing(connection: sqlite3.Connection, run_id: int) -> bool:
    row = connection.execute(
        "SELECT value FROM batch JOIN run ON run.id = value WHERE name = 'listing'"
    ).fetchone()
    if row is not None and row[0] != run_id:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO batch (name, value) VALUES ('listing', ?)", (run_id,)
    )
    return True


def _unlock_listing(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM batch WHERE name = 'listing'")
