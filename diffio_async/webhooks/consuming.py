"""Handlers of an inbox's events: found by type, run several at a time, at least once each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field

from diffio_async._engine.threads import all_settled
from diffio_async._logging import log
from diffio_async.errors import ConfigurationError
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.delivery import taken

if TYPE_CHECKING:
    from diffio_async.webhooks.delivery import Delivery, Terms
    from diffio_async.webhooks.inbox_file import InboxFile

#: Told of an event. A coroutine function runs on the loop, a plain one in a thread.
Handler = Callable[[WebhookEvent], object]
H = TypeVar("H", bound=Handler)


@define
class Handlers:
    """Who is told of which types, in the order they came."""

    _known: list[tuple[tuple[str, ...], Handler]] = field(factory=list)

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
            self._known.append((event_types, handler))
            return handler

        return add

    def of(self, event_type: str) -> list[Handler]:
        """Who is told of a type."""
        return [handler for types, handler in self._known if not types or event_type in types]

    async def run(self, file: InboxFile, terms: Terms, most: int) -> None:
        """Handle what comes until cancelled, or until the inbox is closed.

        Raises:
            ConfigurationError: There is no handler.
            DatabaseUnusable: The inbox's file cannot be used.
        """
        if not self._known:
            raise ConfigurationError("there is no handler: @inbox.on('generation.completed')")
        if most < 1:
            raise ConfigurationError(f"concurrency must be 1 or more, not {most!r}")
        # Not the pool of files: what handlers do may take long.
        pool = ThreadPoolExecutor(most, thread_name_prefix="diffio-webhooks")
        running: set[asyncio.Task[None]] = set()
        try:
            while deliveries := await taken(file, terms, most - len(running)):
                for delivery in deliveries:
                    task = asyncio.create_task(self._handle(delivery, pool))
                    running.add(task)
                    task.add_done_callback(running.discard)
                while len(running) >= most:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await all_settled(running)
        finally:
            # Each has begun (tasks begin in the order they were made), and gives back what it has.
            for task in running:
                task.cancel()
            await all_settled(running)
            pool.shutdown(wait=False)

    async def _handle(self, delivery: Delivery, pool: ThreadPoolExecutor) -> None:
        try:
            async with delivery as event:
                for handler in self.of(event.event_type):
                    if inspect.iscoroutinefunction(handler):
                        await handler(event)
                    else:
                        await _aside(pool, handler, event)
        except Exception:
            log.warning("%r was not handled", delivery, exc_info=True)


async def _aside(pool: ThreadPoolExecutor, handler: Handler, event: WebhookEvent) -> None:
    """Run a handler in a thread, which cannot be cancelled: its end is waited for, and counts."""
    future = asyncio.get_running_loop().run_in_executor(pool, handler, event)
    try:
        outcome = await asyncio.shield(future)
    except asyncio.CancelledError:
        await all_settled([future])
        outcome = future.result()
    if inspect.isawaitable(outcome):
        await outcome
