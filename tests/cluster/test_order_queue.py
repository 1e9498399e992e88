"""Orders that cannot be submitted, or come to workers that cannot be checked, and the run's end."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from diffio_async.batch.executor import RecordingOrder
from diffio_async.dask import checks, worker
from diffio_async.dask.checks import Requirements, check_workers, own_versions
from diffio_async.dask.connection import connected
from diffio_async.dask.order_queue import OrderQueue
from diffio_async.dask.orders import ReadRecording
from diffio_async.errors import ConfigurationError, ConnectionFailed
from tests.batch.scenes import recordings
from tests.cluster.processes import kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from distributed import Client

    from tests.cluster.processes import ClusterProcesses

pytestmark = pytest.mark.slow


@pytest.fixture
async def dask(cluster: ClusterProcesses) -> AsyncIterator[Client]:
    """A connection to the cluster."""
    async with connected(cluster.address, None, allow_insecure=False) as client:
        yield client


@pytest.fixture
def required(tmp_path: Path) -> Requirements:
    """What the workers of a run need."""
    folder = tmp_path / "out"
    folder.mkdir()
    return Requirements(run="run-1", versions=own_versions(), source=None, folder=str(folder))


def order(folder: Path) -> RecordingOrder:
    """An order to read a recording."""
    source = recordings(folder / "in", "a.wav") / "a.wav"
    return RecordingOrder(
        path=str(source), results=(), root=str(folder / "out"), on_conflict="error", max_bytes=9999
    )


async def test_an_order_that_does_not_pickle_fails_alone(
    dask: Client, required: Requirements, tmp_path: Path
) -> None:
    """Those that were to be submitted with it are carried out; each failure is one of its own."""
    await check_workers(dask, required, await dask.nthreads())
    queue, fine = OrderQueue(dask, required), order(tmp_path)
    generator: Any = (each for each in "x")
    unfit = [evolve(fine, path=generator) for _ in range(2)]
    found = await asyncio.gather(
        *(queue.carry_out(worker.read_recording, each) for each in (fine, *unfit, fine)),
        return_exceptions=True,
    )
    assert isinstance(found[0], ReadRecording), found
    assert isinstance(found[3], ReadRecording), found
    assert "pickle" in str(found[1])
    assert isinstance(found[2], Exception)
    assert found[1] is not found[2]


async def test_an_order_is_not_given_to_workers_that_cannot_be_checked_forever(
    dask: Client, required: Requirements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails with the reason after some rounds, and may be given again."""

    async def hang(_: Requirements) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(checks, "inspect_worker", hang)
    monkeypatch.setattr(checks, "_CHECK_SECONDS", 0.1)
    queue = OrderQueue(dask, required)
    with pytest.raises(ConnectionFailed, match=r"tcp://.* cannot be checked: no resp") as caught:
        await queue.carry_out(worker.read_recording, order(tmp_path))
    assert not caught.value.permanent
    monkeypatch.undo()
    assert isinstance(await queue.carry_out(worker.read_recording, order(tmp_path)), ReadRecording)


async def test_a_check_after_the_scheduler_died_reports_that(
    cluster: ClusterProcesses, dask: Client, required: Requirements
) -> None:
    """The version of the package is not blamed, and the run ends without another error."""
    member = next(iter(await dask.nthreads()))
    queue = OrderQueue(dask, required)
    assert cluster.scheduler is not None
    await kill(cluster.scheduler)
    with pytest.raises(ConnectionFailed, match="connection to the scheduler") as caught:
        await queue._check(member)
    assert caught.value.permanent
    while dask.scheduler is not None:
        await asyncio.sleep(0.05)
    with pytest.raises(ConnectionFailed, match="connection to the scheduler"):
        await queue._check(member)
    await queue.close()


async def test_no_check_outlives_its_run(
    cluster: ClusterProcesses, dask: Client, required: Requirements
) -> None:
    """Nor does the file that it has created, or what the scheduler has of the run."""
    queue = OrderQueue(dask, required)
    await queue.start()
    for process in cluster.members:
        process.send_signal(signal.SIGSTOP)
    await dask.set_metadata(required.run, {"0": 1})
    waiting = asyncio.create_task(queue._check(next(iter(await dask.nthreads()))))
    while not list((cluster.folder.parent / "out").iterdir()):
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert queue._checks
    await queue.close()
    assert not queue._checks
    assert not list((cluster.folder.parent / "out").iterdir())
    metadata: Any = await dask.get_metadata(required.run, None)
    assert metadata is None
    plugins = await dask.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins])
    assert required.run not in plugins


async def test_few_of_the_sent_orders_are_kept_in_memory(
    dask: Client, required: Requirements, tmp_path: Path
) -> None:
    """Dask keeps the last 1,000 messages of a connection, unless it is limited."""
    await check_workers(dask, required, await dask.nthreads())
    queue = OrderQueue(dask, required)
    for _ in range(30):
        await queue.carry_out(worker.read_recording, order(tmp_path))
    kept: Any = dask.scheduler_comm
    assert kept.message_count > 30
    assert len(kept.recent_message_log) <= 20


async def test_all_checks_end_before_the_first_failure_is_raised(
    cluster: ClusterProcesses,
    dask: Client,
    required: Requirements,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of a worker which does not respond does not run on while the batch ends."""
    monkeypatch.setattr(checks, "_CHECK_SECONDS", 10)
    cluster.members[0].send_signal(signal.SIGSTOP)
    other = evolve(required, versions=("0.0.1", "3.9"))
    with pytest.raises(ConfigurationError, match="use the same on all machines"):
        await check_workers(dask, other, await dask.nthreads())
    assert not [each for each in asyncio.all_tasks() if "_check_worker" in repr(each)]
