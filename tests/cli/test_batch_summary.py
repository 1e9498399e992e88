"""What `diffio-async batch` counts and reports at the end, and before it begins."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.batch.leases import host_id
from tests.batch.scenes import JOURNAL, content, generations, recordings

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


async def test_a_dry_run_after_a_failure_bills_only_what_can_be_restored(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An empty file keeps its problem, and is not counted among those to restore."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    (tmp_path / "in" / "b.wav").write_bytes(b"")
    first = await run("batch", "in", "-o", "out", env=sandbox.environment)
    assert first.returncode == 1
    plan = await run("batch", "in", "-o", "out", "--dry-run", env=sandbox.environment)
    assert plan.returncode == 1
    assert "b.wav' is empty" in plan.stdout
    assert "0 to restore" in plan.stdout
    assert "0 generations, at least 0 seconds billed" in plan.stdout
    assert "1 cannot be restored" in plan.stdout


async def test_skipped_files_are_not_counted_as_restored(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """In the last line, and in the `finished` event."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    recordings(tmp_path / "out", "a.restored.mp3")
    arguments = ("batch", "in", "-o", "out", "--on-conflict", "skip")
    done = await run(*arguments, env=sandbox.environment)
    assert done.returncode == 0
    assert "1 restored, 1 skipped, 0 failed" in done.stderr + done.stdout
    again = await run(*arguments, "--json", env=sandbox.environment)
    finished = json.loads(again.stdout.splitlines()[-1])
    assert (finished["done"], finished["skipped"], finished["failed"]) == (1, 1, 0)


async def test_results_that_were_removed_are_reported_with_the_download_command(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The batch is complete nevertheless, so the exit code is 0."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    await run("batch", "in", "-o", "out", env=sandbox.environment)
    (tmp_path / "out" / "a.restored.mp3").unlink()
    again = await run("batch", "in", "-o", "out", env=sandbox.environment)
    assert again.returncode == 0
    [line] = [line for line in again.stderr.splitlines() if "no longer there" in line]
    assert line.startswith("1 result is no longer there")
    command = line.partition("diffio-async ")[2].split()
    assert (await run(*command, env=sandbox.environment)).returncode == 0
    assert (tmp_path / "out" / "a.restored.mp3").read_bytes() == content("a.wav")
    assert generations(sandbox) == 2


@pytest.mark.skipif(os.name == "nt", reason="the process table is POSIX")
async def test_status_does_not_count_runs_that_were_killed(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The row of a process that is dead does not count as a run."""
    recordings(tmp_path / "in", "a.wav")
    await run("batch", "in", "-o", "out", env=sandbox.environment)
    dead = await anyio.open_process([sys.executable, "-c", ""])
    await dead.wait()
    await dead.aclose()
    with closing(sqlite3.connect(tmp_path / "out" / JOURNAL)) as journal, journal:
        journal.execute(
            "INSERT INTO run (token, host, pid, process_start, lease_expires_at)"
            " VALUES ('t', ?, ?, '1', 1e12)",
            (host_id(), dead.pid),
        )
    status = await run("batch", "status", "out", "--json")
    assert json.loads(status.stdout)["runs"] == 0


async def test_names_left_out_are_escaped_in_csv(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A character that reverses text is printed as an escape."""
    recordings(tmp_path / "in", "a.wav", "turned\u202etxt.notes")
    await run("batch", "in", "-o", "out", env=sandbox.environment)
    report = await run("batch", "report", "out", "--csv")
    assert "\u202e" not in report.stdout
    rows = list(csv.DictReader(io.StringIO(report.stdout)))
    assert sorted(row["file_state"] for row in rows) == ["done", "left_out"]


async def test_one_recording_in_two_spellings_is_restored_once(
    run: Run, echo: Sandbox, tmp_path: Path
) -> None:
    """`a/x.wav` and `a/../a/x.wav` are one file, as are two ways through a link."""
    recordings(tmp_path / "a", "x.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("a")
    files = ("a/x.wav", "a/../a/x.wav", "link/x.wav")
    done = await run("restore", *files, "-o", "out", env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert generations(echo) == 1
