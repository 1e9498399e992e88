"""A power cut reverts what was not flushed to the disk: nothing is lost or billed twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async.batch.schema import DEFAULT_JOURNAL
from diffio_async.sandbox import Fault, RespondWith
from tests.batch.chaos import PROGRAM
from tests.batch.scenes import content, generations, recordings, restored, rows, states

if TYPE_CHECKING:
    import sqlite3

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

NAMES = ("a.wav", "b.wav", "c.wav")
#: Runs before `PROGRAM`. It copies the journal after each commit that flushes it, and kills the
#: process before the one with the number `CUT`: the copy is all that a power cut leaves.
COPY_DURABLE = """
import os, shutil, signal
from pathlib import Path
from diffio_async._storage.sqlite_thread import SqliteThread

run_jobs, numbers = SqliteThread._run_jobs, iter(range(1, 1000))
journal, durable = Path(os.environ["JOURNAL"]), Path(os.environ["DURABLE"])
log = journal.with_name(journal.name + "-wal")

def log_state():
    return (log.stat().st_size, log.stat().st_mtime_ns) if log.exists() else None

def copied(self, connection, jobs):
    syncs, before = any(job.syncs for job in jobs), log_state()
    if syncs and next(numbers) == int(os.environ["CUT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    run_jobs(self, connection, jobs)
    if syncs and log_state() != before:  # without changes, nothing is flushed
        for path in (journal, log):
            shutil.copy(path, durable)

SqliteThread._run_jobs = copied
"""


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2, 3, 5, 7, 9, 11])
async def test_a_batch_resumes_after_a_power_cut(
    cut: int, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The journal has only what was flushed before the cut; each file is billed once."""
    source, to = recordings(tmp_path / "in", *NAMES), tmp_path / "out"
    durable = tmp_path / "durable"
    durable.mkdir()
    environment = {**os.environ, **sandbox.environment, "CUT": f"{cut}", "DURABLE": f"{durable}"}
    for killed, program in ((True, COPY_DURABLE + PROGRAM), (False, PROGRAM)):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(source), str(to), "8"),
            env={**environment, "JOURNAL": str(to / DEFAULT_JOURNAL)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        # On a slow machine more transitions share a commit: there may be no such number.
        assert await process.wait() in ((0, -signal.SIGKILL) if killed else (0,))
        if process.returncode:
            for path in to.glob(f"{DEFAULT_JOURNAL}*"):
                path.unlink()
            for path in durable.iterdir():
                shutil.copy(path, to)
    assert rows(to / DEFAULT_JOURNAL, "SELECT state FROM file") == [("done",)] * 3
    assert generations(sandbox) == 3
    for name in NAMES:
        assert (to / name).with_suffix(".restored.mp3").read_bytes() == content(name)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a descriptor has no known path")
async def test_the_names_of_new_folders_are_flushed(
    client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal would be lost with its folder, and a result with its own."""
    flushed, fsync = set[Path](), os.fsync

    def recorded(descriptor: int) -> None:
        flushed.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    source, to = recordings(tmp_path / "in", "deep/er/a.wav"), tmp_path / "new" / "out"
    assert states(await restored(client, source, to)) == {"a.wav": "done"}
    assert flushed >= {tmp_path, to.parent, to, to / "deep", to / "deep" / "er"}


async def test_an_outcome_is_flushed_before_it_is_reported(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completed generation without a picture ends a file whose video is wanted."""
    run_jobs, flushed = SqliteThread._run_jobs, list[bool]()

    def recorded(self: SqliteThread, connection: sqlite3.Connection, jobs: list[object]) -> None:
        def ended() -> int:
            query = "SELECT count(*) FROM file WHERE end_seq IS NOT NULL"
            return int(connection.execute(query).fetchone()[0])

        before = ended()
        run_jobs(self, connection, jobs)  # type: ignore[arg-type]
        if ended() != before:
            flushed.append(self._syncs)

    monkeypatch.setattr(SqliteThread, "_run_jobs", recorded)
    source = recordings(tmp_path / "in", "a.mp4")
    body = {
        "generationId": "g",
        "apiProjectId": "p",
        "status": "complete",
        "progress": 100,
        "hasVideo": False,
    }
    sandbox.faults.add(
        Fault(path="/v1/get_generation_progress", action=RespondWith(json=body), times=None)
    )
    outcomes = await restored(client, source, tmp_path / "out", download_types=("video",))
    assert states(outcomes) == {"a.mp4": "failed"}
    assert flushed == [True]
