"""A batch on the workers of a cluster."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client

from diffio_async import AsyncDiffio
from diffio_async.dask import DaskExecutor
from diffio_async.dask.order_queue import OrderQueue
from diffio_async.errors import BatchStopped, ConfigurationError
from diffio_async.options import MIB
from diffio_async.report.journal import list_batch
from diffio_async.sandbox import Delay, Fault, Sandbox
from tests.batch.scenes import below, content, generations, recordings, restored, rows, states
from tests.cluster.processes import kill

if TYPE_CHECKING:
    from tests.cluster.processes import ClusterProcesses

pytestmark = pytest.mark.slow
UPLOADS = "SELECT upload FROM job WHERE upload IS NOT NULL"
NAMES = ("a.wav", "deep/b.wav", "deep/c.wav")


async def test_results_and_books_are_those_of_one_machine(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each file is restored once, byte for byte; progress, status and reports name the workers."""
    source, to = recordings(tmp_path / "in", *NAMES, "deep/same.wav"), tmp_path / "out"
    (source / "deep/same.wav").write_bytes(content("a.wav"))
    workers: dict[str, int] = {}

    outcomes = await restored(
        client,
        [source / "gone.wav", source],
        to,
        salt="s",
        executor=DaskExecutor(cluster.address),
        on_progress=lambda progress: workers.update(progress.workers),
    )

    # A recording that is missing everywhere fails alone.
    assert outcomes.pop("gone.wav").state == "failed"
    assert set(states(outcomes).values()) == {"done"}
    names = ["a.restored.mp3", "deep/b.restored.mp3", "deep/c.restored.mp3"]
    assert below(to) == [*names, "deep/same.restored.mp3"]
    for name in NAMES:
        assert (to / name).with_suffix(".restored.mp3").read_bytes() == content(name)
    assert generations(sandbox) == 3
    assert sum(workers.values()) == 4
    [status] = await printed("status", to)
    assert status["workers"] == workers
    stored = [row["worker"] for row in await printed("report", to) if row["bytes"] is not None]
    assert Counter(stored) == workers
    listed = [each.worker for each in list_batch(to).recordings if each.state == "restored"]
    assert listed == stored
    assert f"{len(workers)}: " in await run_command("batch", "status", str(to))


async def printed(command: str, to: Path) -> list[dict[str, Any]]:
    """Return what `batch status` or `batch report` prints of the batch."""
    text = await run_command("batch", command, str(to), "--json")
    return [json.loads(line) for line in text.splitlines()]


async def run_command(*words: str) -> str:
    """Run the command line with the given words, and return what it prints."""
    command = (sys.executable, "-m", "diffio_async", *words)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()


async def test_no_worker_gets_the_api_key(
    cluster: ClusterProcesses,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is in no order, event or log; nor is a token or a signed link, except in orders."""
    orders: list[Any] = []
    carried_out = OrderQueue.carried_out

    def recorded(self: OrderQueue, work: Any, *order: Any) -> Any:
        orders.append(order[0])
        return carried_out(self, work, *order)

    monkeypatch.setattr(OrderQueue, "carried_out", recorded)
    source = recordings(tmp_path / "in", *NAMES)
    (source / "gone.wav").write_bytes(b"x")
    dask: Any  # its scheduler has no types
    async with Client(cluster.address, asynchronous=True, set_as_default=False) as dask:
        outcomes = await restored(
            client, source, tmp_path / "out", salt="s", executor=DaskExecutor(cluster.address)
        )
        await dask.dump_cluster_state(str(tmp_path / "dump"), format="yaml")
        kept = repr(await dask.scheduler.events()) + (tmp_path / "dump.yaml").read_text()
    assert set(states(outcomes).values()) == {"done"}
    assert len(orders) == 12
    key = sandbox.api_key.encode()
    sent = [pickle.dumps(order) for order in orders]
    assert not any(key in each for each in sent)
    assert max(map(len, sent)) < 4096
    tokens = {order.record.offer.upload_token for order in orders if hasattr(order, "record")}
    links = {order.link.download_url for order in orders if hasattr(order, "link")}
    assert len(tokens) == len(links) == 4
    shown = cluster.log + kept + "".join(map(repr, orders))
    assert not any(secret in shown for secret in (sandbox.api_key, *tokens, *links))
    for member in cluster.members:
        assert key not in Path(f"/proc/{member.pid}/environ").read_bytes()


async def test_orders_are_submitted_together(
    cluster: ClusterProcesses, client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission takes the coordinator and the scheduler as much time as seven more orders."""
    submitted = list[int]()
    submit = Client.map

    def counted(self: Client, what: Any, orders: list[Any], *more: Any, **how: Any) -> Any:
        submitted.append(len(orders))
        return submit(self, what, orders, *more, **how)

    monkeypatch.setattr(Client, "map", counted)
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(20)))
    outcomes = await restored(
        client, source, tmp_path / "out", salt="s", executor=DaskExecutor(cluster.address)
    )
    assert set(states(outcomes).values()) == {"done"}
    assert sum(submitted) == 60
    assert max(submitted) > 5


async def test_a_worker_that_dies_is_replaced_by_another(
    cluster: ClusterProcesses, tmp_path: Path
) -> None:
    """Its orders are carried out elsewhere; an upload sends only the parts that are missing."""
    source, to, data = tmp_path / "in", tmp_path / "out", content("long", 12 * MIB)
    source.mkdir()
    (source / "long.wav").write_bytes(data)
    journal = to / ".diffio-batch.sqlite"
    async with (
        Sandbox(engine="echo", part_size=MIB, uploads=("edge",)) as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        sandbox.faults.add(Fault(action=Delay(0.5), origin="edge", method="PUT", times=None))
        running = asyncio.create_task(
            restored(client, source, to, salt="s", executor=DaskExecutor(cluster.address))
        )
        received = set[str]()
        while not received:
            await asyncio.sleep(0.02)
            assert not running.done(), running.result()
            # Until its first project exists, the journal may have no tables yet.
            for (upload,) in rows(journal, UPLOADS) if sandbox.state.projects else ():
                received = set(json.loads(upload)["etags"])
        for member in cluster.members[:]:
            await kill(member)
        before = len(sandbox.requests)
        await cluster.start_worker()
        assert states(await running) == {"long.wav": "done"}
        sent_again = {seen.path for seen in sandbox.requests[before:] if seen.method == "PUT"}
        assert sent_again
        assert not sent_again & {f"/v1/uploads/parts/{number}" for number in received}
        assert generations(sandbox) == 1
    assert (to / "long.restored.mp3").read_bytes() == data


async def test_a_scheduler_that_dies_stops_the_batch(
    cluster: ClusterProcesses, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The run ends in `BatchStopped`; the next one, on a new scheduler, completes the batch."""
    source, to = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(20))), tmp_path / "out"
    running = asyncio.create_task(
        restored(client, source, to, salt="s", executor=DaskExecutor(cluster.address))
    )
    while not generations(sandbox):
        await asyncio.sleep(0.02)
    assert cluster.scheduler is not None
    await kill(cluster.scheduler)
    with pytest.raises(BatchStopped, match="connection to the scheduler"):
        await running
    for member in cluster.members:
        await kill(member)
    await cluster.start_scheduler()
    await cluster.start_worker()
    outcomes = await restored(client, source, to, salt="s", executor=DaskExecutor(cluster.address))
    assert set(states(outcomes).values()) == {"done"}
    assert len(outcomes) == generations(sandbox) == 20


async def test_a_batch_on_a_cluster_needs_a_salt(client: AsyncDiffio, tmp_path: Path) -> None:
    """Without it, a lost journal would be billed again: it is refused before anything is sent."""
    source = recordings(tmp_path / "in", "a.wav")
    with pytest.raises(ConfigurationError, match="needs a salt"):
        await restored(client, source, tmp_path / "out", executor=DaskExecutor("tcp://127.0.0.1:9"))
