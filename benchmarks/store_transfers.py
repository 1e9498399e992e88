"""One large recording from a store to the service, and its result back to the store.

    python benchmarks/store_transfers.py [--size MIB] [--rounds 3] [--json FILE]
    python benchmarks/store_transfers.py --resume [--size MIB] [--json FILE]

Restores an object into a store, and a local file into a local folder. The service drops uploads
and makes results up; the store is that of `stores.py`. Each runs in a process of its own.

`--resume` kills a batch that uploads from the store when half of it has been sent, by SIGKILL, and
continues it on another machine: with another folder of temporary files, a copy of the journal, and
(Linux, root) in another namespace of processes, so that the lease of the first has to expire. Then
the same with workers of a cluster: one is killed, and another one takes its place. A sandbox counts
the bytes that arrive.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from argparse import SUPPRESS
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clusters.running import Cluster
from harness import MIB, Figures, compare, environment, finish, metered, parser, process, report

from diffio_async import AsyncDiffio
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_STORES = str(Path(__file__).with_name("stores.py"))
_OBJECT = "s3://bucket/in/large"
#: Of a process on another machine nothing is known but its lease.
_ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc")


async def restore(source: str, target: str) -> None:
    """Restore once, and print the figures."""
    async with AsyncDiffio() as client:
        with metered() as found:
            await client.restore(source, target, on_conflict="overwrite")
    print(json.dumps(found))


def measure(variables: Mapping[str, str], source: str, target: str) -> Figures:
    """Restore in a process of its own."""
    output, _ = finish(
        sys.executable, __file__, "--restore", source, target, variables=dict(variables)
    )
    figures: Figures = json.loads(output)
    return figures


def transfers(size: int, rounds: int) -> list[Figures]:
    """Return the cost of a restoration of an object, and of a local file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(process(sys.executable, _STORES, "--serve", str(size))).read()
        port = stack.enter_context(process(sys.executable, "-m", "moving.sink")).read()
        variables = {
            **store_variables(store),
            "DIFFIO_API_KEY": "diffio_live_benchmark",
            "DIFFIO_API_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "DIFFIO_ALLOW_INSECURE_HTTP": "1",
        }
        source = folder / "large.wav"
        with source.open("wb") as file:
            file.truncate(size)
        contenders = {
            "local file": partial(measure, variables, str(source), str(folder / "out.mp3")),
            "store": partial(measure, variables, _OBJECT, "s3://bucket/out.mp3"),
        }
        what = f"{size // MIB:,} MiB up and down"
        return compare(what, contenders, rounds=rounds, against="local file")


def store_variables(address: str) -> dict[str, str]:
    """Return the environment for the store."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "-",
        "AWS_SECRET_ACCESS_KEY": "-",
        "AWS_REGION": "us-east-1",
    }


@asynccontextmanager
async def services(size: int) -> AsyncIterator[tuple[Sandbox, dict[str, str], Path]]:
    """Run a store and a sandbox; yield the sandbox, the environment, and a folder."""
    with (
        tempfile.TemporaryDirectory() as folder,
        process(sys.executable, _STORES, "--serve", str(size)) as store,
    ):
        address = await asyncio.to_thread(store.read)
        async with Sandbox(engine="echo") as sandbox:
            variables = {**sandbox.environment, **store_variables(address)}
            yield sandbox, environment(variables), Path(folder)


def received(sandbox: Sandbox) -> tuple[int, int]:
    """Return the bytes of uploads that arrived, and those of parts that arrived whole."""
    sent = [each for each in sandbox.requests if each.method == "PUT"]
    whole = sum(each.bytes_received for each in sent if each.status == 200)  # noqa: PLR2004
    return sum(each.bytes_received for each in sent), whole


async def half_sent(sandbox: Sandbox, size: int) -> None:
    """Wait until half of the recording has arrived."""
    while received(sandbox)[0] < size // 2:  # noqa: ASYNC110 - the sandbox notifies nobody
        await asyncio.sleep(0.01)


async def batch(
    folder: Path, variables: Mapping[str, str], *options: str, prefix: tuple[str, ...] = ()
) -> asyncio.subprocess.Process:
    """Start a batch on a machine whose folder of temporary files is `folder`."""
    return await asyncio.create_subprocess_exec(
        *(
            *prefix,
            sys.executable,
            "-m",
            "diffio_async",
            "batch",
            _OBJECT,
            "-o",
            "s3://bucket/out/",
        ),
        *("--journal", str(folder / "j.sqlite"), "--on-conflict", "overwrite", *options),
        env={**variables, "TMPDIR": str(folder)},
        stdout=asyncio.subprocess.DEVNULL,
    )


async def on_another_machine(size: int) -> Figures:
    """Kill a batch, and continue it with a copy of its journal."""
    async with services(size) as (sandbox, variables, folder):
        first, second = folder / "first", folder / "second"
        first.mkdir()
        running = await batch(first, variables)
        await half_sent(sandbox, size)
        running.kill()
        await running.wait()
        left = [each.name for each in first.iterdir() if "j.sqlite" not in each.name]
        shutil.copytree(first, second)
        before = await settled(sandbox)
        elsewhere = _ELSEWHERE if shutil.which(_ELSEWHERE[0]) and os.geteuid() == 0 else ()
        running = await batch(second, variables, prefix=elsewhere)
        if await running.wait():
            raise RuntimeError("the second run failed")
        return {"who": "another machine", "left_files": len(left), **counts(sandbox, before, size)}


async def on_another_worker(size: int) -> Figures:
    """Kill a worker, and start another one in its place."""
    async with services(size) as (sandbox, variables, folder):
        with ExitStack() as stack:
            cluster = Cluster(stack=stack, environment=variables, folder=folder)
            address = await asyncio.to_thread(cluster.start, "scheduler")
            await start_worker(cluster, "worker 0")
            running = await batch(folder, variables, "--dask", address, "--salt", "benchmark")
            await half_sent(sandbox, size)
            cluster.members["worker 0"].popen.kill()
            before = await settled(sandbox)
            await start_worker(cluster, "worker 1")
            if await running.wait():
                raise RuntimeError("the batch failed")
        return {"who": "another worker", **counts(sandbox, before, size)}


async def start_worker(cluster: Cluster, name: str) -> None:
    """Start a worker with a folder of temporary files of its own."""
    folder = cluster.folder / name
    folder.mkdir()
    await asyncio.to_thread(cluster.start, name, "env", f"TMPDIR={folder}")


async def settled(sandbox: Sandbox) -> tuple[int, int]:
    """Return what arrived from a process that was killed."""
    while True:
        found = received(sandbox)
        await asyncio.sleep(0.5)
        if received(sandbox) == found:
            return found


def counts(sandbox: Sandbox, before: tuple[int, int], size: int) -> Figures:
    """Return what arrived in both runs, in MiB."""
    arrived, _ = received(sandbox)
    return {
        "what": f"{size // MIB:,} MiB, interrupted at half",
        "first_mib": before[0] / MIB,
        "in_flight_mib": (before[0] - before[1]) / MIB,
        "second_mib": (arrived - before[0]) / MIB,
        "repeated_mib": (arrived - size) / MIB,
        "generations": len(sandbox.state.generations),
    }


def main() -> None:
    """Run the measurements and print them."""
    given = parser(__doc__, rounds=3)
    given.add_argument("--size", type=int, default=1024, help="MiB of the recording (1,024)")
    given.add_argument("--resume", action="store_true", help="interrupt uploads")
    given.add_argument("--restore", nargs=2, help=SUPPRESS)
    options = given.parse_args()
    if options.restore:
        asyncio.run(restore(*options.restore))
    elif options.resume:
        size = options.size * MIB
        runs = (on_another_machine, on_another_worker)
        report([asyncio.run(each(size)) for each in runs], options)
    else:
        report(transfers(options.size * MIB, options.rounds), options)


if __name__ == "__main__":
    main()
