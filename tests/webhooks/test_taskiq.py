"""Taskiq tasks for events: in memory, and with Redis and a killed worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from taskiq import InMemoryBroker, TaskiqMiddleware
from taskiq_redis import RedisStreamBroker

from diffio_async import ConfigurationError, DatabaseError, WebhookInbox, WebhookVerifier
from diffio_async.webhooks.receiver import WebhookReceiver
from diffio_async.webhooks.taskiq import TaskiqSink, event_in_task, forward
from tests.ports import free_port
from tests.webhooks.scenes import SECRET, body_of, headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from taskiq import TaskiqMessage

WORKER = Path(__file__).parent / "programs"


class Broker(InMemoryBroker):
    """Broker that records tasks and fails a given number of times."""

    def __init__(self) -> None:
        super().__init__(await_inplace=True)
        self.sent: list[TaskiqMessage] = []
        self.failures = 0
        self.stuck = False
        self.add_middlewares(_Recorder(self))


class _Recorder(TaskiqMiddleware):
    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._of = broker

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        if self._of.stuck:
            await asyncio.sleep(3600)
        if self._of.failures:
            self._of.failures -= 1
            raise ConnectionError("the broker is away")
        self._of.sent.append(message)
        return message


async def stored(inbox: WebhookInbox, *message_ids: str) -> None:
    """Store deliveries in the inbox."""
    verifier = WebhookVerifier(SECRET)
    for message_id in message_ids:
        body = body_of(note="é", id=message_id)
        await inbox.store(verifier.verify(body, headers_of(body, message_id)), body)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def forwarding(inbox: WebhookInbox, task: Any, **options: Any) -> AsyncIterator[None]:
    running = asyncio.create_task(forward(inbox, task, **options))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_task_is_called_with_the_body_and_id_of_the_event(tmp_path: Path) -> None:
    """The body is unchanged, the id is the task's id and a label, and the event is handled."""
    broker, got = Broker(), []

    @broker.task
    async def handle(body: str, message_id: str) -> None:
        got.append(event_in_task(body, message_id))

    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        await stored(inbox, "msg_1", "msg_2")
        async with forwarding(inbox, handle):
            await until(lambda: len(got) == 2)
            while await inbox.entries("leased"):
                await asyncio.sleep(0.01)
        assert {entry.state for entry in await inbox.entries()} == {"handled"}
    assert {event.message_id for event in got} == {"msg_1", "msg_2"}
    assert got[0].extra["note"] == "é"
    message = broker.sent[0]
    assert message.task_id == message.labels["svix_id"] == message.kwargs["message_id"]
    assert message.labels["event_type"] == "generation.completed"
    assert message.kwargs["body"].encode() == body_of(note="é", id=message.task_id)


async def test_an_unavailable_broker_is_retried(tmp_path: Path) -> None:
    """Each failure releases the event; it has the same id once the broker is available."""
    broker, got = Broker(), []
    broker.failures = 3

    @broker.task
    async def handle(body: str, message_id: str) -> None:
        got.append(message_id)

    async with WebhookInbox(tmp_path / "inbox.db", retry_after=0.01) as inbox:
        await stored(inbox, "msg_1")
        async with forwarding(inbox, handle):
            await until(lambda: got == ["msg_1"])
    assert broker.failures == 0


async def test_a_broker_without_a_response_times_out(tmp_path: Path) -> None:
    """After the time-out the event is back in the inbox, with the reason."""
    broker = Broker()
    broker.stuck = True

    @broker.task
    async def handle(body: str, message_id: str) -> None:
        raise AssertionError

    async with WebhookInbox(tmp_path / "inbox.db", attempts=1) as inbox:
        await stored(inbox, "msg_1")
        async with forwarding(inbox, handle, timeout=0.05):
            while not (dead := await inbox.dead()):
                await asyncio.sleep(0.01)
    assert "TimeoutError" in (dead[0].error or "")


async def test_a_failing_task_is_left_to_the_broker(tmp_path: Path) -> None:
    """The event is handled for the inbox when the broker has the task."""
    broker = Broker()

    @broker.task
    async def handle(body: str, message_id: str) -> None:
        raise ValueError(message_id)

    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        await stored(inbox, "msg_1")
        async with forwarding(inbox, handle):
            while not await inbox.entries("handled"):
                await asyncio.sleep(0.01)
    assert len(broker.sent) == 1


async def test_errors_of_forwarding_are_raised_unchanged(tmp_path: Path) -> None:
    """They are not wrapped in a group: the file is not an inbox, or the concurrency is 0."""

    @Broker().task
    async def task(body: str, message_id: str) -> None:
        """Never called."""

    (tmp_path / "none").write_text("this is not an inbox" * 100)
    with pytest.raises(DatabaseError):
        await forward(WebhookInbox(tmp_path / "none"), task)
    with pytest.raises(ConfigurationError, match="concurrency"):
        await forward(WebhookInbox(tmp_path / "none"), task, concurrency=0)


async def test_a_receiver_with_a_taskiq_sink_sends_tasks_directly() -> None:
    """The status is 200 if the broker accepts the task, otherwise 503, and 400 if it is forged."""
    broker, got = Broker(), []

    @broker.task
    async def handle(body: str, message_id: str) -> None:
        got.append(message_id)

    receiver = WebhookReceiver(TaskiqSink(handle, verifier=WebhookVerifier(SECRET), timeout=0.05))
    body = body_of()

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async def status(headers: dict[str, str]) -> int:
        return (await receiver.handle("POST", headers, chunks())).status

    assert await status(headers_of(body)) == 200
    broker.failures = 1
    assert await status(headers_of(body, "msg_2")) == 503
    assert await status(headers_of(body, "msg_2")) == 200
    broker.stuck = True
    assert await status(headers_of(body, "msg_3")) == 503
    assert await status({**headers_of(body), "svix-signature": "v1,AAAA"}) == 400
    assert got == ["msg_1", "msg_2"]


@pytest.fixture
async def redis_url(tmp_path: Path) -> AsyncIterator[str]:
    """URL of a Redis server on a loopback port."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    port = free_port()
    words = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    process = await anyio.open_process([server, *words], stdout=subprocess.DEVNULL)
    try:
        with anyio.fail_after(120):
            while not await _listens(port):
                await asyncio.sleep(0.02)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.aclose()


async def _listens(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


@contextmanager
def working(url: str, done: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Taskiq worker in a process, which records handled events in `done`."""
    few = ["--workers", "1", "--max-async-tasks", "4"]
    command = [sys.executable, "-m", "taskiq", "worker", "taskiq_worker:broker", *few]
    environment = {**os.environ, "REDIS_URL": url, "DONE": str(done)}
    with subprocess.Popen(
        command, cwd=WORKER, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
async def test_with_redis_every_event_is_handled_although_a_worker_is_killed(
    tmp_path: Path, redis_url: str
) -> None:
    """A worker is killed while it handles one of forty events; another worker handles the rest."""
    ids = [f"msg_{number}" for number in range(40)]
    done = tmp_path / "done"
    done.touch()
    broker = RedisStreamBroker(redis_url)

    @broker.task(task_name="handle")
    async def handle(body: str, message_id: str) -> None:
        """Tasks are only sent by this process."""

    await broker.startup()
    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        async with forwarding(inbox, handle):
            await stored(inbox, *ids[:20])
            with working(redis_url, done):
                await until(lambda: len(done.read_text().split()) >= 5, 20)
            handled_before = set(done.read_text().split())
            await stored(inbox, *ids[20:])
            with working(redis_url, done):
                await until(lambda: set(done.read_text().split()) == set(ids), 30)
            while await inbox.entries("leased"):
                await asyncio.sleep(0.01)
        assert {entry.state for entry in await inbox.entries()} == {"handled"}
    await broker.shutdown()
    assert handled_before != set(ids)
