"""Handlers of an inbox's events: found by type, run several at a time, at least once each."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field, frozen

from diffio_async._logging import log
from diffio_async._protocol.api_errors import encodable
from diffio_async._protocol.redaction import redact
from diffio_async._storage.database_clock import now
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async.errors import ConfigurationError, DatabaseError
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.inbox_file import InboxFile, readable

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.webhooks.inbox_file import InboxFile

#: The share of a lease after which it is renewed, so that two failures to do so are survived.
_RENEW_FRACTION = 0.3
#: Letters of a failure that are kept.
_MAX_ERROR_LENGTH = 500


@frozen(kw_only=True)
class LeasePolicy:
    """How consumers take deliveries.

    Attributes:
        lease: Seconds a consumer that says nothing keeps one.
        attempts: How often one is tried before it is dead.
        retry_after: Seconds before the second attempt, doubled for each after that.
    """

    lease: float
    attempts: int
    retry_after: float

    def pause(self, attempt: int, jitter: float) -> float | None:
        """Seconds until the attempt after this one; None where there is none."""
        if attempt >= self.attempts:
            return None
        longest = min(inbox_queries.MAX_DELAY, self.retry_after * 2.0 ** min(attempt - 1, 64))
        return longest * (0.8 + 0.2 * jitter)


class Delivery:
    """An event that this consumer has taken: handle it inside `async with delivery as event:`.

    The end of the block acknowledges it, on the disk when the block is left. An exception gives it
    back, to be tried again later, and is raised; a cancellation gives it back as if it had not been
    taken. Within the block the lease is renewed for as long as it takes.

    Attributes:
        event: What was delivered.
        body: The raw body.
        attempt: Which try this is, from 1.
        received_at: When it was first received.
    """

    def __init__(
        self,
        file: InboxFile,
        terms: LeasePolicy,
        taken: inbox_queries.LeasedEvent,
        event: WebhookEvent,
    ) -> None:
        self._file, self._terms, self._lease = file, terms, taken
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self.event: WebhookEvent = event
        self.body: bytes = taken.body
        self.attempt: int = taken.attempt
        self.received_at: datetime = datetime.fromtimestamp(taken.received_at, UTC)

    def __repr__(self) -> str:
        return f"Delivery({self.event.message_id!r}, {self.event.event_type!r}, {self.attempt})"

    async def __aenter__(self) -> WebhookEvent:
        self._schedule_renewal()
        return self.event

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.acknowledge()
            elif isinstance(error, GeneratorExit):
                await self.fail("the loop was left before the next event was asked for")
            elif _is_failure(error):
                await self.fail(_text_of(error))
            else:
                await self.release()
        except DatabaseError:
            if error is None:
                raise
            # The lease gives it back as well; what is raised already says more.
            log.exception("%r could not be given back before its lease ends", self)

    async def acknowledge(self) -> None:
        """It was handled: it is not given to anybody again.

        Raises:
            DatabaseError: That could not be written; it will be handled again.
        """
        self._stop()
        taken = self._lease
        await self._file.run(lambda db: inbox_queries.ack(db, taken, now(db)))

    async def fail(self, reason: str) -> None:
        """It was not handled: it is tried again after a pause, or is dead after the last attempt.

        Raises:
            DatabaseError: That could not be written; it is tried again when the lease ends.
        """
        self._stop()
        taken, said = self._lease, encodable(redact(reason, limit=_MAX_ERROR_LENGTH))
        pause = self._terms.pause(self.attempt, random.random())  # noqa: S311 - jitter needs no secrecy
        if pause is None:
            log.error("%r is dead after %d attempts: %s", self, self.attempt, said)
        else:
            log.info("%r was not handled; again in %.0f s: %s", self, pause, said)

        def failed(db: sqlite3.Connection) -> None:
            due = None if pause is None else now(db) + pause
            inbox_queries.failed(db, taken, said, due)

        await self._file.run(failed, ring=True)

    async def release(self) -> None:
        """It was not tried: it may be taken again at once, and no attempt is counted.

        Raises:
            DatabaseError: That could not be written; it is tried again when the lease ends.
        """
        self._stop()
        claim, number = self._lease.lease_id, self._lease.number
        await self._file.run(
            lambda db: inbox_queries.release(db, claim, now(db), number), ring=True
        )

    def _schedule_renewal(self) -> None:
        """Have the lease renewed later; most are handled before, and cost a timer."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._terms.lease * _RENEW_FRACTION, self._renew)

    def _renew(self) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renewed())

    async def _renewed(self) -> None:
        taken, lease = self._lease, self._terms.lease
        try:
            ours = await self._file.run(lambda db: inbox_queries.renew(db, taken, now(db) + lease))
        except DatabaseError as failure:
            log.warning("the lease of %r could not be renewed: %s", self, failure)
            ours = True
        if ours:
            self._schedule_renewal()
        else:
            log.warning("the lease of %r had ended: another consumer may have taken it", self)

    def _stop(self) -> None:
        for each in (self._timer, self._renewing):
            if each is not None:
                each.cancel()


def _is_failure(error: BaseException) -> bool:
    """Whether a handler failed, rather than was cancelled from outside or told to exit.

    A handler's own `CancelledError` (a task that it awaited was cancelled) is a failure: released
    instead, its event would be leased again at once, for ever.
    """
    if isinstance(error, Exception):
        return True
    task = asyncio.current_task()
    return not isinstance(error, (KeyboardInterrupt, SystemExit)) and not (
        task is not None and task.cancelling()
    )


def _text_of(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - it is a handler's, and may be of any class
        return f"{type(error).__name__} (its text cannot be read)"


async def acquire_deliveries(file: InboxFile, terms: LeasePolicy, most: int) -> list[Delivery]:
    """Take up to `most` deliveries; wait until there is one. None at all: the inbox was closed.

    Raises:
        DatabaseError: The inbox's file cannot be used.
    """
    await file.open_database()
    closings = file.close_count
    while file.close_count == closings:
        try:
            rung, foreign = file.notifier.version, await file.read(inbox_queries.data_version)
            rows, seconds = await _acquire(file, terms, most)
            if rows:
                found = [await _delivery(file, terms, row) for row in rows]
                if readables := [each for each in found if each is not None]:
                    return readables
                continue
            await file.wait_for_change(rung, foreign, seconds)
        except DatabaseError:
            if file.close_count == closings:
                raise
    return []


async def _delivery(
    file: InboxFile, terms: LeasePolicy, row: inbox_queries.LeasedEvent
) -> Delivery | None:
    """The row as a delivery; one that cannot be read is put to the dead."""
    event = readable(row.message_id, row.body)
    if event is None:
        await file.run(lambda db: inbox_queries.failed(db, row, "its body is no event", None))
        return None
    return Delivery(file, terms, row, event)


async def _acquire(
    file: InboxFile, terms: LeasePolicy, most: int
) -> tuple[list[inbox_queries.LeasedEvent], float | None]:
    """What can be taken now, and in how many seconds the next may be."""
    claim = uuid.uuid4().hex

    def work(db: sqlite3.Connection) -> tuple[list[inbox_queries.LeasedEvent], float | None]:
        at = now(db)
        rows = inbox_queries.acquire(db, claim, at, terms.lease, most, terms.attempts)
        due = inbox_queries.next_due(db)
        return rows, None if due is None else max(0.0, due - at)

    try:
        return await file.run(work)
    except asyncio.CancelledError:
        # The thread takes them all the same, for nobody: this comes after it in the thread, whether
        # or not there is time to wait for it.
        with contextlib.suppress(asyncio.CancelledError, DatabaseError):
            await file.run(lambda db: inbox_queries.release(db, claim, now(db)))
        raise


#: Told of an event. A coroutine function runs on the loop, a plain one in a thread.
Handler = Callable[[WebhookEvent], object]
H = TypeVar("H", bound=Handler)


@define
class Handlers:
    """Who is told of which types, in the order they came."""

    _by_type: list[tuple[tuple[str, ...], Handler]] = field(factory=list)

    def on(self, event_types: tuple[str, ...]) -> Callable[[H], H]:
        """A decorator that adds a handler; no types at all means each.

        Raises:
            ConfigurationError: A type is no text.
        """
        if not all(isinstance(each, str) for each in event_types):
            raise ConfigurationError(
                "name the types of events: @inbox.on('generation.completed'), or @inbox.on() for "
                "every type"
            )

        def add(handler: H) -> H:
            self._by_type.append((event_types, handler))
            return handler

        return add

    def handler_for(self, event_type: str) -> list[Handler]:
        """Who is told of a type."""
        return [handler for types, handler in self._by_type if not types or event_type in types]

    async def run(self, file: InboxFile, terms: LeasePolicy, most: int) -> None:
        """Handle what comes until cancelled, or until the inbox is closed.

        Raises:
            ConfigurationError: There is no handler.
            DatabaseError: The inbox's file cannot be used.
        """
        if not self._by_type:
            raise ConfigurationError("there is no handler: @inbox.on('generation.completed')")
        if most < 1:
            raise ConfigurationError(f"concurrency must be 1 or more, not {most!r}")
        # Not the pool of files: what handlers do may take long.
        pool = ThreadPoolExecutor(most, thread_name_prefix="diffio-webhooks")
        running: set[asyncio.Task[None]] = set()
        try:
            while deliveries := await acquire_deliveries(file, terms, most - len(running)):
                for delivery in deliveries:
                    task = asyncio.create_task(self._handle(delivery, pool))
                    running.add(task)
                    task.add_done_callback(running.discard)
                while len(running) >= most:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await wait_all_uncancelled(running)
        finally:
            # Each has begun (tasks begin in the order they were made), and gives back what it has.
            for task in running:
                task.cancel()
            await wait_all_uncancelled(running)
            pool.shutdown(wait=False)

    async def _handle(self, delivery: Delivery, pool: ThreadPoolExecutor) -> None:
        try:
            async with delivery as event:
                for handler in self.handler_for(event.event_type):
                    if inspect.iscoroutinefunction(handler):
                        await handler(event)
                    else:
                        await _run_in_thread(pool, handler, event)
        except BaseException as error:
            if not _is_failure(error):
                raise
            log.warning("%r was not handled", delivery, exc_info=True)


async def _run_in_thread(pool: ThreadPoolExecutor, handler: Handler, event: WebhookEvent) -> None:
    """Run a handler in a thread, which cannot be cancelled: its end is waited for, and counts."""
    future = asyncio.get_running_loop().run_in_executor(pool, _call, handler, event)
    try:
        outcome = await asyncio.shield(future)
    except asyncio.CancelledError:
        await wait_all_uncancelled([future])
        outcome = future.result()
    if inspect.isawaitable(outcome):
        await outcome


def _call(handler: Handler, event: WebhookEvent) -> object:
    try:
        return handler(event)
    except StopIteration as error:  # no future can hold one
        raise RuntimeError("the handler raised StopIteration") from error
