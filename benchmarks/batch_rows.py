"""A hundred thousand files: memory of the batch, and the duration of `status`.

    python benchmarks/batch_rows.py [--files 100000] [--folder DIR]

The service is a sandbox in another process, whose generations complete at once. A run takes about
20 minutes on two cores. The memory of this process is read after each tenth of the files.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from harness import MIB, Figures, finish, parser, print_table, report, resident, sandbox

from diffio_async import AsyncDiffio


async def measure(folder: Path, count: int, environment: dict[str, str]) -> list[Figures]:
    """Restore all files; print time and memory, and return a row for each measure."""
    began, seen, found = time.perf_counter(), 0, list[Figures]()
    key, url = environment["DIFFIO_API_KEY"], environment["DIFFIO_API_BASE_URL"]
    journal = folder / "journal.sqlite"
    async with AsyncDiffio(key, base_url=url) as client:
        outcomes = client.restore_many(folder / "in", folder / "out", journal=journal)
        async for outcome in outcomes:
            if outcome.state != "done":
                raise RuntimeError(outcome.error)
            seen += 1
            if seen == min(1000, count) or seen % max(1, count // 10) == 0:
                row = {"seconds": time.perf_counter() - began, "resident_mib": resident()}
                found.append({"what": f"{seen:,} files", "who": "diffio_async", **row})
                print_table(found[-1:])
    found[-1]["journal_mib"] = journal.stat().st_size / MIB
    return found


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
            rows = asyncio.run(measure(folder, options.files, environment))
        command = (sys.executable, "-m", "diffio_async", "batch", "status")
        for _ in range(3):
            cost = finish(*command, str(folder / "journal.sqlite"), variables={"COLUMNS": "100"})[1]
            rows.append({"what": f"status of {options.files:,} files", "who": "command", **cost})
    report(rows, options)


if __name__ == "__main__":
    main()
