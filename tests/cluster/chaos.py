"""Stress test of a batch on a cluster from and to a store: faults everywhere, and SIGKILLs.

    python -m tests.cluster.chaos [--files 300] [--kills 5] [--seed 1]

Recordings and results are objects of a local S3 server, behind a relay that resets connections.
Workers are killed, then the coordinator, then the scheduler. At the end the states of the sandbox
and of the bucket show whether anything was lost, billed twice or left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, define, field

from diffio_async.sandbox import Sandbox
from tests.batch.chaos import Chaos, Figures, fault_plan
from tests.batch.scenes import JOURNAL
from tests.cluster.processes import ClusterProcesses, kill
from tests.stores.conftest import SECRET, Bucket, Relay, relay_to, s3_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: The coordinator: prints a line when it has started, and its outcomes, or why it stopped.
PROGRAM = """
import asyncio, json, sys
from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
from diffio_async.dask import DaskExecutor
from diffio_async.errors import BatchStopped

async def main():
    source, to, journal, in_flight, address = sys.argv[1:]
    options = ClientOptions(retry=RetryPolicy(initial_delay=0.02, max_delay=0.3))
    states, started = {}, []
    def begun(progress):
        if not started:
            started.append(print("begun", flush=True))
    async with AsyncDiffio(options=options) as client:
        try:
            async for outcome in client.restore_many(
                source, to, journal=journal, max_in_flight=int(in_flight), salt="chaos",
                on_progress=begun, executor=DaskExecutor(address),
            ):
                states[str(outcome.source)] = (outcome.state, outcome.error)
        except BatchStopped as error:
            states = {"stopped": str(error)}
    print(json.dumps(states), flush=True)

asyncio.run(main())
"""

#: End of the key of what a worker starts to write, and aborts, before it takes part.
CHECK = "/_diffio-check"


@define
class ClusterChaos(Chaos):
    """One stress test; `kills` is the number of workers that are killed."""

    in_flight: int = 60
    workers: int = 3

    async def run(self) -> Figures:
        """Restore everything, despite faults and kills."""
        chance = random.Random(self.seed)
        (self.folder / "cluster").mkdir()
        (self.folder / "out").mkdir()
        wanted = dict(self._recordings(self.folder / "in", chance))
        figures, began = Figures(files=self.files), time.monotonic()
        async with (
            open_bucket(self.folder, self.seed) as bucket,
            Sandbox(
                engine="echo",
                duration=0.6,
                duration_spread=0.5,
                part_size=4096,
                uploads=("edge",),
                keep_requests=1_000_000,
            ) as sandbox,
            ClusterProcesses(self.folder / "cluster", self.workers) as cluster,
        ):
            for path in (self.folder / "in").rglob("*.wav"):
                bucket.put(str(path.relative_to(self.folder)), path.read_bytes())
            sandbox.faults.add(*fault_plan(self.seed))

            def restored(share: float) -> Callable[[], bool]:
                """Return whether this share of the generations exists."""
                return lambda: len(sandbox.state.generations) >= share * self.files

            process = await self._started(sandbox, bucket, cluster.address)
            for number in range(self.kills):
                await _until(restored(0.5 * number / self.kills), process)
                await cluster.kill_worker(chance.randrange(self.workers))
                figures.kills += 1
            await _until(restored(0.55), process)
            await kill(process)
            figures.kills += 1
            process = await self._started(sandbox, bucket, cluster.address)
            await _until(restored(0.7), process)
            if cluster.scheduler is not None:
                await kill(cluster.scheduler)
                figures.kills += 1
            stopped = await _outcomes(process)
            figures.unfinished = {} if set(stopped) == {"stopped"} else {"not stopped": stopped}
            for member in cluster.members:
                await kill(member)
            cluster.members.clear()
            await cluster.start_scheduler()
            for _ in range(self.workers):
                await cluster.start_worker()
            left: dict[str, Any] = {}
            for _ in range(5):
                process = await self._started(sandbox, bucket, cluster.address)
                states = await _outcomes(process)
                left = {name: state for name, state in states.items() if state[0] != "done"}
                if len(states) == self.files and not left:
                    break
            else:
                figures.unfinished |= left
            self._fetch(bucket)
            self._count(figures, sandbox, self.folder / "out", wanted)
            # A check whose response was lost does not know the upload that it has started.
            open_uploads = [key for key in bucket.open_uploads() if not key.endswith(CHECK)]
            figures.left_over += [f"upload of {key}" for key in open_uploads]
        figures.seconds = round(time.monotonic() - began, 1)
        return figures

    async def _started(
        self, sandbox: Sandbox, bucket: Bucket, address: str
    ) -> asyncio.subprocess.Process:
        journal = self.folder / "out" / JOURNAL
        places = (bucket.url("in/"), bucket.url("out/"), str(journal))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, *places, str(self.in_flight), address),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **sandbox.environment},
            limit=2**24,
        )
        if process.stdout is None:
            raise RuntimeError("the batch has no output")
        await process.stdout.readline()
        return process

    def _fetch(self, bucket: Bucket) -> None:
        """Copy the results to a folder."""
        for key in bucket.all_keys():
            if not key.startswith("in/"):
                path = self.folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bucket.get(key))


@define
class UnreliableRelay(Relay):
    """A relay that resets connections: before a request arrives, or in place of its response."""

    chance: random.Random = field(factory=random.Random)

    async def _copy(self, reader: Any, writer: Any, back: Any, *, requests: bool) -> None:
        while block := await reader.read(65_536):
            if self.chance.random() < 0.02:
                raise ConnectionResetError
            writer.write(block)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def open_bucket(folder: Path, seed: int) -> AsyncIterator[Bucket]:
    """A bucket of an S3 server; the environment leads other processes to it through a relay."""
    log = folder / "s3.log"
    with s3_server(log) as endpoint:
        async with relay_to(endpoint, UnreliableRelay(chance=random.Random(seed))) as relay:
            credentials = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET}
            os.environ.update(
                {**credentials, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": relay.url}
            )
            client = import_module("boto3").client(
                "s3", endpoint_url=endpoint, region_name="us-east-1"
            )
            with contextlib.closing(client):
                client.create_bucket(Bucket="chaos")
                yield Bucket("chaos", endpoint, client)


async def _until(reached: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    while not reached() and process.returncode is None:
        await asyncio.sleep(0.01)


async def _outcomes(process: asyncio.subprocess.Process) -> dict[str, Any]:
    output, _ = await process.communicate()
    if process.returncode:
        return {"error": [process.returncode, output.decode()[-1000:]]}
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    """Run one stress test and print its figures; exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Broken connections are expected.
    logging.getLogger("aiohttp.server").disabled = True
    with tempfile.TemporaryDirectory() as folder:
        chaos = ClusterChaos(Path(folder), options.files, options.kills, options.seed)
        figures = asyncio.run(chaos.run())
    print(json.dumps(asdict(figures), indent=1))  # noqa: T201 - a program that prints
    well = figures.right == figures.generations == figures.files and not figures.left_over
    sys.exit(0 if well and not figures.unfinished and figures.most_per_file == 1 else 1)


if __name__ == "__main__":
    main()
