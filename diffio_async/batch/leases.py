"""Who works on a journal: runs hold what they work on, until they let go of it or are dead.

A run of this machine is dead when its process is; a run of elsewhere when it has not been heard
of for a while. Were one wrongly taken for dead, its files would be worked on twice, and still be
billed once: the idempotency key sees to that.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._storage.database_clock import now

if TYPE_CHECKING:
    import sqlite3

#: Seconds for which a run is believed to live, since it was last heard of.
LEASE_SECONDS = 60.0
#: Seconds between two signs of life.
HEARTBEAT_SECONDS = 10.0

#: The runs of this process that have not ended.
_local_runs: set[str] = set()


def host_id() -> str:
    """This machine since it was started, and the part of it whose processes we can see."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            link = Path(path)
            parts.append(str(link.readlink()) if link.is_symlink() else link.read_text().strip())
        except OSError:
            pass
    return " ".join(parts)


def process_start(pid: int) -> str:
    """When a process began, so that another one with its number is told apart; "" if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name may hold anything, brackets too; the time is the 20th word after it.
    words = text.rpartition(")")[2].split()
    return "" if words[0] in {"Z", "X"} else words[19]


@frozen
class RunId:
    """A run of this process, as other runs see it."""

    id: int
    token: str


def register_run(connection: sqlite3.Connection) -> RunId:
    """Make a run known."""
    token = secrets.token_hex(8)
    _local_runs.add(token)
    cursor = connection.execute(_SIGN, (None, *_signature(token), now(connection) + LEASE_SECONDS))
    number = cursor.lastrowid
    assert number is not None  # noqa: S101 - a row was just inserted
    return RunId(number, token)


_SIGN = (
    "INSERT OR REPLACE INTO runner (id, token, place, pid, born, until) VALUES (?, ?, ?, ?, ?, ?)"
)


def _signature(token: str) -> tuple[object, ...]:
    pid = os.getpid()
    return token, host_id(), pid, process_start(pid)


def heartbeat(connection: sqlite3.Connection, runner: RunId) -> bool:
    """Give a sign of life, and free what dead runs held; whether there was any.

    A run that was taken for dead is back with this, and finds out what it lost as it goes on.
    """
    connection.execute(
        _SIGN, (runner.id, *_signature(runner.token), now(connection) + LEASE_SECONDS)
    )
    return reclaim_dead_runs(connection, apart_from=runner.id)


def _runs(connection: sqlite3.Connection) -> dict[int, bool]:
    """The runs that the journal knows, and whether each is alive."""
    here, at = host_id(), now(connection)
    rows = connection.execute("SELECT id, token, place, pid, born, until FROM runner").fetchall()
    return {
        number: is_alive(token, where == here, pid, born, at < until <= at + LEASE_SECONDS)
        for number, token, where, pid, born, until in rows
    }


def count_live_runs(connection: sqlite3.Connection, *, apart_from: int | None = None) -> int:
    """Count the runs whose processes are alive; one that was killed leaves its row behind."""
    return sum(alive for number, alive in _runs(connection).items() if number != apart_from)


def reclaim_dead_runs(connection: sqlite3.Connection, *, apart_from: int | None = None) -> bool:
    """Free what dead runs held; whether there was any."""
    known = _runs(connection)
    dead = {number for number, alive in known.items() if number != apart_from and not alive}
    # Who was taken for dead, went on, and died before its next sign of life.
    for table in ("file", "work", "result"):
        held = connection.execute(
            f"SELECT DISTINCT runner FROM {table} WHERE runner IS NOT NULL"  # noqa: S608
        )
        dead |= {number for (number,) in held if number not in known}
    for number in dead:
        release_run(connection, number)
    return bool(dead)


def is_alive(token: str, here: bool, pid: int, born: str, fresh: bool) -> bool:
    """Return whether the process of a run is alive, as far as this machine can tell."""
    if not here or os.name != "posix":
        return fresh
    if pid == os.getpid():
        return token in _local_runs
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    found = process_start(pid)
    return found == born if born else fresh


def release_run(connection: sqlite3.Connection, runner: int) -> None:
    """Let go of all a run held, and forget the run: others may take it up where it stands."""
    token = connection.execute("SELECT token FROM runner WHERE id = ?", (runner,)).fetchone()
    if token is not None:
        _local_runs.discard(token[0])
    # An upload begins with the file again, whose content is looked at anew.
    connection.execute(
        "UPDATE file SET state = 'listed' WHERE state = 'joined' AND work IN"
        " (SELECT id FROM work WHERE runner = ? AND state = 'new')",
        (runner,),
    )
    _count_orphans(connection, runner)
    connection.execute(
        "DELETE FROM result WHERE file IN (SELECT id FROM file WHERE state = 'draft'"
        " AND runner = ?)",
        (runner,),
    )
    connection.execute("DELETE FROM file WHERE state = 'draft' AND runner = ?", (runner,))
    connection.execute("DELETE FROM left_out WHERE runner = ?", (runner,))
    for table in ("file", "work", "result"):
        connection.execute(
            f"UPDATE {table} SET runner = NULL WHERE runner = ?",  # noqa: S608 - our own names
            (runner,),
        )
    connection.execute("DELETE FROM runner WHERE id = ?", (runner,))


def _count_orphans(connection: sqlite3.Connection, runner: int) -> None:
    """Note the projects that were asked for, and whose ids nobody got to know."""
    connection.execute(
        "INSERT INTO orphan (work, reason, at) SELECT id, 'the run ended while it was asked for',"
        " ? FROM work WHERE runner = ? AND state = 'new' AND asked = 1",
        (time.time(), runner),
    )
    connection.execute("UPDATE work SET asked = 0 WHERE runner = ? AND state = 'new'", (runner,))
