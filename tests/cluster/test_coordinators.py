"""Processes that start batches on a cluster: several of them, blocking ones, wrong clocks."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from distributed import Client

from diffio_async.dask import DaskExecutor
from diffio_async.errors import ConfigurationError
from diffio_async.sandbox import Delay, Fault
from tests.batch.scenes import generations, recordings, restored
from tests.cluster.batches import check, sent, start
from tests.cluster.processes import kill

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.cluster.processes import ClusterProcesses

#: A program without an event loop of its own, which uses its client of Dask afterwards too.
BLOCKING = """
import sys
from diffio_async import Diffio
from diffio_async.dask import DaskExecutor
from distributed import Client

address, source, to = sys.argv[1:]
with Client(address) as dask, Diffio() as client:
    for outcome in client.restore_many(source, to, salt="s", executor=DaskExecutor(dask)):
        print(outcome.state)
    print(dask.submit(len, "abc").result())
"""


@pytest.mark.slow
@pytest.mark.parametrize("to", ["out", "elsewhere"])
async def test_two_batches_share_a_cluster(
    to: str, cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Both complete, with one journal or two; equal contents are billed once."""
    sandbox.faults.add(Fault(action=Delay(0.3), origin="edge", method="PUT", times=None))
    first = start(client, cluster, tmp_path, max_in_flight=8)
    await sent(sandbox, "edge", first)
    second = start(client, cluster, tmp_path, to=tmp_path / to, max_in_flight=8)
    check(await first, sandbox, tmp_path)
    check(await second, sandbox, tmp_path, to)
    # Both have uploaded the same contents, and requested generations of them by the same keys.
    sandbox.context.request_log.violations.clear()


@pytest.mark.slow
async def test_the_journal_of_another_batch_is_refused(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """While that batch runs, too."""
    sandbox.faults.add(Fault(action=Delay(0.3), origin="edge", method="PUT", times=None))
    running = start(client, cluster, tmp_path)
    await sent(sandbox, "edge", running)
    with pytest.raises(ConfigurationError, match="belongs to another batch"):
        await start(client, cluster, tmp_path, model="diffio-4.6-pro")
    check(await running, sandbox, tmp_path)


@pytest.mark.slow
async def test_a_blocking_program_uses_a_blocking_client(
    cluster: ClusterProcesses, sandbox: Sandbox, tmp_path: Path
) -> None:
    """`Diffio` accepts a client of Dask that runs on the event loop of another thread."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BLOCKING, cluster.address, str(source), str(tmp_path / "out")),
        env={**os.environ, **sandbox.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert printed.decode().split() == ["done", "done", "3"]
    assert generations(sandbox) == 2


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_clock_of_a_worker_does_not_matter(
    hours: int,
    cluster: ClusterProcesses,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python runs `sitecustomize` at its start: the worker has another time from then on."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import time\nnow = time.time\ntime.time = lambda: now() + {hours * 3600}\n"
    )
    for member in cluster.members:
        await kill(member)
    cluster.members.clear()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    await cluster.start_worker()
    monkeypatch.delenv("PYTHONPATH")
    async with Client(cluster.address, asynchronous=True, set_as_default=False) as dask:
        [now] = (await dask.run(time.time)).values()
    assert abs(now - time.time() - hours * 3600) < 600
    check(await start(client, cluster, tmp_path), sandbox, tmp_path)


@pytest.mark.parametrize("executor", ["tcp://127.0.0.1:8786", DaskExecutor, object()])
async def test_something_else_than_an_executor_is_refused(
    executor: object, client: AsyncDiffio, tmp_path: Path
) -> None:
    """The message has what to write in its place."""
    source = recordings(tmp_path / "in", "a.wav")
    with pytest.raises(ConfigurationError, match=r"DaskExecutor\('tcp://"):
        await restored(client, source, tmp_path / "out", salt="s", executor=executor)


@pytest.mark.parametrize("number", [0, -1, "8", 1.5])
def test_an_executor_without_orders_is_refused(number: int) -> None:
    """It would wait forever."""
    with pytest.raises(ConfigurationError, match="max_orders must be 1 or more"):
        DaskExecutor("tcp://127.0.0.1:8786", max_orders=number)
