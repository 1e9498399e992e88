"""Runs on one journal: detection of dead runs, and their leases."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from diffio_async.batch import leases, scheduler
from diffio_async.batch.journal import Journal
from diffio_async.batch.request import BatchRequest, RunOptions
from tests.batch.scenes import JOURNAL, generations, recordings, restored, rows, states

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

REQUEST = BatchRequest.create(None, "/tmp/x", service=None, run=RunOptions())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE run SET pid = 999999999",
        f"UPDATE run SET pid = {os.getppid()}, process_start = '1'",
        "UPDATE run SET token = 'of an earlier run of this process'",
        "UPDATE run SET host = 'elsewhere', lease_expires_at = 1",
        "DELETE FROM run",
    ],
)
async def test_leases_of_a_dead_run_are_released(change: str, tmp_path: Path) -> None:
    """A run is dead if its process ended, its PID was reused, or its remote lease expired."""
    dead = await Journal.open(tmp_path / "j.sqlite")
    await dead.register(REQUEST)
    held = dead.run_id
    await dead.write(
        lambda c: (
            c.execute(
                "INSERT INTO file (source, model, settings, size, mtime_ns, run_id)"
                " VALUES ('a', 'm', '{}', 1, 1, ?)",
                (held,),
            ).rowcount
        )
    )
    living = await Journal.open(tmp_path / "j.sqlite")
    await living.register(REQUEST)
    look = "SELECT run_id FROM file"
    assert rows(tmp_path / "j.sqlite", look) == [(held,)]
    with closing(sqlite3.connect(tmp_path / "j.sqlite")) as other:
        other.execute(f"{change} WHERE id = {held}")
        other.commit()
    assert await living.heartbeat()
    assert rows(tmp_path / "j.sqlite", look) == [(None,)]
    # It was alive after all: its next sign of life brings it back.
    await dead.heartbeat()
    assert len(rows(tmp_path / "j.sqlite", "SELECT id FROM run")) == 2
    await dead.close()
    await living.close()
    assert rows(tmp_path / "j.sqlite", "SELECT id FROM run") == []


async def test_a_run_on_another_host_lives_until_its_lease_expires(tmp_path: Path) -> None:
    """The process of a run on another host is unknown here; its lease is valid."""
    one = await Journal.open(tmp_path / "j.sqlite")
    await one.register(REQUEST)
    two = await Journal.open(tmp_path / "j.sqlite")
    await two.register(REQUEST)
    number = one.run_id
    await two.write(
        lambda c: c.execute("UPDATE run SET host = 'far' WHERE id = ?", (number,)).rowcount
    )
    assert not await two.heartbeat()
    await two.close()
    await one.close()


@pytest.mark.slow
async def test_a_run_that_lost_its_leases_abandons_the_rows(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a live run is reclaimed as dead, it and the next run bill each file once."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(scheduler, "_POLL_SECONDS", 0.1)
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(12)))
    journal = tmp_path / "out" / JOURNAL

    async def lose_leases() -> None:
        """Reclaim all leases of the run, as if it were dead."""
        async for _ in client.restore_many(source, tmp_path / "out", max_in_flight=4):
            with closing(sqlite3.connect(journal)) as other:
                for (run_id,) in other.execute("SELECT id FROM run").fetchall():
                    leases.release_run(other, run_id)
                other.commit()

    await lose_leases()
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 12
    sandbox.context.request_log.violations.clear()
