"""Taskiq tasks for webhook events, enqueued at least once for each event.

Needs the extra `taskiq` (`pip install 'diffio-async[taskiq]'`) and a broker of your choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from taskiq import AsyncTaskiqDecoratedTask

from diffio_async._http.observers import Observers
from diffio_async._reporting import log
from diffio_async._storage.threads import run_workers
from diffio_async._validators import positive_int
from diffio_async.errors import DatabaseError
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.options import Observer, as_observers
from diffio_async.webhooks.consumer import webhook_operation
from diffio_async.webhooks.inbox import WebhookInbox
from diffio_async.webhooks.receiver import WebhookSink
from diffio_async.webhooks.verifier import WebhookVerifier, parse_event

__all__ = ["TaskiqSink", "event_in_task", "forward"]

#: Seconds in which a broker must accept a task.
TASK_TIMEOUT = 10.0


class TaskiqSink(WebhookSink):
    """Sink that enqueues a task for each delivery: the response is 2xx once the broker has it.

    Duplicates are not detected without an inbox: each delivery is a task, with the id of its
    message.
    """

    def __init__(
        self,
        task: AsyncTaskiqDecoratedTask[..., Any],
        *,
        verifier: WebhookVerifier,
        timeout: float = TASK_TIMEOUT,
        observers: Iterable[Observer] | Observer | None = None,
    ) -> None:
        """Create a sink for a task that is called with `body` and `message_id`, both str.

        Args:
            task: A task of a broker that was started.
            verifier: Verifies deliveries.
            timeout: Seconds in which the broker must accept a task.
            observers: One or several observers, which receive `OperationStarted` and
                `OperationEnded` around the enqueuing of each task.
        """
        self.verifier = verifier
        self._observers = Observers(as_observers(observers))
        self._task = task
        self._timeout = timeout

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Enqueue a task for an event.

        Raises:
            TimeoutError: The broker did not accept it in time.
            Exception: Raised by the broker.
        """
        with webhook_operation(self._observers, event):
            await _enqueue(self._task, event, body, self._timeout)
        return True


async def forward(
    inbox: WebhookInbox,
    task: AsyncTaskiqDecoratedTask[..., Any],
    *,
    concurrency: int = 8,
    timeout: float = TASK_TIMEOUT,
) -> None:
    """Enqueue a task for each event of an inbox, until cancelled or until the inbox is closed.

    An event is acknowledged once the broker has it. A failure is retried after the pauses of the
    inbox. The id of the task and its label `svix_id` are the message id: an event that is enqueued
    twice because of a crash has the same id.

    Args:
        inbox: The inbox.
        task: A task of a broker that was started; called with `body` and `message_id`, both str.
        concurrency: Events that are enqueued at once.
        timeout: Seconds in which the broker must accept a task.

    Raises:
        ConfigurationError: The concurrency is below 1.
        DatabaseError: The file of the inbox cannot be used.
    """
    positive_int.check("concurrency", concurrency)
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
        except Exception as failure:  # noqa: BLE001 - brokers raise errors of many types
            log.warning(
                "%r could not be enqueued as %s, it is retried: %r",
                delivery,
                task.task_name,
                failure,
            )


async def _enqueue(
    task: AsyncTaskiqDecoratedTask[..., Any], event: WebhookEvent, body: bytes, timeout: float
) -> None:
    message_id = event.message_id or ""
    labels = {"svix_id": message_id, "event_type": event.event_type}
    kicker = task.kicker().with_task_id(message_id).with_labels(**labels)
    async with asyncio.timeout(timeout):
        await kicker.kiq(body=body.decode(), message_id=message_id)


def event_in_task(body: str, message_id: str) -> WebhookEvent:
    """Return the event by the arguments of a task.

    Raises:
        WebhookRejected: The body is not an event.
    """
    return parse_event(body.encode(), message_id)
