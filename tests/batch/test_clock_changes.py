"""A batch continues when the system clock is set during a run or between two runs."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
from diffio_async._protocol import limits
from diffio_async._storage import sqlite_open
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async.batch import file_queries
from diffio_async.batch.file_queries import requeue_file
from diffio_async.batch.journal import Journal
from diffio_async.batch.schema import FAR_FUTURE, SCHEMA
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.batch.conftest import QUICK
from tests.batch.scenes import JOURNAL, recordings, restored, rows, states
from tests.batch.test_leases import REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOURS = 3600.0
FILE = "INSERT INTO file (source, model, settings, size, mtime_ns) VALUES ('a', 'm', '{}', 1, 1)"


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the system clock ahead by a number of seconds."""
    right = time.time

    def set_ahead(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: right() + seconds)

    return set_ahead


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [-2 * HOURS, 2 * HOURS])
async def test_a_clock_that_is_set_during_a_batch_does_not_stop_it(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_clock: Callable[[float], None],
    ahead: float,
) -> None:
    """A requeued file is retried after its delay."""
    monkeypatch.setattr(limits, "MIN_PAUSE", 0.15)
    source = recordings(tmp_path / "in", "a.wav")
    sandbox.faults.add(Fault(path="*/create_project", times=2, action=RespondWith(503)))
    options = ClientOptions(retry=RetryPolicy(attempts=1), wait=QUICK.wait)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        running = asyncio.create_task(restored(client, source, tmp_path / "out"))
        with anyio.fail_after(120):
            journal = tmp_path / "out" / JOURNAL
            while not (journal.exists() and _is_deferred(journal)):
                await anyio.sleep(0.01)
            set_clock(ahead)
            assert states(await running) == {"a.wav": "done"}


def _is_deferred(journal: Path) -> bool:
    try:
        return bool(rows(journal, "SELECT 1 FROM file WHERE state = 'listed' AND run_at > 0"))
    except sqlite3.OperationalError:
        return False


@pytest.mark.parametrize("ahead", [-2 * HOURS, 2 * HOURS])
async def test_a_later_run_reads_times_of_a_clock_set_back(
    tmp_path: Path, set_clock: Callable[[float], None], ahead: float
) -> None:
    """Processes compare times by a clock that they share."""
    path = tmp_path / "j.sqlite"
    first = await Journal.open(path)
    await first.register(REQUEST)
    written = await first.write(sqlite_open.now)
    set_clock(ahead)
    second = await Journal.open(path)
    await second.register(REQUEST)
    assert 0 <= await second.read(sqlite_open.now) - written < 60
    # A run of elsewhere that gave a sign of life is alive, whatever the time of day is.
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"UPDATE run SET host = 'elsewhere' WHERE id = {first.run_id}")
        other.commit()
    await second.heartbeat()
    assert rows(path, f"SELECT count(*) FROM run WHERE id = {first.run_id}") == [(1,)]
    await first.close()
    await second.close()


async def test_a_lease_from_a_clock_far_ahead_expires(tmp_path: Path) -> None:
    """A lease of more than a minute was written under a wrong clock, and has expired."""
    path = tmp_path / "j.sqlite"
    dead, living = await Journal.open(path), await Journal.open(path)
    await dead.register(REQUEST)
    await living.register(REQUEST)
    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "UPDATE run SET host = 'elsewhere', lease_expires_at = lease_expires_at + 7200"
            " WHERE id = ?",
            (dead.run_id,),
        )
        other.commit()
    assert await living.heartbeat()
    await dead.close()
    await living.close()


async def test_a_reboot_shortens_delays_of_the_earlier_boot(
    tmp_path: Path,
) -> None:
    """The clock may have been set back meanwhile; permanently deferred rows stay deferred."""
    path = tmp_path / "j.sqlite"
    await (await SqliteThread.open(path, SCHEMA)).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE clock SET boot = 'an earlier one', offset = offset + 7200")
        other.execute(f"{FILE[:-1]}), ('b', 'm', '{{}}', 1, 1)")
        other.execute("UPDATE file SET run_at = ? WHERE source = 'a'", (time.time() + 7200,))
        other.execute("UPDATE file SET run_at = ? WHERE source = 'b'", (FAR_FUTURE,))
        other.commit()
    database = await SqliteThread.open(path, SCHEMA)
    taken = await database.run(lambda c: file_queries.lease_files(c, 1, 10))
    assert [file.path for file in taken] == ["a"]
    assert abs(await database.read(sqlite_open.now) - time.time()) < 60
    await database.close()


async def test_a_file_that_is_put_off_is_due_by_the_clock_of_the_journal(
    tmp_path: Path, set_clock: Callable[[float], None]
) -> None:
    """A clock that was set two hours ahead does not defer a requeued file for two hours."""
    journal = await Journal.open(tmp_path / "j.sqlite")
    await journal.register(REQUEST)
    run_id = journal.run_id
    await journal.write(lambda connection: connection.execute(FILE).rowcount)
    (file,) = await journal.write(file_queries.lease_files, run_id, 1)
    set_clock(2 * HOURS)
    await journal.write(requeue_file, run_id, file.id)
    assert await journal.write(file_queries.lease_files, run_id, 1)
    await journal.close()
