"""What goes wrong on a cluster in operation: the batch ends, each file once, with nothing left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diffio_async.sandbox import Delay, Fault
from tests.cluster.batches import check, sent, start
from tests.cluster.processes import ClusterProcesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.slow


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
