"""A hundred thousand files: memory of the batch, and the duration of `status`.

    python benchmarks/batch_rows.py [--files 100000] [--folder DIR]

The service is a sandbox in another process, whose generations complete at once. A run takes about
20 minutes on two cores. The memory of this process is read after each tenth of the files.
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
    """Run a service until the standard input is closed."""
    async with Sandbox(engine="echo", duration=0, keep_requests=1000) as sandbox:
        print(json.dumps(sandbox.environment), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def service() -> Iterator[dict[str, str]]:
    """Run the service; yield its environment."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the service has no pipes")
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


def resident() -> float:
    """Return the resident memory, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


async def measure(folder: Path, count: int, environment: dict[str, str]) -> None:
    """Restore all files, and print time and memory."""
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
    """Create the files, restore them, and run `status`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", help="folder of the files, instead of a temporary one")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for number in range(options.files):
            path = folder / "in" / f"{number // 1000:03}" / f"{number:06}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}".encode())
        with service() as environment:
            asyncio.run(measure(folder, options.files, environment))
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
