"""A hundred thousand files: memory of the batch, and the duration of `status`.

    python benchmarks/batch_rows.py [--files 100000] [--folder DIR]

The service is a sandbox in another process, whose generations complete at once. A run takes about
20 minutes on two cores. The memory of this process is read after each tenth of the files.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import MIB, parser, resident, sandbox

from diffio_async import AsyncDiffio


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
    given = parser(__doc__)
    given.add_argument("--files", type=int, default=100_000)
    given.add_argument("--folder", help="folder of the files, instead of a temporary one")
    options = given.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for number in range(options.files):
            path = folder / "in" / f"{number // 1000:03}" / f"{number:06}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}".encode())
        with sandbox({"duration": 0, "keep_requests": 1000}) as (environment, _):
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
