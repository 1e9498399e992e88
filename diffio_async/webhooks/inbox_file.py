"""File of an inbox: opened on first use, shared by a process, and watched for changes."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from diffio_async._storage.loops import running_loop
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async._storage.threads import Notifier
from diffio_async.errors import DatabaseError, WebhookRejected
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.verifier import parse_event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable

    from diffio_async._storage.sqlite_open import Clock
    from diffio_async.models.webhooks import WebhookEvent


T = TypeVar("T")

#: Seconds between two checks for changes by other processes.
POLL_SECONDS = 0.05
#: Rows that are read at once from the changes.
MAX_CHANGES = 500


class InboxFile:
    """File of one inbox, for all event loops of a process; a forked process opens it again."""

    def __init__(self, path: str, clock: Clock | None = None) -> None:
        self.path, self._clock = path, clock
        self._reset()

    def __reduce__(self) -> tuple[type[InboxFile], tuple[str, Clock | None]]:
        """Pickle the path and the clock."""
        return InboxFile, (self.path, self._clock)

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._database: SqliteThread | None = None
        self._identity: tuple[int, int] | None = None
        self._opening: Future[None] | None = None
        self._users = 0
        #: How often it was closed.
        self.close_count = 0
        self.notifier = Notifier()

    async def open_database(self) -> SqliteThread:
        """Return the database, and open it if necessary.

        Raises:
            DatabaseError: It cannot be opened; the message contains the reason.
        """
        if self._process != os.getpid():
            self._reset()  # a lock of the parent process is never released here
        while True:
            with self._lock:
                if self._database is not None:
                    return self._database
                other, mine = self._opening, Future[None]()
                if other is None:
                    self._opening = mine
            if other is not None:
                # Shielded: a cancelled waiter must not cancel the opening for the others.
                await asyncio.shield(asyncio.wrap_future(other))
                continue
            try:
                database = await SqliteThread.open(
                    self.path, inbox_queries.SCHEMA, clock=self._clock
                )
                with self._lock:
                    self._database, self._identity = database, _identity(self.path)
                return database
            finally:
                self._opening = None
                mine.set_result(None)

    async def retain(self) -> None:
        """Open it, and keep it open until `release` is called as often."""
        await self.open_database()
        with self._lock:
            self._users += 1

    async def release(self) -> None:
        """Close it unless others retain it."""
        with self._lock:
            self._users -= 1
            last = self._users <= 0
        if last:
            await self.close()

    async def close(self) -> None:
        """Close it and wake the tasks that wait for changes. The next use opens it again."""
        if self._process != os.getpid():
            return
        with self._lock:
            database, self._database = self._database, None
            self.close_count += 1
        self.notifier.notify()
        if database is not None:
            await database.close()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, notify: bool = False) -> T:
        """Run `work` in a durable transaction and return its result.

        Args:
            work: Called with the connection in a thread.
            notify: Whether to notify waiting tasks of a change.

        Raises:
            DatabaseError: The disk is full or broken, or the file was moved or deleted.
        """
        database, identity = await self.open_database(), self._identity

        def in_same_file(db: sqlite3.Connection) -> T:
            # Writes to a deleted file would be lost without an error.
            if _identity(self.path) != identity:
                raise DatabaseError(
                    f"the webhook inbox {self.path!r} was moved, replaced or deleted while it was "
                    "in use: start the process again"
                )
            return work(db)

        result = await database.run(in_same_file)
        if notify:
            self.notifier.notify()
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a connection for reading and return its result."""
        return await (await self.open_database()).read(work)

    async def wait_for_change(
        self, version: object, data_version: int, seconds: float | None
    ) -> None:
        """Wait for a change, or for so many seconds.

        Args:
            version: The version of the notifier before the last read.
            data_version: The data version, which other processes change, before the last read.
            seconds: None waits without a limit.
        """
        loop = running_loop()
        end = None if seconds is None else loop.time() + seconds
        while True:
            left = POLL_SECONDS if end is None else min(POLL_SECONDS, end - loop.time())
            if left <= 0 or await self.notifier.wait(version, left):
                return
            if await self.read(inbox_queries.data_version) != data_version:
                return

    async def changes(self, after: int) -> AsyncGenerator[tuple[int, list[WebhookEvent]], None]:
        """Yield events after a row number until the inbox is closed, with the last number of each.

        Raises:
            DatabaseError: The file cannot be used.
        """
        await self.open_database()
        close_count = self.close_count
        while self.close_count == close_count:
            try:
                version = self.notifier.version
                data_version = await self.read(inbox_queries.data_version)
                rows = await self.read(
                    partial(inbox_queries.changes, after=after, limit=MAX_CHANGES)
                )
                if not rows:
                    await self.wait_for_change(version, data_version, None)
                    continue
            except DatabaseError:
                if self.close_count == close_count:
                    raise
                return
            after = rows[-1][0]
            events = [event_in_row(message_id, body) for _, message_id, body in rows]
            yield after, [event for event in events if event is not None]


def event_in_row(message_id: str, body: bytes) -> WebhookEvent | None:
    """Return the event of a row, None if the body is not an event (another program stored it)."""
    try:
        return parse_event(body, message_id)
    except WebhookRejected:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
