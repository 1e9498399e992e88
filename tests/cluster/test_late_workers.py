"""Workers that join a cluster during a batch, and clusters without any at the start."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from distributed import LocalCluster

from diffio_async.dask import DaskExecutor
from diffio_async.errors import BatchStopped
from diffio_async.sandbox import Delay, Fault
from tests.batch.scenes import generations, recordings, restored, states
from tests.cluster.batches import FILES, check, sent, start
from tests.cluster.processes import ClusterProcesses, kill
from tests.stores.conftest import _only_local_stores, s3, s3_endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.stores.conftest import Bucket

__all__ = ["_only_local_stores", "s3", "s3_endpoint"]
pytestmark = pytest.mark.slow

#: What a worker loads at its start, and the reason why it gets no orders.
UNFIT = {
    "package": (
        "import sys\nsys.modules['diffio_async'] = None\n",
        r"worker tcp://.* lacks the module diffio_async.*: install the same",
    ),
    # A module that this package needs.
    "module": (
        "import sys\nsys.modules['cattrs'] = None\n",
        r"worker tcp://.* lacks the module cattrs: install the same",
    ),
    "version": (
        "from diffio_async.dask import checks\nchecks.__version__ = '0.0.1'\n",
        r"worker tcp://.* has diffio_async 0\.0\.1",
    ),
    # The parts of an older version are not those that the orders need.
    "function": (
        "from diffio_async.dask import checks\nvars(checks).pop('Requirements', None)\n",
        r"worker tcp://.* cannot run this version",
    ),
    "arguments": (
        "from diffio_async.dask import worker\n"
        "async def carry_out(versions, work, *order): pass\n"
        "carry_out.__module__ = worker.__name__\n"
        "worker.carry_out = carry_out\n",
        "worker that joined the cluster cannot run this version",
    ),
    "python": (
        "from diffio_async.dask import checks\nchecks.python_version = lambda: '3.10'\n",
        r"worker tcp://.* on Python 3\.10",
    ),
    # Its view of the file system lacks what other machines create.
    "folder": (
        "import pathlib\n"
        "is_file = pathlib.Path.is_file\n"
        "pathlib.Path.is_file = lambda path: 'diffio-c' not in path.name and is_file(path)\n",
        "worker tcp://.* must share it",
    ),
}


async def late_worker(
    cluster: ClusterProcesses, folder: Path, program: str
) -> Callable[[], Awaitable[None]]:
    """Start a worker that runs a program. It joins when the returned function is called."""
    path, ready, join = folder / "preload.py", folder / "ready", folder / "join"
    path.write_text(
        f"{program}import pathlib, time\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        f"while not pathlib.Path({str(join)!r}).exists(): time.sleep(0.01)\n"
    )
    cluster.preload = str(path)
    starting = asyncio.create_task(cluster.start_worker())
    while not ready.exists():
        assert not starting.done(), starting.result()
        await asyncio.sleep(0.01)
    cluster.preload = None

    async def joins() -> None:
        join.touch()
        await starting

    return joins


@pytest.mark.parametrize("lacks", UNFIT)
async def test_a_late_worker_that_cannot_take_part_gets_no_orders(
    lacks: str, cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The batch stops with the reason, no file fails, and the next run completes without it."""
    program, reason = UNFIT[lacks]
    sandbox.faults.add(Fault(action=Delay(2.0), origin="edge", method="PUT", times=None))
    await cluster.kill_worker(0)
    join = await late_worker(cluster, tmp_path, program)
    running = start(client, cluster, tmp_path, max_in_flight=4)
    await sent(sandbox, "edge", running)
    await join()
    with pytest.raises(BatchStopped, match=reason):
        await running
    await kill(cluster.members.pop())
    sandbox.faults.clear()
    check(await start(client, cluster, tmp_path), sandbox, tmp_path)


async def test_a_late_worker_without_the_extra_gets_no_orders(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It would fail each object that it is given."""
    for number in range(FILES):
        s3.put(f"in/{number}.wav", b"%d" % number)
    sandbox.faults.add(Fault(action=Delay(2.0), origin="edge", method="PUT", times=None))
    folder = tmp_path / "cluster"
    folder.mkdir()
    async with ClusterProcesses(folder, workers=1) as cluster:
        lacking = "import sys\nsys.modules['obstore'] = None\n"
        join = await late_worker(cluster, tmp_path, lacking)
        running = start(
            client,
            cluster,
            tmp_path,
            source=s3.url("in/"),
            to=s3.url("out/"),
            journal=tmp_path / "j.sqlite",
            max_in_flight=4,
        )
        await sent(sandbox, "edge", running)
        await join()
        with pytest.raises(BatchStopped, match=r"worker tcp://.*extra 'stores'"):
            await running
    assert not [key for key in s3.all_keys() if not key.startswith(("in/", "out/"))]


async def test_a_late_worker_takes_part(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A batch whose workers all died continues with it."""
    sandbox.faults.add(Fault(action=Delay(0.3), origin="edge", method="PUT", times=None))
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "edge", running)
    for member in cluster.members:
        await kill(member)
    cluster.members.clear()
    await cluster.start_worker()
    check(await running, sandbox, tmp_path)


async def test_a_cluster_that_adapts_starts_its_workers_for_a_batch(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It has none before, and is not refused for that."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    async with LocalCluster(
        n_workers=0,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        asynchronous=True,
        silence_logs=logging.ERROR,
    ) as cluster:
        cluster.adapt(minimum=0, maximum=2)
        outcomes = await restored(
            client, source, tmp_path / "out", salt="s", executor=DaskExecutor(cluster)
        )
    assert states(outcomes) == {"a.wav": "done", "b.wav": "done"}
    assert generations(sandbox) == 2
