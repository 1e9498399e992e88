"""Events become Taskiq tasks: heavy work elsewhere, handed over at least once.

Needs the extra `taskiq` (`pip install 'diffio-async[taskiq]'`) and a broker of your choice.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from taskiq import AsyncTaskiqDecoratedTask

from diffio_async._http.workers import run_workers
from diffio_async._logging import log
from diffio_async.errors import ConfigurationError, DatabaseError
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.events import parse_event
from diffio_async.webhooks.inbox import WebhookInbox
from diffio_async.webhooks.receiver import WebhookSink
from diffio_async.webhooks.verifier import WebhookVerifier

#: Seconds a broker may take to accept a task.
TASK_TIMEOUT = 10.0


class TaskiqSink(WebhookSink):
    """Lets a receiver hand events straight to a task: 2xx once the broker has it, 503 otherwise.

    Without an inbox there is nothing to know duplicates by: each delivery is a task, under the id
    of its message.
    """

    def __init__(
        self,
        task: AsyncTaskiqDecoratedTask[..., Any],
        *,
        verifier: WebhookVerifier,
        timeout: float = TASK_TIMEOUT,
    ) -> None:
        """Hand events to `task`, called with `body` and `message_id`, both str.

        Args:
            task: Of a broker that was started.
            verifier: Says what is genuine.
            timeout: Seconds the broker may take.
        """
        self.verifier = verifier
        self._task = task
        self._timeout = timeout

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Hand it over.

        Raises:
            TimeoutError: The broker takes too long.
            Exception: Whatever the broker raises.
        """
        await _enqueue(self._task, event, body, self._timeout)
        return True


async def forward(
    inbox: WebhookInbox,
    task: AsyncTaskiqDecoratedTask[..., Any],
    *,
    concurrency: int = 8,
    timeout: float = TASK_TIMEOUT,
) -> None:
    """Hand every event of an inbox to a task, until cancelled or until the inbox is closed.

    An event is handled for the inbox once the broker has it. Where that fails it is tried again as
    the inbox spaces it. The task's id, and its label `svix_id`, are the message's: an event that is
    handed over twice, after a crash in between, comes under the same id.

    Args:
        inbox: Where events are kept.
        task: Of a broker that was started; called with `body` and `message_id`, both str.
        concurrency: Events that are handed over at once.
        timeout: Seconds the broker may take for one.

    Raises:
        ConfigurationError: The concurrency is below 1.
        DatabaseError: The inbox's file cannot be used.
    """
    if concurrency < 1:
        raise ConfigurationError(f"concurrency must be 1 or more, not {concurrency!r}")
    await run_workers(partial(_forward, inbox, task, timeout), concurrency)


async def _forward(
    inbox: WebhookInbox, task: AsyncTaskiqDecoratedTask[..., Any], timeout: float
) -> None:
    async for delivery in inbox.deliveries():
        try:
            async with delivery as event:
                await _enqueue(task, event, delivery.body, timeout)
        except DatabaseError:
            raise
        except Exception as failure:  # noqa: BLE001 - brokers raise what their servers do
            log.warning("%r was not handed to %s: %r", delivery, task.task_name, failure)


async def _enqueue(
    task: AsyncTaskiqDecoratedTask[..., Any], event: WebhookEvent, body: bytes, timeout: float
) -> None:
    message_id = event.message_id or ""
    labels = {"svix_id": message_id, "event_type": event.event_type}
    kicker = task.kicker().with_task_id(message_id).with_labels(**labels)
    async with asyncio.timeout(timeout):
        await kicker.kiq(body=body.decode(), message_id=message_id)


def event_in_task(body: str, message_id: str) -> WebhookEvent:
    """The event, of what a task was called with.

    Raises:
        WebhookRejected: It is none.
    """
    return parse_event(body.encode(), message_id)
