"""What a Taskiq worker of a user looks like: a broker, and the task that events become."""

import asyncio
import os
from pathlib import Path

from taskiq_redis import RedisStreamBroker

from diffio_async.webhooks.taskiq import event_in_task

# What a killed worker had in hand is given to another one after half a second.
broker = RedisStreamBroker(
    os.environ["REDIS_URL"], idle_timeout=500, xread_block=200, xread_count=4
)


@broker.task(task_name="handle")
async def handle(body: str, message_id: str) -> None:
    """Note which event it was, after some work."""
    await asyncio.sleep(0.05)
    event = event_in_task(body, message_id)
    await asyncio.to_thread(note, event.message_id or "")


def note(message_id: str) -> None:
    """Say that it was handled."""
    with Path(os.environ["DONE"]).open("a") as done:
        done.write(f"{message_id}\n")
