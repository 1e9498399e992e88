"""A hundred thousand files: memory from the first to the last, and how long `status` takes.

    python benchmarks/batch_rows.py [--files 100000] [--folder DIR]

The service is left out: uploads, generations and downloads are done at once, in this process, so
that what is measured is the batch and its journal. Memory is read at each tenth of the way.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from diffio_async.batch.many import Order, restore_many
from diffio_async.batch.naming import DEFAULT_NAME
from diffio_async.batch.plan import Plan
from diffio_async.batch.settings import Settings
from diffio_async.batch.sources import RECORDINGS
from diffio_async.models.generations import Download, Downloaded, Generation
from diffio_async.models.projects import Project
from diffio_async.options import ClientOptions, RequestOptions

if TYPE_CHECKING:
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects

MIB = 1024 * 1024


class Projects:
    """Every upload is there at once."""

    def __init__(self) -> None:
        self.made = 0

    async def create(self, source: Any, **_: object) -> Project:
        """A project."""
        self.made += 1
        return Project(
            api_project_id=f"proj_{self.made:020}",
            status="uploaded",
            file_name=source.name,
            content_type="audio/wav",
            size_bytes=source.size,
        )


class Generations:
    """Every generation is complete at once."""

    async def create(self, *, api_project_id: str, **_: object) -> Generation:
        """A generation."""
        made = api_project_id.replace("proj", "gen")
        return Generation(generation_id=made, api_project_id=api_project_id, status="queued")

    async def wait_for_complete(self, **_: object) -> None:
        """It is complete."""

    async def download(
        self, *, generation_id: str, api_project_id: str, download_file_path: Path, **_: object
    ) -> Downloaded:
        """A byte."""
        download_file_path.write_bytes(b"1")  # noqa: ASYNC240 - one byte, to a local disk
        link = Download(
            generation_id=generation_id,
            api_project_id=api_project_id,
            download_type="audio",
            download_url="https://localhost/",
        )
        return Downloaded(download=link, size=1, path=download_file_path)


def resident() -> float:
    """Resident memory of now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


async def measure(folder: Path, count: int) -> None:
    """Restore them all, and print what it took."""
    order = Order(
        sources=folder / "in",
        to=folder / "out",
        journal=folder / "journal.sqlite",
        settings=Settings("diffio-4.6-flash"),
        kinds=("audio",),
        name=DEFAULT_NAME,
        recursive=True,
        suffixes=RECORDINGS,
        salt=None,
        retry_failed=False,
        plan=Plan(
            on_conflict="error",
            on_error="continue",
            max_in_flight=100,
            max_upload_bytes=MIB,
            seconds=None,
            timeout=None,
            project_params=None,
            options=RequestOptions(),
        ),
    )
    projects = cast("AsyncProjects", Projects())
    generations = cast("AsyncGenerations", Generations())
    began, seen, memory = time.perf_counter(), 0, list[float]()
    async for outcome in restore_many(projects, generations, order, None, ClientOptions()):
        if outcome.state != "done":
            raise RuntimeError(outcome.error)
        seen += 1
        if seen == min(1000, count) or seen % max(1, count // 10) == 0:
            memory.append(resident())
            print(f"{seen:>7} files, {time.perf_counter() - began:6.1f} s, {memory[-1]:.1f} MiB")
    print(f"memory from the first measure to the last: {memory[0]:.1f} to {memory[-1]:.1f} MiB")
    size = (folder / "journal.sqlite").stat().st_size
    print(f"the journal has {size / MIB:.1f} MiB")


def main() -> None:
    """Make the files, restore them, ask for the status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", help="where the files are made, if not in a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        for number in range(asked.files):
            path = folder / "in" / f"{number // 1000:03}" / f"{number:06}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}".encode())
        asyncio.run(measure(folder, asked.files))
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
