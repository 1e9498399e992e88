"""Stress test of a batch on a cluster: faults of the network, and SIGKILL of each kind of process.

    python -m tests.cluster.chaos [--files 300] [--kills 5] [--seed 1]

Workers are killed, then the coordinator, then the scheduler. At the end the state of the sandbox
shows whether anything was lost or billed twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, define

from diffio_async.sandbox import Sandbox
from tests.batch.chaos import Chaos, Figures, fault_plan
from tests.cluster.processes import ClusterProcesses, kill

if TYPE_CHECKING:
    from collections.abc import Callable

#: The coordinator: prints a line when it has started, and its outcomes, or why it stopped.
PROGRAM = """
import asyncio, json, sys
from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
from diffio_async.dask import DaskExecutor
from diffio_async.errors import BatchStopped

async def main():
    source, to, in_flight, address = sys.argv[1:]
    options = ClientOptions(retry=RetryPolicy(initial_delay=0.02, max_delay=0.3))
    states, started = {}, []
    def begun(progress):
        if not started:
            started.append(print("begun", flush=True))
    async with AsyncDiffio(options=options) as client:
        try:
            async for outcome in client.restore_many(
                source, to, max_in_flight=int(in_flight), salt="chaos", on_progress=begun,
                executor=DaskExecutor(address),
            ):
                states[str(outcome.source)] = (outcome.state, outcome.error)
        except BatchStopped as error:
            states = {"stopped": str(error)}
    print(json.dumps(states), flush=True)

asyncio.run(main())
"""


@define
class ClusterChaos(Chaos):
    """One stress test; `kills` is the number of workers that are killed."""

    in_flight: int = 60
    workers: int = 3

    async def run(self) -> Figures:
        """Restore everything, despite faults and kills."""
        chance = random.Random(self.seed)
        source, to = self.folder / "in", self.folder / "out"
        (self.folder / "cluster").mkdir()
        wanted = dict(self._recordings(source, chance))
        figures, began = Figures(files=self.files), time.monotonic()
        async with (
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
            sandbox.faults.add(*fault_plan(self.seed))

            def restored(share: float) -> Callable[[], bool]:
                """Return whether this share of the generations exists."""
                return lambda: len(sandbox.state.generations) >= share * self.files

            process = await self._started(sandbox, source, to, cluster.address)
            for number in range(self.kills):
                await _until(restored(0.5 * number / self.kills), process)
                await cluster.kill_worker(chance.randrange(self.workers))
                figures.kills += 1
            await _until(restored(0.55), process)
            await kill(process)
            figures.kills += 1
            process = await self._started(sandbox, source, to, cluster.address)
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
                process = await self._started(sandbox, source, to, cluster.address)
                states = await _outcomes(process)
                left = {name: state for name, state in states.items() if state[0] != "done"}
                if len(states) == self.files and not left:
                    break
            else:
                figures.unfinished |= left
            self._count(figures, sandbox, to, wanted)
        figures.seconds = round(time.monotonic() - began, 1)
        return figures

    async def _started(
        self, sandbox: Sandbox, source: Path, to: Path, address: str
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, str(source), str(to), str(self.in_flight), address),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **sandbox.environment},
            limit=2**24,
        )
        if process.stdout is None:
            raise RuntimeError("the batch has no output")
        await process.stdout.readline()
        return process


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
