"""Consumers of an inbox: leased deliveries, and handlers by type of event."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field, frozen

from diffio_async._http.observers import Observers, Operation
from diffio_async._protocol.codec import encodable
from diffio_async._protocol.redaction import redact
from diffio_async._protocol.retry import backoff
from diffio_async._reporting import log
from diffio_async._storage.sqlite_open import now
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async._validators import Rule, is_number, positive_int, unlimited
from diffio_async.errors import ConfigurationError, DatabaseError
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.inbox_file import InboxFile, event_in_row

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.webhooks.inbox_file import InboxFile

#: Share of a lease after which it is renewed: two renewals may fail before it expires.
_RENEW_FRACTION = 0.3
#: Maximum characters of a stored error.
_MAX_ERROR_LENGTH = 500


_LEASE_SECONDS = Rule(
    f"above 0 and at most {inbox_queries.MAX_DELAY:,.0f} s",
    lambda value: is_number(value) and 0 < value <= inbox_queries.MAX_DELAY,
)


@frozen(kw_only=True)
class LeasePolicy:
    """Leases and retries of deliveries.

    Attributes:
        lease: Seconds after which the lease of a dead consumer expires.
        attempts: Attempts before a delivery is dead.
        retry_after: Seconds before the second attempt, doubled for each one after that.
    """

    lease: float = field(validator=_LEASE_SECONDS)
    attempts: int = field(validator=positive_int)
    retry_after: float = field(validator=unlimited)

    def pause(self, attempt: int, jitter: float) -> float | None:
        """Return the seconds until the attempt after this one, None if this is the last."""
        if attempt >= self.attempts:
            return None
        delay = backoff(attempt, self.retry_after, inbox_queries.MAX_DELAY)
        return delay * (0.8 + 0.2 * jitter)


def webhook_operation(observers: Observers, event: WebhookEvent) -> Operation:
    """Return the operation of handling an event."""
    ids = {"generation_id": event.generation_id, "api_project_id": event.api_project_id}
    return Operation(observers, "webhook", **ids)


class Delivery:
    """Event that is leased by this consumer; handle it inside `async with delivery as event:`.

    The end of the block acknowledges it durably. An exception releases it for a later retry and is
    raised; a cancellation releases it without counting an attempt. The lease is renewed while the
    block runs.

    Attributes:
        event: The event.
        body: The raw body.
        attempt: The number of the attempt, from 1.
        received_at: When it was first received.
    """

    def __init__(
        self,
        file: InboxFile,
        policy: LeasePolicy,
        lease: inbox_queries.LeasedEvent,
        event: WebhookEvent,
        observers: Observers | None,
    ) -> None:
        self._operation = None if observers is None else webhook_operation(observers, event)
        self._file, self._policy, self._lease = file, policy, lease
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self.event: WebhookEvent = event
        self.body: bytes = lease.body
        self.attempt: int = lease.attempt
        self.received_at: datetime = datetime.fromtimestamp(lease.received_at, UTC)

    def __repr__(self) -> str:
        return f"Delivery({self.event.message_id!r}, {self.event.event_type!r}, {self.attempt})"

    async def __aenter__(self) -> WebhookEvent:
        if self._operation is not None:
            self._operation.__enter__()
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
                await self.fail("the loop was left before the event was acknowledged")
            elif _is_failure(error):
                await self.fail(_text_of(error))
            else:
                await self.release()
        except DatabaseError:
            if error is None:
                raise
            # The lease expires anyway, and the error of the block is more useful.
            log.exception("%r could not be released before its lease expires", self)
        finally:
            if self._operation is not None:
                self._operation.__exit__(kind, error, traceback)

    async def acknowledge(self) -> None:
        """Record that the event was handled: it is not delivered again.

        Raises:
            DatabaseError: The record could not be written; the event will be handled again.
        """
        self._stop()
        lease = self._lease
        await self._file.run(lambda db: inbox_queries.ack(db, lease, now(db)))

    async def fail(self, reason: str) -> None:
        """Record a failure: the event is retried after a pause, or is dead after the last attempt.

        Raises:
            DatabaseError: The record could not be written; the event is retried when the lease
                expires.
        """
        self._stop()
        lease, error = self._lease, encodable(redact(reason, limit=_MAX_ERROR_LENGTH))
        pause = self._policy.pause(self.attempt, random.random())  # noqa: S311 - jitter needs no secrecy
        if pause is None:
            log.error("%r is dead after %d attempts: %s", self, self.attempt, error)
        else:
            log.info("%r was not handled; retry in %.0f s: %s", self, pause, error)

        def record_failure(db: sqlite3.Connection) -> None:
            due_at = None if pause is None else now(db) + pause
            inbox_queries.fail(db, lease, error, due_at)

        await self._file.run(record_failure, notify=True)

    async def release(self) -> None:
        """Release the event without an attempt: it may be leased again at once.

        Raises:
            DatabaseError: The release could not be written; the event is retried when the lease
                expires.
        """
        self._stop()
        lease_id, number = self._lease.lease_id, self._lease.number
        await self._file.run(
            lambda db: inbox_queries.release(db, lease_id, now(db), number), notify=True
        )

    def _schedule_renewal(self) -> None:
        """Start a timer for the renewal; most deliveries are handled before it fires."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._policy.lease * _RENEW_FRACTION, self._start_renewal)

    def _start_renewal(self) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        lease, seconds = self._lease, self._policy.lease
        try:
            held = await self._file.run(
                lambda db: inbox_queries.renew(db, lease, now(db) + seconds)
            )
        except DatabaseError as failure:
            log.warning("the lease of %r could not be renewed: %s", self, failure)
            held = True
        if held:
            self._schedule_renewal()
        else:
            log.warning("the lease of %r has expired: another consumer may have leased it", self)

    def _stop(self) -> None:
        for each in (self._timer, self._renewing):
            if each is not None:
                each.cancel()


def _is_failure(error: BaseException) -> bool:
    """Return whether a handler failed, rather than was cancelled from outside or interrupted.

    A handler's own `CancelledError` (a task that it awaited was cancelled) is a failure. If it were
    released instead, its event would be leased again at once, for ever.
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
    except Exception:  # noqa: BLE001 - an error of a handler may be of any class
        return f"{type(error).__name__} (its text cannot be read)"


async def acquire_deliveries(
    file: InboxFile, policy: LeasePolicy, limit: int, observers: Observers | None
) -> list[Delivery]:
    """Wait for deliveries and lease up to `limit`; the list is empty if the inbox was closed.

    Observers are notified of the block that handles a delivery.

    Raises:
        DatabaseError: The file of the inbox cannot be used.
    """
    await file.open_database()
    close_count = file.close_count
    while file.close_count == close_count:
        try:
            version = file.notifier.version
            data_version = await file.read(inbox_queries.data_version)
            rows, seconds = await _acquire(file, policy, limit)
            if rows:
                deliveries = [await _delivery(file, policy, row, observers) for row in rows]
                if valid := [each for each in deliveries if each is not None]:
                    return valid
                continue
            await file.wait_for_change(version, data_version, seconds)
        except DatabaseError:
            if file.close_count == close_count:
                raise
    return []


async def _delivery(
    file: InboxFile,
    policy: LeasePolicy,
    row: inbox_queries.LeasedEvent,
    observers: Observers | None,
) -> Delivery | None:
    """Return a row as a delivery; a row without a valid event becomes dead."""
    event = event_in_row(row.message_id, row.body)
    if event is None:
        await file.run(lambda db: inbox_queries.fail(db, row, "its body is not an event", None))
        return None
    return Delivery(file, policy, row, event, observers)


async def _acquire(
    file: InboxFile, policy: LeasePolicy, limit: int
) -> tuple[list[inbox_queries.LeasedEvent], float | None]:
    """Lease what is due, and return it with the seconds until the next row is due."""
    lease_id = uuid.uuid4().hex

    def work(db: sqlite3.Connection) -> tuple[list[inbox_queries.LeasedEvent], float | None]:
        at = now(db)
        rows = inbox_queries.acquire(
            db, lease_id, at, policy.lease, limit=limit, max_attempts=policy.attempts
        )
        due_at = inbox_queries.next_due(db)
        return rows, None if due_at is None else max(0.0, due_at - at)

    try:
        return await file.run(work)
    except asyncio.CancelledError:
        # The thread leases them nevertheless. This runs after it in the same thread, whether or not
        # there is time to wait for it.
        with contextlib.suppress(asyncio.CancelledError, DatabaseError):
            await file.run(lambda db: inbox_queries.release(db, lease_id, now(db)))
        raise


#: Handler of an event. A coroutine function runs on the loop, a plain one in a thread.
Handler = Callable[[WebhookEvent], object]
H = TypeVar("H", bound=Handler)


@define
class Handlers:
    """Handlers by type of event, in the order of registration."""

    by_type: list[tuple[tuple[str, ...], Handler]] = field(factory=list)

    def on(self, event_types: tuple[str, ...]) -> Callable[[H], H]:
        """Return a decorator that adds a handler; without types for all events.

        Raises:
            ConfigurationError: A type is not a string.
        """
        if not all(isinstance(each, str) for each in event_types):
            raise ConfigurationError(
                "name the types of events: @inbox.on('generation.completed'), or @inbox.on() for "
                "every type"
            )

        def add(handler: H) -> H:
            self.by_type.append((event_types, handler))
            return handler

        return add

    def handlers_for(self, event_type: str) -> list[Handler]:
        """Return the handlers of a type."""
        return [handler for types, handler in self.by_type if not types or event_type in types]

    async def run(
        self, file: InboxFile, policy: LeasePolicy, concurrency: int, observers: Observers
    ) -> None:
        """Handle events until cancelled, or until the inbox is closed.

        Raises:
            DatabaseError: The file of the inbox cannot be used.
        """
        # A pool of its own, because handlers may take long.
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="diffio-webhooks")
        running: set[asyncio.Task[None]] = set()
        try:
            while deliveries := await acquire_deliveries(
                file, policy, concurrency - len(running), observers
            ):
                for delivery in deliveries:
                    task = asyncio.create_task(self._handle(delivery, pool))
                    running.add(task)
                    task.add_done_callback(running.discard)
                while len(running) >= concurrency:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await wait_all_uncancelled(running)
        finally:
            # Each task has started (tasks start in order of creation) and releases its delivery.
            for task in running:
                task.cancel()
            await wait_all_uncancelled(running)
            pool.shutdown(wait=False)

    async def _handle(self, delivery: Delivery, pool: ThreadPoolExecutor) -> None:
        try:
            async with delivery as event:
                for handler in self.handlers_for(event.event_type):
                    if inspect.iscoroutinefunction(handler):
                        await handler(event)
                    else:
                        await _run_in_thread(pool, handler, event)
        except BaseException as error:
            if not _is_failure(error):
                raise
            log.warning("%r was not handled", delivery, exc_info=True)


async def _run_in_thread(pool: ThreadPoolExecutor, handler: Handler, event: WebhookEvent) -> None:
    """Run a handler in a thread; a cancellation waits for its end, because it cannot be stopped."""
    context = copy_context()
    future = asyncio.get_running_loop().run_in_executor(
        pool, lambda: context.run(_call, handler, event)
    )
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
    except StopIteration as error:  # a future cannot have this exception
        raise RuntimeError("the handler raised StopIteration") from error
