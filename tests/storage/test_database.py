"""SQLite databases: durability, sharing, and errors for files that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import DatabaseError
from diffio_async._storage.sqlite_open import Schema, configure, connect, sync_commits
from diffio_async._storage.sqlite_thread import SqliteThread

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = ("CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL)",)
TWO = ("ALTER TABLE note ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'",)
#: `PRAGMA synchronous` of commits that wait for the disk, and of those that do not.
FULL, NORMAL = 2, 1
FIRST = Schema(label="notebook", application_id=0x4E6F7465, migrations=(ONE,))
SECOND = Schema(label="notebook", application_id=0x4E6F7465, migrations=(ONE, TWO))


def add(name: str, text: str = "") -> Callable[[sqlite3.Connection], int]:
    """Return a function that inserts a row."""

    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO note (name, text) VALUES (?, ?)", (name, text))
        return len(name)

    return work


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM note ORDER BY name")]


async def test_run_returns_after_the_commit_and_the_file_is_private(
    tmp_path: Path,
) -> None:
    """Other connections see the row at once, and only the owner can read the file."""
    path = tmp_path / "notes.db"
    database = await SqliteThread.open(path, FIRST)
    assert await database.run(add("one")) == 3
    with sqlite3.connect(path) as other:
        assert names(other) == ["one"]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await database.close()
    await database.close()
    assert [found.name for found in tmp_path.iterdir()] == ["notes.db"]


async def test_waiting_jobs_share_a_commit_and_fail_separately(tmp_path: Path) -> None:
    """Two hundred jobs need few commits, and a failing one is rolled back alone."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    started = threading.Event()
    commits = []

    def slow(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(
            lambda statement: commits.append(statement) if "COMMIT" in statement else None
        )
        started.wait(60)

    first = asyncio.ensure_future(database.run(slow))
    rest = [asyncio.ensure_future(database.run(add(f"{n:03}"))) for n in range(200)]
    wrong = asyncio.ensure_future(database.run(add("007")))
    await asyncio.sleep(0)
    started.set()
    await first
    assert await asyncio.gather(*rest) == [3] * 200
    with pytest.raises(sqlite3.IntegrityError):
        await wrong
    assert len(await database.read(names)) == 200
    assert len(commits) <= 4
    await database.close()


@pytest.mark.slow
async def test_jobs_of_a_batch_window_share_a_commit(tmp_path: Path) -> None:
    """A job waits for the others of the window, and for none where there is no window."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    commits = list[str]()

    def trace_commits(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(
            lambda statement: commits.append(statement) if "COMMIT" in statement else None
        )

    async def add_after(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        await database.run(add(name))

    await database.read(trace_commits)
    commits.clear()
    for name in "12":
        await database.run(add(name))
    assert len(commits) == 2
    database.batch_window = 1.0
    await asyncio.gather(add_after(0, "3"), add_after(0.05, "4"))
    assert len(commits) == 3
    assert await database.read(names) == ["1", "2", "3", "4"]
    await database.close()


async def test_a_commit_without_sync_is_synced_by_the_next_one_with_it(tmp_path: Path) -> None:
    """Jobs that share a commit share the sync that one of them needs."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    modes = list[int]()

    def mode(connection: sqlite3.Connection) -> None:
        modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    for sync in (False, True, False):
        await database.run(mode, sync=sync)
    await asyncio.gather(database.run(mode, sync=False), database.run(mode))
    assert modes == [NORMAL, FULL, NORMAL, FULL, FULL]
    await database.close()


@pytest.mark.parametrize("before", range(254, 258))
async def test_closing_completes_waiting_jobs(tmp_path: Path, before: int) -> None:
    """Jobs run in batches, and closing may be part of one or come after it."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    database.batch_window = 0.02
    seen = [asyncio.ensure_future(database.read(names)) for _ in range(before)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*seen) == [[]] * before
    assert [found.name for found in tmp_path.iterdir()] == ["notes.db"]


async def test_the_job_of_a_cancelled_caller_is_completed(tmp_path: Path) -> None:
    """Cancelling returns at once, and the job is still committed."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    started, held = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        started.set()
        held.wait(60)

    holding = asyncio.ensure_future(database.run(hold))
    while not started.is_set():
        await asyncio.sleep(0.001)
    with anyio.move_on_after(0.05) as scope:
        await database.run(add("late"))
    assert scope.cancelled_caught
    held.set()
    await holding
    assert await database.read(names) == ["late"]
    await database.close()


async def test_an_older_file_is_migrated_and_a_newer_one_refused(tmp_path: Path) -> None:
    """Rows survive a migration; a file of an unknown format is not changed."""
    path = tmp_path / "notes.db"
    old = await SqliteThread.open(path, FIRST)
    await old.run(add("kept"))
    await old.close()
    new = await SqliteThread.open(path, SECOND)
    found = await new.read(lambda c: c.execute("SELECT name, colour FROM note").fetchall())
    assert found == [("kept", "none")]
    await new.close()
    with pytest.raises(DatabaseError, match=r"notebook.*newer version.*update diffio-async"):
        await SqliteThread.open(path, FIRST)


async def test_a_file_of_another_program_is_refused_and_unchanged(tmp_path: Path) -> None:
    """A database of another program is not written to, with or without an application id."""
    for mark in (0, 77):
        path = tmp_path / f"{mark}.db"
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (x)")
            other.execute(f"PRAGMA application_id = {mark}")
        other.close()
        before = path.read_bytes()
        with pytest.raises(DatabaseError, match="another program's"):
            await SqliteThread.open(path, FIRST)
        assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "cut", "scribbled"])
async def test_a_damaged_file_is_explained(tmp_path: Path, damage: str) -> None:
    """An error is raised on opening if the file is not a database, or is truncated."""
    path = tmp_path / "notes.db"
    database = await SqliteThread.open(path, FIRST)
    for number in range(50):
        await database.run(add(f"{number}", "x" * 500))
    await database.close()
    intact = path.read_bytes()
    path.write_bytes(
        {
            "text": b"dear diary, " * 1000,
            "cut": intact[: len(intact) // 2],
            "scribbled": intact[:8192] + os.urandom(8192) + intact[16384:],
        }[damage]
    )
    with pytest.raises(DatabaseError, match="damaged"):
        await SqliteThread.open(path, FIRST)


async def test_an_unwritable_path_is_explained(tmp_path: Path) -> None:
    """The error names a missing folder, a folder, or a missing file that must not be created."""
    for path, words in (
        (tmp_path / "none" / "notes.db", "no folder"),
        (tmp_path, "directory"),
        ("notes\0.db", "name of a file"),
    ):
        with pytest.raises(DatabaseError, match=words):
            await SqliteThread.open(path, FIRST)
    with pytest.raises(DatabaseError, match="no such file"):
        await SqliteThread.open(tmp_path / "notes.db", FIRST, create=False)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
async def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    """A named pipe is an example: SQLite itself only reports a disk error."""
    os.mkfifo(tmp_path / "notes.db")
    with pytest.raises(DatabaseError, match="it is not a regular file"):
        await SqliteThread.open(tmp_path / "notes.db", FIRST)


async def test_a_full_disk_fails_waiting_jobs_and_keeps_earlier_ones(tmp_path: Path) -> None:
    """The commit is rolled back, and the file remains usable."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    await database.run(add("before"))
    pages = await database.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await database.read(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(DatabaseError, match="disk is full"):
        await database.run(add("large", "x" * 100_000))
    await database.read(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    await database.run(add("after"))
    assert await database.read(names) == ["after", "before"]
    await database.close()


async def test_a_closed_database_raises(tmp_path: Path) -> None:
    """Work submitted after closing is refused, and does not wait."""
    database = await SqliteThread.open(tmp_path / "notes.db", FIRST)
    last = asyncio.ensure_future(database.run(add("last")))
    await asyncio.sleep(0)
    await database.close()
    assert await last == 4
    with pytest.raises(DatabaseError, match="closed"):
        await database.run(add("more"))


def test_a_file_that_others_are_creating_is_not_rejected_as_foreign(
    tmp_path: Path,
) -> None:
    """Four threads open each of twelve new files at once, and all succeed."""
    together = threading.Barrier(4, timeout=30)

    def opened(number: int) -> int:
        together.wait()
        connection = connect(str(tmp_path / f"{number}.db"), FIRST, create=True)
        found: int = connection.execute("PRAGMA application_id").fetchone()[0]
        connection.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        numbers = [number for number in range(12) for _ in range(4)]
        assert set(pool.map(opened, numbers)) == {FIRST.application_id}


def test_one_database_serves_several_loops(tmp_path: Path) -> None:
    """A database that was opened on one loop works on another."""
    database = asyncio.run(SqliteThread.open(tmp_path / "notes.db", FIRST))
    asyncio.run(_run(database, "one"))
    asyncio.run(_run(database, "two"))

    async def end() -> list[str]:
        found = await database.read(names)
        await database.close()
        return found

    assert asyncio.run(end()) == ["one", "two"]


async def _run(database: SqliteThread, name: str) -> None:
    await database.run(add(name))


@pytest.mark.skipif(sys.platform == "win32", reason="a VFS of POSIX systems")
def test_without_wal_each_commit_is_synced(tmp_path: Path) -> None:
    """A disk without shared memory has no WAL: a new file there has a rollback journal."""
    uri = f"{(tmp_path / 'notes.db').as_uri()}?vfs=unix-dotfile"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        configure(connection, is_empty=True)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        for sync in (True, False):
            sync_commits(connection, sync=sync)
            assert connection.execute("PRAGMA synchronous").fetchone() == (FULL,)


@pytest.mark.slow
def test_a_file_that_is_opened_twice_is_not_considered_unused_by_others(tmp_path: Path) -> None:
    """The writes of a process after another one closed the file are not lost in a removed log."""
    path = tmp_path / "notes.db"
    first = connect(str(path), FIRST, create=True)
    add("one")(first)
    second = connect(str(path), FIRST, create=False)
    with writer(path, "w", 1) as passing:  # the last connection removes the log
        passing.communicate()
    add("two")(first)
    with sqlite3.connect(path) as other:
        assert names(other) == ["one", "two", "w0000"]
    for connection in (first, second, other):
        connection.close()


WRITER = """
import asyncio, sys
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async._storage.sqlite_open import Schema
from tests.storage.test_database import FIRST, add

async def main():
    database = await SqliteThread.open(sys.argv[1], FIRST)
    for number in range(int(sys.argv[3])):
        await database.run(add(f"{sys.argv[2]}{number:04}"))
        print(number, flush=True)
    await database.close()

asyncio.run(main())
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start a process that inserts `count` rows, and prints each one after its commit."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.slow
async def test_processes_share_a_file_and_a_kill_loses_no_commit(tmp_path: Path) -> None:
    """Three processes open a new file at once; the commits that a killed one reported exist."""
    path = tmp_path / "notes.db"
    with writer(path, "a", 60) as a, writer(path, "b", 60) as b, writer(path, "k", 5000) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if int(line) >= 40:
                break
        killed.send_signal(signal.SIGKILL)
        output = 40 + len(killed.stdout.read().split())
        a.communicate()
        b.communicate()
    database = await SqliteThread.open(path, FIRST, create=False)
    found = await database.read(names)
    await database.close()
    assert [sum(name[0] == which for name in found) for which in "ab"] == [60, 60]
    assert sum(name[0] == "k" for name in found) >= output


@pytest.mark.slow
async def test_an_interruption_does_not_wait_for_a_locked_file(tmp_path: Path) -> None:
    """Another process may hold the lock for half a minute; the file is closed once opened."""
    path = tmp_path / "notes.db"
    await (await SqliteThread.open(path, FIRST)).close()
    loop = asyncio.get_running_loop()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await SqliteThread.open(path, FIRST)
        assert loop.time() - started < 15
        other.execute("ROLLBACK")
    with anyio.fail_after(60):
        while any(each.name == "diffio-database" for each in threading.enumerate()):
            await anyio.sleep(0.01)
