"""Files per second of the journal alone, on a disk whose commits are slow.

    python journal.py FILES COMMIT_SECONDS

The transitions of a batch are recorded for 250 files at a time, without requests. Each commit that
waits for the disk is delayed by the given seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusters.running import write_files
from harness import Figures, finish, metered

from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.executor import StoredResult
from diffio_async.models.batches import DEFAULT_IN_FLIGHT

if TYPE_CHECKING:
    from diffio_async.batch.journal import Journal


def slow_down(seconds: float) -> None:
    """Delay each commit that waits for the disk."""
    run_jobs: Any = SqliteThread._run_jobs  # noqa: SLF001

    def run_slowly(self: SqliteThread, connection: Any, jobs: list[Any]) -> None:
        if any(job.syncs for job in jobs):
            time.sleep(seconds)
        run_jobs(self, connection, jobs)

    SqliteThread._run_jobs = run_slowly  # type: ignore[method-assign]  # noqa: SLF001


async def record(journal: Journal, file: int, path: Path, free: asyncio.Semaphore) -> None:
    """Record all transitions of a file."""
    transition = journal.transition
    async with free:
        digest = hashlib.sha256(path.name.encode()).hexdigest()
        assigned: Any = await transition(job_queries.assign_job, file, digest, 1, None)
        job, project = assigned.id, f"project-{file}"
        state = json.dumps({"api_project_id": project, "token": "x" * 400})
        await transition(job_queries.save_upload_state, job, project, state)
        await transition(job_queries.record_upload, job, project)
        await transition(job_queries.record_generation, job, project, f"generation-{file}")
        await journal.write(job_queries.record_completion, journal.run_id, job)
        (download,) = await transition(file_queries.lease_downloads, 1)
        await transition(
            file_queries.finish_download, download, download.path, StoredResult(size=1)
        )


def compared(files: int) -> list[Figures]:
    """Return a row for commits as they are, and one for slow commits."""
    variables = {"DIFFIO_API_BASE_URL": "-", "DIFFIO_API_KEY": "-"}
    rows = []
    for seconds in (0.0, 0.02):
        command = (sys.executable, __file__, str(files), str(seconds))
        cost = json.loads(finish(*command, variables=variables)[0])
        rate = {"files_per_second": files / cost["seconds"]}
        who = f"commits {1000 * seconds:.0f} ms late"
        rows.append({"what": f"{files:,} files in the journal", "who": who, **cost, **rate})
    return rows


async def measure(files: int, seconds: float) -> None:
    """Record the files, and print the cost."""
    from batch_bare import listed  # reads the environment

    if seconds:
        slow_down(seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = await asyncio.to_thread(partial(write_files, folder, files, 8))
        (folder / "out").mkdir()
        journal, found = await listed(source, folder / "out")
        free = asyncio.Semaphore(DEFAULT_IN_FLIGHT)
        with metered() as cost:
            await asyncio.gather(
                *(record(journal, number, path, free) for number, path in found.items())
            )
        await journal.close()
    print(json.dumps(cost))


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]), float(sys.argv[2])))
