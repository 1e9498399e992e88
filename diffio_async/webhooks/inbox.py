"""Inbox: stores each verified event once, and delivers it at least once."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self, cast

from diffio_async._http.observers import Observers
from diffio_async._reporting import log
from diffio_async._storage.sqlite_open import now
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async._validators import Rule, local_path, positive_int, unlimited
from diffio_async.errors import ConfigurationError, DatabaseError
from diffio_async.models.generations import GenerationProgress
from diffio_async.models.webhooks import InboxEntry, InboxState, WebhookEvent, progress_from_event
from diffio_async.options import Observer, as_observers
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.consumer import Delivery, H, Handlers, LeasePolicy, acquire_deliveries
from diffio_async.webhooks.inbox_file import InboxFile, event_in_row
from diffio_async.webhooks.receiver import WebhookSink
from diffio_async.webhooks.verifier import WebhookVerifier

DAY = 86400.0
#: Seconds: the sender retries for 27.6 hours, and an id that is deleted before would be handled
#: twice.
MIN_RETENTION = 28 * 3600.0
#: Seconds before handlers that the file stopped run again.
RESTART_SECONDS = 5.0
_RETENTION = Rule(
    "28 hours (100,800 s) or more, for as long as deliveries are repeated",
    lambda value: unlimited.accepts(value) and cast("float", value) >= MIN_RETENTION,
)


class WebhookInbox(WebhookSink):
    """File of events for receivers and consumers in any number of processes.

    It is opened on first use. `async with inbox:` opens it at once and closes it when the last
    block ends. It may be used on several event loops and threads. The file must be on a local disk:
    processes share memory, which network disks do not support.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        verifier: WebhookVerifier | None = None,
        lease: float = 60.0,
        attempts: int = 12,
        retry_after: float = 2.0,
        retention: float = 7 * DAY,
        unhandled_retention: float | None = None,
        clock: Callable[[], float] | None = None,
        observers: Iterable[Observer] | Observer | None = None,
    ) -> None:
        """Create an inbox; the file is not opened yet.

        Args:
            path: The file; it is created if missing, readable by its owner only.
            verifier: Verifies deliveries; needed by receivers only.
            lease: Seconds after which the events of a dead consumer are delivered to another, at
                most 3,600. A running consumer renews its leases.
            attempts: Attempts before an event is dead.
            retry_after: Seconds before the second attempt, doubled for each after that, up to an
                hour; by default the twelfth comes a little over an hour after the first.
            retention: Seconds for which ids and bodies are kept after an event was handled, at
                least 28 hours: a repeated delivery is detected by its id.
            unhandled_retention: The same for events that were never handled, dead or not; None
                keeps them. Set it if there is no consumer and the inbox only ends waits.
            clock: Seconds since the epoch, for tests. By default leases and retention are measured
                by a clock that does not jump when the time of day is set.
            observers: One or several observers, which receive `OperationStarted` and
                `OperationEnded` around the handling of each event by `run` or `deliveries`.

        Raises:
            ConfigurationError: A value is invalid.
        """
        _RETENTION.check("retention", retention)
        if unhandled_retention is not None:
            _RETENTION.check("unhandled_retention", unhandled_retention)
        self.verifier = verifier
        self._file = InboxFile(local_path(path, "the inbox"), clock)
        self._lease_policy = LeasePolicy(lease=lease, attempts=attempts, retry_after=retry_after)
        self._retention = inbox_queries.Retention(handled=retention, unhandled=unhandled_retention)
        self._handlers = Handlers()
        self._observers = Observers(as_observers(observers))

    def __repr__(self) -> str:
        return f"WebhookInbox({self._file.path!r})"

    async def __aenter__(self) -> Self:
        await self._file.retain()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._file.release()

    async def aclose(self) -> None:
        """Close the file, also for its other users: consumers end. The next use opens it again."""
        await self._file.close()

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Store a verified event durably; return False if its id is known.

        Args:
            event: The event, as returned by the verifier.
            body: The raw body.

        Raises:
            ConfigurationError: The event has no `message_id`.
            DatabaseError: It could not be stored: respond with 503, and it is delivered again.
        """
        if event.message_id is None:
            raise ConfigurationError(
                "an event needs its message_id, by which repeated deliveries are detected"
            )
        retention = self._retention
        new = await self._file.run(
            lambda db: inbox_queries.insert(db, event, body, now(db), retention)
        )
        if new:
            self._file.notifier.notify()
        return new

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Yield deliveries, each leased by this consumer, until the inbox is closed.

            async for delivery in inbox.deliveries():
                async with delivery as event:
                    ...

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        async with aclosing(self._deliveries(self._observers)) as deliveries:
            async for delivery in deliveries:
                yield delivery

    async def _deliveries(self, observers: Observers | None) -> AsyncGenerator[Delivery, None]:
        while deliveries := await acquire_deliveries(self._file, self._lease_policy, 1, observers):
            yield deliveries[0]

    async def consume(self) -> AsyncGenerator[WebhookEvent, None]:
        """Yield events, each leased by this consumer, until the inbox is closed.

        The next iteration acknowledges the event. If the loop is left before, by `break` or by an
        exception, the last event is released for a later retry. Use `deliveries` to decide for each
        event.

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        # The loop that is left early would remain in its operation: it has none.
        async with aclosing(self._deliveries(None)) as deliveries:
            async for delivery in deliveries:
                async with delivery as event:
                    yield event

    def on(self, *event_types: str) -> Callable[[H], H]:
        """Return a decorator for handlers of these types, without types of all; `run` calls them.

        A coroutine function runs on the loop, any other function in a thread. If a handler raises,
        all handlers of the event are called again later: a handler may receive an event more than
        once, and the events of one generation in any order (`state`).
        """
        return self._handlers.on(event_types)

    async def run(self, *, concurrency: int = 8) -> None:
        """Call the handlers until cancelled, or until the inbox is closed.

        Events without a handler are acknowledged: processes that share an inbox need the same
        handlers.

        Args:
            concurrency: Events that are handled at once.

        Raises:
            ConfigurationError: There is no handler.
            DatabaseError: The file of the inbox cannot be used.
        """
        self._check_handlers(concurrency)
        await self._handlers.run(self._file, self._lease_policy, concurrency, self._observers)

    @asynccontextmanager
    async def running(self, *, concurrency: int = 8) -> AsyncGenerator[Self, None]:
        """Open the inbox, and call the handlers while the block runs: for the lifespan of a server.

            async with inbox.running():
                yield

        The end of the block cancels handlers, and releases their events for the next start. If the
        file cannot be used for a while (a full disk), that is logged, and the handlers run again
        afterwards.

        Args:
            concurrency: Events that are handled at once.

        Raises:
            ConfigurationError: There is no handler.
            DatabaseError: The file of the inbox cannot be opened.
        """
        self._check_handlers(concurrency)
        async with self:
            running = asyncio.create_task(self._run_again(concurrency))
            try:
                yield self
            finally:
                running.cancel()
                await wait_all_uncancelled([running])

    def _check_handlers(self, concurrency: int) -> None:
        if not self._handlers.by_type:
            raise ConfigurationError("there is no handler: @inbox.on('generation.completed')")
        positive_int.check("concurrency", concurrency)

    async def _run_again(self, concurrency: int) -> None:
        while True:
            try:
                return await self.run(concurrency=concurrency)
            except DatabaseError as failure:
                log.error("%r: no events are handled for a while: %s", self, failure)  # noqa: TRY400
                await asyncio.sleep(RESTART_SECONDS)

    async def watch(self) -> AsyncGenerator[WebhookEvent, None]:
        """Yield every event from now on, received by any process, without a lease.

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        newest, _ = await self._file.read(inbox_queries.newest)
        async for _, events in self._file.changes(newest):
            for event in events:
                yield event

    async def state(self, generation_id: str) -> WebhookEvent | None:
        """Return the most advanced event of a generation, None without events.

        The order of arrival does not matter. After a terminal event, later non-terminal events are
        ignored.

        Args:
            generation_id: The generation.

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        row = await self._file.read(lambda db: inbox_queries.most_advanced(db, generation_id))
        return None if row is None else event_in_row(*row)

    def push_source(self) -> InboxPushSource:
        """Return the source of events for the waits of a client."""
        return InboxPushSource(self._file)

    async def entries(
        self, state: InboxState | None = None, *, limit: int | None = 100
    ) -> tuple[InboxEntry, ...]:
        """Return the entries of the inbox, the newest first.

        Args:
            state: `waiting`, `leased`, `handled` or `dead`; None for any.
            limit: Maximum number; None for all.
        """
        return tuple(await self._file.read(lambda db: inbox_queries.entries(db, state, limit)))

    async def dead(self, *, limit: int | None = 100) -> tuple[InboxEntry, ...]:
        """Return the events whose attempts all failed, the newest first.

        Args:
            limit: Maximum number of events, None for all.

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        return await self.entries("dead", limit=limit)

    async def retry(self, message_id: str | None = None) -> int:
        """Requeue one event, or all dead ones; return the number requeued.

        An event that is leased by a consumer is not requeued.

        Args:
            message_id: Id of the event, None for all dead events.

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        return await self._file.run(
            lambda db: inbox_queries.requeue(db, now(db), message_id), notify=True
        )


class InboxPushSource:
    """Push source of a client; the file stays open from the first wait until `aclose`."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file
        self._retained = False

    def __reduce__(self) -> tuple[type[InboxPushSource], tuple[InboxFile]]:
        """Pickle the file."""
        return InboxPushSource, (self._file,)

    async def cursor(self) -> tuple[int, float | None]:
        """Return the number of the newest event, and its age in seconds.

        Raises:
            DatabaseError: The file cannot be used.
        """
        if not self._retained:
            self._retained = True
            try:
                await self._file.retain()
            except BaseException:
                self._retained = False
                raise

        def newest(db: sqlite3.Connection) -> tuple[int, float | None]:
            number, received_at = inbox_queries.newest(db)
            return number, None if received_at is None else max(0.0, now(db) - received_at)

        return await self._file.read(newest)

    async def latest(self, generation_ids: Sequence[str]) -> list[GenerationProgress]:
        """Return the most advanced progress of each generation that has events.

        Raises:
            DatabaseError: The file cannot be used.
        """
        rows = await self._file.read(
            lambda db: [inbox_queries.most_advanced(db, each) for each in generation_ids]
        )
        events = [event_in_row(*row) for row in rows if row is not None]
        found = [progress_from_event(event) for event in events if event is not None]
        return [progress for progress in found if progress is not None]

    async def stream(self, cursor: int) -> AsyncGenerator[list[GenerationProgress], None]:
        """Yield the progress that events report after a number, until the inbox is closed.

        Raises:
            DatabaseError: The file cannot be used.
        """
        async for _, events in self._file.changes(cursor):
            found = map(progress_from_event, events)
            yield [progress for progress in found if progress is not None]

    async def aclose(self) -> None:
        """Release the file; it is closed unless others retain it."""
        if self._retained:
            self._retained = False
            await self._file.release()
