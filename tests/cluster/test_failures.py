"""What goes wrong on a cluster in operation: the batch ends, each file once, with nothing left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.dask import DaskExecutor
from diffio_async.sandbox import Delay, Fault
from tests.batch.scenes import below, generations, recordings, restored, states
from tests.cluster.processes import ClusterProcesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.slow
FILES = 16


@pytest.fixture
async def cluster(
    _no_task_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ClusterProcesses]:
    """Two workers; one that is silent for 15 s has died, and one such death fails an order."""
    scheduler = "DASK_DISTRIBUTED__SCHEDULER__"
    monkeypatch.setenv(f"{scheduler}WORKER_TTL", "15s")
    monkeypatch.setenv(f"{scheduler}ALLOWED_FAILURES", "0")
    folder = tmp_path / "cluster"
    folder.mkdir()
    # Imported before a worker counts as started, as a worker is silent while it imports.
    async with ClusterProcesses(folder, workers=2, preload="diffio_async.dask.worker") as started:
        yield started


def start(
    client: AsyncDiffio, cluster: ClusterProcesses, folder: Path
) -> asyncio.Task[dict[str, Any]]:
    """Start a batch."""
    source = recordings(folder / "in", *(f"{number}.wav" for number in range(FILES)))
    return asyncio.create_task(
        restored(client, source, folder / "out", salt="s", executor=DaskExecutor(cluster.address))
    )


async def sent(sandbox: Sandbox, origin: str, running: asyncio.Task[Any]) -> None:
    """Wait until a worker has sent a request to "edge" (uploads) or "media" (results)."""
    while not any(seen.origin == origin for seen in sandbox.requests):
        assert not running.done(), running.result()
        await asyncio.sleep(0.01)


def check(outcomes: dict[str, Any], sandbox: Sandbox, folder: Path) -> None:
    """Check that each file was restored once, and that nothing else is in the folder."""
    assert set(states(outcomes).values()) == {"done"}, outcomes
    assert generations(sandbox) == FILES
    assert below(folder / "out") == sorted(f"{n}.restored.mp3" for n in range(FILES))


async def test_an_order_whose_worker_died_too_often_is_given_again(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Dask fails it with `KilledWorker`: no file fails for that."""
    sandbox.faults.add(Fault(action=Delay(0.3), origin="edge", method="PUT", times=None))
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "edge", running)
    await cluster.kill_worker(0)
    await sent(sandbox, "media", running)
    await cluster.kill_worker(0)
    check(await running, sandbox, tmp_path)
    assert "marked as failed" in cluster.log
