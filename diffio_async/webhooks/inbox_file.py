"""The inbox's file: opened when first used, one for a whole process, and watched for changes."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from diffio_async._engine.database import Database
from diffio_async._engine.loops import running_loop
from diffio_async.errors import DatabaseUnusable, WebhookRejected
from diffio_async.webhooks import inbox_table
from diffio_async.webhooks.bell import Bell
from diffio_async.webhooks.reading import event_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable

    from diffio_async._engine.database_clock import Clock
    from diffio_async.models.webhooks import WebhookEvent

T = TypeVar("T")

#: Seconds between two looks at whether another process has changed the file.
LOOK_SECONDS = 0.05
#: Rows read at once by who follows the news.
NEWS_AT_ONCE = 500


class InboxFile:
    """The file of one inbox, for any event loop of a process; a forked process reopens it."""

    def __init__(self, path: str, clock: Clock | None = None) -> None:
        self.path, self._clock = path, clock
        self._begin()

    def __reduce__(self) -> tuple[type[InboxFile], tuple[str, Clock | None]]:
        """Pickle where it is."""
        return InboxFile, (self.path, self._clock)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._turn = threading.Lock()
        self._database: Database | None = None
        self._identity: tuple[int, int] | None = None
        self._opening: Future[None] | None = None
        self._users = 0
        #: One more with each closing.
        self.closings = 0
        self.bell = Bell()

    async def opened(self) -> Database:
        """The database.

        Raises:
            DatabaseUnusable: It cannot be opened; the message says why.
        """
        if self._process != os.getpid():
            self._begin()  # the parent's lock may be held for ever here
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
                database = await Database.open(self.path, inbox_table.SCHEMA, clock=self._clock)
                with self._turn:
                    self._database, self._identity = database, _identity(self.path)
                return database
            finally:
                self._opening = None
                mine.set_result(None)

    async def enter(self) -> None:
        """Open it, and keep it open until whoever entered has left."""
        await self.opened()
        with self._turn:
            self._users += 1

    async def leave(self) -> None:
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
            self.closings += 1
        self.bell.ring()
        if database is not None:
            await database.close()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, ring: bool = False) -> T:
        """What `work` gives in a transaction that is on the disk when this returns.

        Raises:
            DatabaseUnusable: The disk is full or broken, or the file was moved or deleted.
        """
        database, identity = await self.opened(), self._identity

        def in_its_place(db: sqlite3.Connection) -> T:
            # What is written to a deleted file is lost without a word.
            if _identity(self.path) != identity:
                raise DatabaseUnusable(
                    f"the webhook inbox {self.path!r} was moved, replaced or deleted while it was "
                    "in use: start the process again"
                )
            return work(db)

        result = await database.run(in_its_place)
        if ring:
            self.bell.ring()
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads."""
        return await (await self.opened()).read(work)

    async def stirred(self, rung: int, foreign: int, seconds: float | None) -> None:
        """Wait until something may be new, or for so many seconds.

        Args:
            rung: The bell's number before the last look.
            foreign: The number of other processes' changes, then.
            seconds: None waits for a change alone.
        """
        loop = running_loop()
        end = None if seconds is None else loop.time() + seconds
        while True:
            left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - loop.time())
            if left <= 0 or await self.bell.wait(rung, left):
                return
            if await self.read(inbox_table.foreign_changes) != foreign:
                return

    async def news(self, after: int) -> AsyncGenerator[tuple[int, list[WebhookEvent]], None]:
        """What came after a number, and comes until the inbox is closed; with each its last number.

        Raises:
            DatabaseUnusable: The file cannot be used.
        """
        await self.opened()
        closings = self.closings
        while self.closings == closings:
            try:
                rung, foreign = self.bell.rung, await self.read(inbox_table.foreign_changes)
                rows = await self.read(partial(inbox_table.news, after=after, most=NEWS_AT_ONCE))
                if not rows:
                    await self.stirred(rung, foreign, None)
                    continue
            except DatabaseUnusable:
                if self.closings == closings:
                    raise
                return
            after = rows[-1][0]
            events = [readable(message_id, body) for _, message_id, body in rows]
            yield after, [event for event in events if event is not None]


def readable(message_id: str, body: bytes) -> WebhookEvent | None:
    """The event of a row; None where its body is none (it was not put there by a receiver)."""
    try:
        return event_of(body, message_id)
    except WebhookRejected:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
