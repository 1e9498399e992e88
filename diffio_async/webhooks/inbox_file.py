"""The inbox's file: opened when first used, one for a whole process, and watched for changes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from diffio_async._storage.loops import running_loop
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async.errors import DatabaseError, WebhookRejected
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.events import parse_event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable

    from diffio_async._storage.database_clock import Clock
    from diffio_async.models.webhooks import WebhookEvent


class Notifier:
    """Rung after each change. There is no lock: each step on the set is atomic."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        #: Another one after each ring: who looks at it before looking for changes misses none.
        self.version = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake everybody; from any thread."""
        self.version = next(self._numbers)
        for waiting in self._waiters.copy():
            with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                waiting.get_loop().call_soon_threadsafe(_wake, waiting)

    async def wait(self, seen: int, seconds: float) -> bool:
        """Whether it was rung since `rung` was `seen`; waits for so many seconds."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiting)
        try:
            if self.version == seen:
                await asyncio.wait([waiting], timeout=seconds)
        finally:
            self._waiters.discard(waiting)
        return self.version != seen


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


T = TypeVar("T")

#: Seconds between two looks at whether another process has changed the file.
POLL_SECONDS = 0.05
#: Rows read at once by who follows the news.
MAX_CHANGES = 500


class InboxFile:
    """The file of one inbox, for any event loop of a process; a forked process reopens it."""

    def __init__(self, path: str, clock: Clock | None = None) -> None:
        self.path, self._clock = path, clock
        self._reset()

    def __reduce__(self) -> tuple[type[InboxFile], tuple[str, Clock | None]]:
        """Pickle where it is."""
        return InboxFile, (self.path, self._clock)

    def _reset(self) -> None:
        self._process = os.getpid()
        self._turn = threading.Lock()
        self._database: SqliteThread | None = None
        self._identity: tuple[int, int] | None = None
        self._opening: Future[None] | None = None
        self._users = 0
        #: One more with each closing.
        self.close_count = 0
        self.notifier = Notifier()

    async def open_database(self) -> SqliteThread:
        """The database.

        Raises:
            DatabaseError: It cannot be opened; the message says why.
        """
        if self._process != os.getpid():
            self._reset()  # the parent's lock may be held for ever here
        while True:
            with self._turn:
                if self._database is not None:
                    return self._database
                other, mine = self._opening, Future[None]()
                if other is None:
                    self._opening = mine
            if other is not None:
                # Shielded: who is cancelled while waiting must not cancel it for the others.
                await asyncio.shield(asyncio.wrap_future(other))
                continue
            try:
                database = await SqliteThread.open(
                    self.path, inbox_queries.SCHEMA, clock=self._clock
                )
                with self._turn:
                    self._database, self._identity = database, _identity(self.path)
                return database
            finally:
                self._opening = None
                mine.set_result(None)

    async def retain(self) -> None:
        """Open it, and keep it open until whoever entered has left."""
        await self.open_database()
        with self._turn:
            self._users += 1

    async def release(self) -> None:
        """Close it where nobody else has entered."""
        with self._turn:
            self._users -= 1
            last = self._users <= 0
        if last:
            await self.close()

    async def close(self) -> None:
        """Close it; who waits for changes is woken. The next use opens it again."""
        if self._process != os.getpid():
            return
        with self._turn:
            database, self._database = self._database, None
            self.close_count += 1
        self.notifier.notify()
        if database is not None:
            await database.close()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, ring: bool = False) -> T:
        """What `work` gives in a transaction that is on the disk when this returns.

        Raises:
            DatabaseError: The disk is full or broken, or the file was moved or deleted.
        """
        database, identity = await self.open_database(), self._identity

        def in_its_place(db: sqlite3.Connection) -> T:
            # What is written to a deleted file is lost without a word.
            if _identity(self.path) != identity:
                raise DatabaseError(
                    f"the webhook inbox {self.path!r} was moved, replaced or deleted while it was "
                    "in use: start the process again"
                )
            return work(db)

        result = await database.run(in_its_place)
        if ring:
            self.notifier.notify()
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads."""
        return await (await self.open_database()).read(work)

    async def wait_for_change(self, rung: int, foreign: int, seconds: float | None) -> None:
        """Wait until something may be new, or for so many seconds.

        Args:
            rung: The bell's number before the last look.
            foreign: The number of other processes' changes, then.
            seconds: None waits for a change alone.
        """
        loop = running_loop()
        end = None if seconds is None else loop.time() + seconds
        while True:
            left = POLL_SECONDS if end is None else min(POLL_SECONDS, end - loop.time())
            if left <= 0 or await self.notifier.wait(rung, left):
                return
            if await self.read(inbox_queries.data_version) != foreign:
                return

    async def changes(self, after: int) -> AsyncGenerator[tuple[int, list[WebhookEvent]], None]:
        """What came after a number, and comes until the inbox is closed; with each its last number.

        Raises:
            DatabaseError: The file cannot be used.
        """
        await self.open_database()
        closings = self.close_count
        while self.close_count == closings:
            try:
                rung, foreign = self.notifier.version, await self.read(inbox_queries.data_version)
                rows = await self.read(
                    partial(inbox_queries.changes, after=after, most=MAX_CHANGES)
                )
                if not rows:
                    await self.wait_for_change(rung, foreign, None)
                    continue
            except DatabaseError:
                if self.close_count == closings:
                    raise
                return
            after = rows[-1][0]
            events = [readable(message_id, body) for _, message_id, body in rows]
            yield after, [event for event in events if event is not None]


def readable(message_id: str, body: bytes) -> WebhookEvent | None:
    """The event of a row; None where its body is none (it was not put there by a receiver)."""
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
