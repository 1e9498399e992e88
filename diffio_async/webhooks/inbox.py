"""The inbox: every genuine event kept once, and handled at least once."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Self

from diffio_async._storage.database_clock import now
from diffio_async._storage.local_paths import local_path
from diffio_async.errors import ConfigurationError
from diffio_async.models.webhooks import InboxEntry, InboxState, WebhookEvent
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.consumer import Delivery, H, Handlers, LeasePolicy, acquire_deliveries
from diffio_async.webhooks.inbox_file import InboxFile, readable
from diffio_async.webhooks.push_source import InboxPushSource
from diffio_async.webhooks.receiver import WebhookSink
from diffio_async.webhooks.verifier import WebhookVerifier

DAY = 86400.0
#: Seconds: the sender tries for 27.6 hours, and an id forgotten before would be handled twice.
MIN_RETENTION = 28 * 3600.0


class WebhookInbox(WebhookSink):
    """A file of events, for one receiver or several and for consumers in any process.

    It is opened when it is first used; `async with inbox:` opens it at once and closes it when
    nobody is inside any more. It may be used from several event loops and threads. The file must
    be on a disk of this machine: processes share it by memory, which no network disk has.
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
    ) -> None:
        """Say where the inbox is; nothing is opened.

        Args:
            path: The file; it is made where it is missing, readable by its owner.
            verifier: Says what is genuine; needed to receive, and by nobody else.
            lease: Seconds after which what a dead consumer had taken is given to another, 3,600 at
                most. Living ones renew it.
            attempts: How often an event is tried before it is dead.
            retry_after: Seconds before the second attempt, doubled for each after that, up to an
                hour; by default the twelfth comes a little over an hour after the first.
            retention: Seconds for which ids and bodies are kept after an event was handled, 28
                hours at least: a second delivery is known by its id.
            unhandled_retention: The same for what was never handled, dead or not; None keeps it
                until it is. To be set where no consumer is, and the inbox only ends waits.
            clock: Seconds since the epoch, for tests. By default leases and retention are measured
                by a clock that does not jump when the time of day is set.

        Raises:
            ConfigurationError: One of these cannot be right.
        """
        if not 0 < lease <= inbox_queries.MAX_DELAY:
            raise ConfigurationError(f"lease must be above 0 and at most 3,600 s, not {lease!r}")
        if attempts < 1:
            raise ConfigurationError(f"attempts must be 1 or more, not {attempts!r}")
        if not retry_after >= 0:
            raise ConfigurationError(f"retry_after must be 0 or more seconds, not {retry_after!r}")
        kept = (retention, retention if unhandled_retention is None else unhandled_retention)
        if not min(kept) >= MIN_RETENTION:
            raise ConfigurationError(
                "retention must be 28 hours (100,800 s) or more: an event is delivered again for "
                f"that long, and is known by its id, not {min(kept)!r}"
            )
        self.verifier = verifier
        self._file = InboxFile(local_path(path, "the inbox"), clock)
        self._lease_policy = LeasePolicy(lease=lease, attempts=attempts, retry_after=retry_after)
        self._retention = inbox_queries.Retention(handled=retention, unhandled=unhandled_retention)
        self._handlers = Handlers()

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
        """Close the file, whoever uses it: consumers end. The next use opens it again."""
        await self._file.close()

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Keep a verified event; it is on the disk when this returns. False: its id was known.

        Args:
            event: What the verifier gave.
            body: The raw body it was in.

        Raises:
            ConfigurationError: The event has no `message_id`.
            DatabaseError: It could not be kept: answer 503, and it is delivered again.
        """
        if event.message_id is None:
            raise ConfigurationError("an event needs its message_id, by which it is known again")
        arrival = inbox_queries.new_event(event, event.message_id, body)
        keeping = self._retention
        new = await self._file.run(lambda db: inbox_queries.insert(db, arrival, now(db), keeping))
        if new:
            self._file.notifier.notify()
        return new

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Deliveries, each taken for this consumer alone, until the inbox is closed.

            async for delivery in inbox.deliveries():
                async with delivery as event:
                    ...

        Raises:
            DatabaseError: The inbox's file cannot be used.
        """
        while got := await acquire_deliveries(self._file, self._lease_policy, 1):
            yield got[0]

    async def consume(self) -> AsyncGenerator[WebhookEvent, None]:
        """Events, each taken for this consumer alone, until the inbox is closed.

        Asking for the next acknowledges the last. Whatever leaves the loop before, a `break` as
        well as an exception, gives the last one back, to be tried again later; `deliveries` lets
        you say for each.

        Raises:
            DatabaseError: The inbox's file cannot be used.
        """
        async with aclosing(self.deliveries()) as deliveries:
            async for delivery in deliveries:
                async with delivery as event:
                    yield event

    def on(self, *event_types: str) -> Callable[[H], H]:
        """A decorator for handlers of some types of events, without any of all; `run` calls them.

        A coroutine function runs on the loop, any other function in a thread. One that raises is
        called again with the same event later, and so are the others of that event: a handler
        may see an event more than once, and events of one generation in any order (`state`).
        """
        return self._handlers.on(event_types)

    async def run(self, *, concurrency: int = 8) -> None:
        """Have the handlers called until cancelled, or until the inbox is closed.

        Events that no handler is for are acknowledged: processes that share an inbox need the same
        handlers.

        Args:
            concurrency: Events that are handled at once.

        Raises:
            ConfigurationError: There is no handler.
            DatabaseError: The inbox's file cannot be used.
        """
        await self._handlers.run(self._file, self._lease_policy, concurrency)

    async def watch(self) -> AsyncGenerator[WebhookEvent, None]:
        """Every event from now on, whichever process receives it, without taking it from anybody.

        Raises:
            DatabaseError: The inbox's file cannot be used.
        """
        newest, _ = await self._file.read(inbox_queries.newest)
        async for _, events in self._file.changes(newest):
            for event in events:
                yield event

    async def state(self, generation_id: str) -> WebhookEvent | None:
        """The event that says the most of a generation, in whatever order they came.

        An end is never followed by anything but an end.
        """
        row = await self._file.read(lambda db: inbox_queries.most_advanced(db, generation_id))
        return None if row is None else readable(*row)

    def push_source(self) -> InboxPushSource:
        """What a client's waits listen to."""
        return InboxPushSource(self._file)

    async def entries(
        self, state: InboxState | None = None, *, limit: int | None = 100
    ) -> tuple[InboxEntry, ...]:
        """What is in the inbox, the newest first.

        Args:
            state: `waiting`, `taken`, `handled` or `dead`; None is any.
            limit: How many at most; None is all.
        """
        rows = await self._file.read(lambda db: inbox_queries.entries(db, state, limit))
        return tuple(inbox_queries.entry(row) for row in rows)

    async def dead(self, *, limit: int | None = 100) -> tuple[InboxEntry, ...]:
        """The events that were tried too often, the newest first."""
        return await self.entries("dead", limit=limit)

    async def retry(self, message_id: str | None = None) -> int:
        """Have an event handled anew, dead or handled; None: every dead one. Gives how many.

        What a consumer has in its hands is left to it.
        """
        return await self._file.run(
            lambda db: inbox_queries.requeue(db, now(db), message_id), ring=True
        )
