"""Stress test of a batch: faults on every connection, and SIGKILL at random times.

    python -m tests.batch.chaos [--files 300] [--kills 20] [--seed 1]

The sandbox runs in this process and survives; the batch runs in processes that are killed. At the
end the state of the sandbox shows whether anything was lost or billed twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, asdict, define, evolve

from diffio_async.sandbox import (
    Delay,
    Drop,
    Fault,
    LoseResponse,
    RespondWith,
    Sandbox,
    Stall,
    Truncate,
)
from tests.batch.scenes import JOURNAL, content, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A batch in a process of its own: prints a line when it has started, and its outcomes.
PROGRAM = """
import asyncio, json, sys
from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy

async def main():
    options = ClientOptions(retry=RetryPolicy(initial_delay=0.02, max_delay=0.3))
    states = {}
    started = []
    def begun(progress):
        if not started:
            started.append(print("begun", flush=True))
    async with AsyncDiffio(options=options) as client:
        async for outcome in client.restore_many(
            sys.argv[1], sys.argv[2], max_in_flight=int(sys.argv[3]), on_progress=begun
        ):
            states[str(outcome.source)] = (outcome.state, outcome.error)
    print(json.dumps(states), flush=True)

asyncio.run(main())
"""


#: Requests that are accepted at once with a late response, so that a kill falls in between.
LATE = ("*/create_project", "*-generation", "*/uploads/complete", "*/complete_project_upload")


def fault_plan(seed: int) -> list[Fault]:
    """Drop 5 % of the requests and fail 5 %; lose or delay responses."""
    lost = dict(zip(LATE, (0.05, 0.10, 0.10, 0.10), strict=True))
    many = [
        *(Fault(action=LoseResponse(), path=path, rate=rate) for path, rate in lost.items()),
        Fault(action=Truncate(0.5), origin="media", method="GET", rate=0.2),
        Fault(action=Drop(), rate=0.05),
        Fault(action=RespondWith(status=503), rate=0.05),
        *(Fault(action=Stall(seconds=0.4), path=path, rate=0.3) for path in LATE),
        Fault(action=Delay(0.05), origin="edge", method="PUT"),
    ]
    return [evolve(fault, times=None, seed=seed + number) for number, fault in enumerate(many)]


@define(kw_only=True)
class Figures:
    """Result: the numbers of the server and those of the journal."""

    files: int
    right: int = 0
    generations: int = 0
    most_per_file: int = 0
    projects: int = 0
    orphans_at_the_server: int = 0
    orphans_known: int = 0
    orphans_suspected: int = 0
    kills: int = 0
    runs: int = 0
    requests: int = 0
    struck: int = 0
    left_over: list[str] = Factory(list)
    unfinished: dict[str, Any] = Factory(dict)
    seconds: float = 0.0


@define
class Chaos:
    """One stress test with a number of recordings and kills."""

    folder: Path
    files: int
    kills: int
    seed: int
    in_flight: int = 8
    processes: int = 1

    async def run(self) -> Figures:
        """Restore everything, despite faults and kills."""
        chance = random.Random(self.seed)
        source, to = self.folder / "in", self.folder / "out"
        wanted = dict(self._recordings(source, chance))
        figures, began = Figures(files=self.files), time.monotonic()
        async with Sandbox(
            engine="echo",
            duration=0.4,
            duration_spread=0.5,
            part_size=4096,
            uploads=("edge",),
            keep_requests=1_000_000,
        ) as sandbox:
            sandbox.faults.add(*fault_plan(self.seed))
            while figures.kills < self.kills:
                figures.runs += 1
                if not await self._killed(sandbox, source, to, chance.uniform(0.0, 1.0)):
                    break
                figures.kills += 1
            for _ in range(5):
                figures.runs += 1
                states = await self._finished(sandbox, source, to)
                figures.unfinished = {n: s for n, s in states.items() if s[0] != "done"}
                if len(states) == self.files and not figures.unfinished:
                    break
            self._count(figures, sandbox, to, wanted)
        figures.seconds = round(time.monotonic() - began, 1)
        return figures

    def _recordings(self, source: Path, chance: random.Random) -> Iterable[tuple[str, bytes]]:
        for number in range(self.files):
            path = source / f"{number % 7}" / f"{number:04}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content(path.name, chance.randint(100, 20_000))
            path.write_bytes(data)
            yield f"{number % 7}/{number:04}.restored.mp3", data

    async def _begun(self, sandbox: Sandbox, source: Path, to: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, str(source), str(to), str(self.in_flight)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **sandbox.environment},
            limit=2**24,
        )

    async def _killed(self, sandbox: Sandbox, source: Path, to: Path, after: float) -> bool:
        """Run and kill after a delay; return False if the run ended before."""
        process = await self._begun(sandbox, source, to)
        if process.stdout is None:
            raise RuntimeError("the batch has no output")
        await process.stdout.readline()
        try:
            await asyncio.wait_for(process.wait(), after)
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await process.stdout.read()
            await process.wait()
            return True
        return False

    async def _finished(self, sandbox: Sandbox, source: Path, to: Path) -> dict[str, Any]:
        """Run to the end, in `processes` concurrent processes."""
        running = [await self._begun(sandbox, source, to) for _ in range(self.processes)]
        outputs = [(await process.communicate())[0] for process in running]
        if any(process.returncode for process in running):
            return {}
        found: dict[str, Any] = json.loads(outputs[0].splitlines()[-1])
        return found

    def _count(
        self, figures: Figures, sandbox: Sandbox, to: Path, wanted: dict[str, bytes]
    ) -> None:
        world, journal = sandbox.state, to / JOURNAL
        by_file: dict[str, int] = {}
        for generation in world.generations.values():
            name = world.projects[generation.project_id].file_name
            by_file[name] = by_file.get(name, 0) + 1
        paid = {generation.project_id for generation in world.generations.values()}
        there = {
            str(path.relative_to(to)): path
            for path in to.rglob("*")
            if path.is_file() and not path.name.startswith(JOURNAL)
        }
        figures.generations = len(world.generations)
        figures.most_per_file = max(by_file.values(), default=0)
        figures.projects = len(world.projects)
        figures.orphans_at_the_server = len(world.projects.keys() - paid)
        [(known, noted)] = rows(journal, "SELECT count(project), count(*) FROM orphan")
        figures.orphans_known, figures.orphans_suspected = known, noted - known
        figures.right = sum(
            name in there and there[name].read_bytes() == data for name, data in wanted.items()
        )
        figures.left_over = sorted(there.keys() - wanted.keys())
        figures.requests = len(sandbox.requests)
        figures.struck = sum(seen.fault is not None for seen in sandbox.requests)


def main() -> None:
    """Run one stress test and print its figures; exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    # Broken connections are expected.
    logging.getLogger("aiohttp.server").disabled = True
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(
            Path(folder), options.files, options.kills, options.seed, processes=options.processes
        )
        figures = asyncio.run(chaos.run())
    print(json.dumps(asdict(figures), indent=1))  # noqa: T201 - a program that prints
    well = figures.right == figures.generations == figures.files and not figures.left_over
    sys.exit(0 if well and figures.kills >= options.kills else 1)


if __name__ == "__main__":
    main()
