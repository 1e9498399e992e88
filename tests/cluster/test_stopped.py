"""Processes of a cluster that hang: a batch continues without them, or ends with the reason."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from distributed import Client

from diffio_async.dask import DaskExecutor, checks, connection
from diffio_async.errors import BatchStopped, ConfigurationError
from diffio_async.sandbox import Delay, Fault, Stall
from tests.batch.scenes import below, content, restored, states
from tests.cluster.batches import check, sent, start
from tests.cluster.processes import kill, remove_worker

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.cluster.processes import ClusterProcesses

pytestmark = pytest.mark.slow
#: Bytes of a result that is written to a part file while it is received.
SIZE = 600_000


async def stop(cluster: ClusterProcesses, number: int) -> None:
    """Stop a worker, and remove it, as the scheduler does when it gets no heartbeats of it."""
    process = cluster.members[number]
    async with Client(cluster.address, asynchronous=True, set_as_default=False) as client:
        processes = await client.run(os.getpid)
        process.send_signal(signal.SIGSTOP)
        [address] = [each for each, pid in processes.items() if pid == process.pid]
        await client.run_on_scheduler(remove_worker, address)


@pytest.mark.parametrize("ends", ["continues", "dies"])
async def test_a_result_that_a_stopped_worker_receives_is_stored_by_another(
    ends: str, cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The batch does not wait for its lock; nothing that it received is left, nor written later."""
    source, to = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = [f"{number}.wav" for number in range(4)]
    for name in names:
        (source / name).write_bytes(content(name, SIZE))
    sandbox.faults.add(Fault(action=Stall(SIZE // 2, 10.0), origin="media", times=4))
    executor = DaskExecutor(cluster.address)
    running = asyncio.create_task(restored(client, source, to, salt="s", executor=executor))
    while len(list(to.glob(".*.part"))) < 4:
        assert not running.done(), running.result()
        await asyncio.sleep(0.02)
    stopped = cluster.members[0]
    await stop(cluster, 0)
    assert states(await running) == dict.fromkeys(names, "done")
    if ends == "continues":
        stopped.send_signal(signal.SIGCONT)
        await stopped.wait()
    else:
        await kill(stopped)
    assert below(to) == [f"{number}.restored.mp3" for number in range(4)]
    for name in names:
        assert (to / name).with_suffix(".restored.mp3").read_bytes() == content(name, SIZE)


async def test_an_upload_of_a_stopped_worker_is_made_by_another(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What it sends when it continues is not billed, and changes no result."""
    sandbox.faults.add(Fault(action=Delay(0.5), origin="edge", method="PUT", times=None))
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "edge", running)
    stopped = cluster.members[0]
    await stop(cluster, 0)
    check(await running, sandbox, tmp_path)
    stopped.send_signal(signal.SIGCONT)
    await stopped.wait()
    check(await start(client, cluster, tmp_path), sandbox, tmp_path)


async def test_a_retired_worker_leaves_nothing(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Another worker is given its orders while it carries them out still."""
    sandbox.faults.add(Fault(action=Delay(0.5), origin="media", times=None))
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "media", running)
    async with Client(cluster.address, asynchronous=True, set_as_default=False) as dask:
        await dask.retire_workers([next(iter(await dask.nthreads()))])
    check(await running, sandbox, tmp_path)


async def test_a_scheduler_that_does_not_respond_is_given_up(
    cluster: ClusterProcesses,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batch survives a short pause; a long one stops it, and it resumes afterwards."""
    monkeypatch.setattr(connection, "_WATCH_SECONDS", 0.1)
    monkeypatch.setattr(connection, "_SILENT_SECONDS", 3)
    sandbox.faults.add(Fault(action=Delay(0.3), origin="edge", method="PUT", times=None))
    assert cluster.scheduler is not None
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "edge", running)
    cluster.scheduler.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.5)
    cluster.scheduler.send_signal(signal.SIGCONT)
    await sent(sandbox, "edge", running, 4)
    cluster.scheduler.send_signal(signal.SIGSTOP)
    with pytest.raises(BatchStopped, match="connection to the scheduler"):
        await running
    # Nor does it block the start of a batch.
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        await start(client, cluster, tmp_path)
    monkeypatch.undo()
    cluster.scheduler.send_signal(signal.SIGCONT)
    check(await start(client, cluster, tmp_path), sandbox, tmp_path)


async def test_a_worker_that_does_not_respond_is_not_waited_for(
    cluster: ClusterProcesses,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others start; its orders are given to them when it is known to be dead."""
    monkeypatch.setattr(checks, "_CHECK_SECONDS", 10)
    cluster.members[0].send_signal(signal.SIGSTOP)
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "edge", running)
    assert "cannot be checked: no response" in caplog.text
    await kill(cluster.members[0])
    check(await running, sandbox, tmp_path)
