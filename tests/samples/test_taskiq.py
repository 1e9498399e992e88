"""`samples/taskiq_service`: in memory, and with Redis and a worker that is killed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Delay, Fault
from tests.ports import free_port
from tests.samples.programs import (
    ENDED,
    RECORDING,
    SAMPLES,
    commands,
    environment,
    listening,
    running,
    succeed,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.slow

FOLDER = SAMPLES / "taskiq_service"


@asynccontextmanager
async def receiving(client: AsyncDiffio, folder: Path, **variables: str) -> AsyncIterator[Path]:
    """Run the receiver, have events delivered to it, and yield the folder of results."""
    port = str(free_port())
    serve = commands("taskiq_service/", **{"8000": port})[0]
    results = folder / "results"
    async with running(
        serve, folder / "receiver", folder=FOLDER, RESULTS=str(results), **variables
    ) as receiver:
        hook = f"{await listening(port)}/webhooks/diffio"
        kinds = ["generation.completed", "generation.failed"]
        await client.webhooks.configure(mode="live", url=hook, event_types=kinds)
        yield results
        assert await receiver.stop() in ENDED
    assert "Traceback" not in receiver.output.read_text()


def restored(results: Path) -> int:
    """Return the number of complete results."""
    return sum(1 for each in results.iterdir() if each.suffix == ".mp3")


async def test_without_redis_the_tasks_run_where_they_are_sent(
    diffio_environment: Mapping[str, str],
    diffio_client: AsyncDiffio,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The recording is uploaded by the program, and its result is fetched by the receiver."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with receiving(diffio_client, tmp_path) as results:
        send = commands("taskiq_service/")[1]
        await succeed(send, folder=FOLDER, RESULTS=str(results))
        await until(lambda: restored(results) == 1)
    (result,) = results.iterdir()
    assert result.read_bytes() == RECORDING.read_bytes()


@pytest.mark.parametrize(
    ("names", "message"), [([], "name the recordings"), (["none.wav"], "no such file: ")]
)
async def test_nothing_is_sent_for_a_recording_that_does_not_exist(
    diffio_environment: Mapping[str, str],
    diffio_sandbox: Sandbox,
    names: list[str],
    message: str,
    tmp_path: Path,
) -> None:
    """A task would be repeated until its retries are used up."""
    program = [sys.executable, str(FOLDER / "enqueue.py"), *names]
    variables = environment({"RESULTS": str(tmp_path / "results")})
    done = await anyio.run_process(program, cwd=tmp_path, env=variables, check=False)
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert not diffio_sandbox.requests


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[str]:
    """Run a Redis server on loopback, and yield its URL."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    port = str(free_port())
    options = ["--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", str(folder)]
    async with running([server, *options], folder / "redis"):
        await listening(port)
        yield f"redis://127.0.0.1:{port}"


# A task that its worker had finished when it was killed may run again, with the same key.
@pytest.mark.diffio(duration=0.2, allow_violations=True)
async def test_a_killed_worker_loses_no_recording_and_bills_none_twice(
    diffio_environment: Mapping[str, str],
    diffio_sandbox: Sandbox,
    diffio_client: AsyncDiffio,
    tmp_path: Path,
) -> None:
    """A worker is killed with some of eight recordings in hand; another one restores the rest."""
    few = ["--workers", "1", "--max-async-tasks", "2"]
    worker = [sys.executable, "-m", "taskiq", "worker", "tasks:broker", *few]
    names = [str(RECORDING)] * 8
    # Two at a time: the worker is killed long before the last one.
    diffio_sandbox.faults.add(Fault(action=Delay(0.3), path="*-generation", times=None))
    async with redis(tmp_path) as url:
        settings = {"REDIS_URL": url, "IDLE_MS": "500"}
        async with receiving(diffio_client, tmp_path, **settings) as results:
            send = [*commands("taskiq_service/")[1][:2], *names]
            await succeed(send, folder=FOLDER, **settings)
            settings["RESULTS"] = str(results)
            async with running(worker, tmp_path / "killed", folder=FOLDER, **settings) as killed:
                await until(lambda: len(diffio_sandbox.state.generations) >= 2)
                os.killpg(killed.process.pid, signal.SIGKILL)
                before = len(diffio_sandbox.state.generations)
            async with running(worker, tmp_path / "worker", folder=FOLDER, **settings):
                await until(lambda: restored(results) == 8, 120)
    generations = list(diffio_sandbox.state.generations.values())
    assert before < len(generations) == len({each.idempotency_key for each in generations}) == 8
