"""Tasks of a worker: `taskiq worker tasks:broker`.

`upload` → `generate` → the event of the generation (`receiver.py`) → `fetch`. No task waits for a
generation, so a few workers suffice for many, and each task may run again after a crash.
"""

import os
from pathlib import Path

from taskiq import AsyncBroker, InMemoryBroker, SimpleRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from diffio_async import AsyncDiffio, IdempotencyConflict, InvalidSource
from diffio_async.webhooks.taskiq import event_in_task

RESULTS = Path(os.environ.get("RESULTS", "results"))
RESULTS.mkdir(parents=True, exist_ok=True)


def create_broker() -> AsyncBroker:
    """Return a broker in Redis; without `REDIS_URL`, tasks run in the process that sends them."""
    url = os.environ.get("REDIS_URL")
    if url is None:
        return InMemoryBroker(await_inplace=True)
    # A stream passes the tasks of a killed worker to another one after this time, which must be
    # longer than a task takes.
    return RedisStreamBroker(url, idle_timeout=int(os.environ.get("IDLE_MS", "600000")))


broker = create_broker().with_middlewares(SimpleRetryMiddleware(default_retry_count=5))
# One client for all tasks of a process; it opens connections when it is first used.
client = AsyncDiffio()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close(_: TaskiqState) -> None:
    """Close the client with the worker."""
    await client.aclose()


@broker.task(task_name="upload", retry_on_error=True)
async def upload(path: str, key: str) -> None:
    """Upload a recording; the key identifies its restoration."""
    project = await client.projects.create(path)
    if not project.size_bytes:
        raise InvalidSource(f"{path} is empty: there is nothing to restore")
    await generate.kiq(project.api_project_id, key)


@broker.task(task_name="generate", retry_on_error=True)
async def generate(api_project_id: str, key: str) -> None:
    """Start the generation, which is billed once for each key."""
    try:
        await client.generations.create(api_project_id=api_project_id, idempotency_key=key)
    except IdempotencyConflict as earlier:
        # `upload` ran twice, because its worker was killed after it had sent this task.
        print(f"{key} is generation {earlier.generation_id} already")


@broker.task(task_name="fetch", retry_on_error=True)
async def fetch(body: str, message_id: str) -> None:
    """Download the result that an event announces. A service finds its row by the project."""
    event = event_in_task(body, message_id)
    if event.event_type == "generation.completed" and event.generation_id and event.api_project_id:
        await client.generations.download(
            generation_id=event.generation_id,
            api_project_id=event.api_project_id,
            download_file_path=RESULTS / f"{event.api_project_id}.mp3",
            on_conflict="overwrite",
        )
