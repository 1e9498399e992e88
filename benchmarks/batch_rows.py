"""A hundred thousand files: memory from the first to the last, and how long `status` takes.

    python benchmarks/batch_rows.py [--files 100000] [--folder DIR]

The service is a sandbox in a process of its own, whose generations are complete at once; it takes
some 20 minutes on two cores. Memory is the batch's own, read at each tenth of the way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async import AsyncDiffio
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024


async def serve() -> None:
    """A service that is there until nobody talks to it any more."""
    async with Sandbox(engine="echo", duration=0, keep_requests=1000) as sandbox:
        print(json.dumps(sandbox.environment), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def service() -> Iterator[dict[str, str]]:
    """The service; its environment."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the service cannot be talked to")
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


def resident() -> float:
    """Resident memory of now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


async def measure(folder: Path, count: int, environment: dict[str, str]) -> None:
    """Restore them all, and print what it took."""
    began, seen, memory = time.perf_counter(), 0, list[float]()
    key, url = environment["DIFFIO_API_KEY"], environment["DIFFIO_API_BASE_URL"]
    journal = folder / "journal.sqlite"
    async with AsyncDiffio(key, base_url=url) as client:
        outcomes = client.restore_many(folder / "in", folder / "out", journal=journal)
        async for outcome in outcomes:
            if outcome.state != "done":
                raise RuntimeError(outcome.error)
            seen += 1
            if seen == min(1000, count) or seen % max(1, count // 10) == 0:
                memory.append(resident())
                seconds = time.perf_counter() - began
                print(f"{seen:>7} files, {seconds:6.1f} s, {memory[-1]:.1f} MiB", flush=True)
    print(f"memory from the first measure to the last: {memory[0]:.1f} to {memory[-1]:.1f} MiB")
    print(f"the journal has {journal.stat().st_size / MIB:.1f} MiB")


def main() -> None:
    """Make the files, restore them, ask for the status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", help="where the files are made, if not in a temporary folder")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve())
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        for number in range(asked.files):
            path = folder / "in" / f"{number // 1000:03}" / f"{number:06}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}".encode())
        with service() as environment:
            asyncio.run(measure(folder, asked.files, environment))
        for _ in range(3):
            began = time.perf_counter()
            command = [sys.executable, "-m", "diffio_async", "batch", "status"]
            subprocess.run(  # noqa: S603
                [*command, str(folder / "journal.sqlite")],
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "COLUMNS": "100"},
            )
            print(f"status took {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
