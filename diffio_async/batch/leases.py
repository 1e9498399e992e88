"""Leases of runs: a run leases rows until it releases them or is found dead.

A run on this machine is dead when its process is; a run on another machine when its lease has
expired. If a live run is wrongly considered dead, its files are processed twice but billed once,
because the idempotency keys are the same.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async import _system
from diffio_async._storage.sqlite_open import now

if TYPE_CHECKING:
    import sqlite3

#: Seconds after the last heartbeat at which a lease expires.
LEASE_SECONDS = 60.0
#: Seconds between heartbeats.
HEARTBEAT_SECONDS = 10.0

#: Tokens of the runs of this process that have not ended.
_local_runs: set[str] = set()


def host_id() -> str:
    """Identify the boot of this machine and the PID namespace."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            link = Path(path)
            parts.append(
                str(link.readlink()) if link.is_symlink() else link.read_text("ascii").strip()
            )
        except OSError:
            pass
    return " ".join(parts)


def process_start(pid: int) -> str:
    """Return the start time of a process, which detects a reused PID; "" if unknown or dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name may contain anything, brackets too; the time is the 20th field after it.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]


@frozen
class RegisteredRun:
    """A run of this process, as other runs see it."""

    id: int
    token: str


def register_run(connection: sqlite3.Connection) -> RegisteredRun:
    """Register a new run of this process."""
    token = secrets.token_hex(8)
    _local_runs.add(token)
    cursor = connection.execute(_UPSERT_RUN, (None, *_signature(connection, token)))
    number = cursor.lastrowid
    assert number is not None  # noqa: S101 - a row was just inserted
    return RegisteredRun(number, token)


_UPSERT_RUN = (
    "INSERT OR REPLACE INTO run (id, token, host, pid, process_start, lease_expires_at)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


def _signature(connection: sqlite3.Connection, token: str) -> tuple[object, ...]:
    """Return the values of `_UPSERT_RUN` after the id: this process and a new lease."""
    pid = os.getpid()
    return token, host_id(), pid, process_start(pid), now(connection) + LEASE_SECONDS


def heartbeat(connection: sqlite3.Connection, run: RegisteredRun) -> bool:
    """Renew the lease of a run, and reclaim dead runs; return whether there were any.

    A run that was wrongly reclaimed is registered again, and gets `LeaseLost` for its rows.
    """
    connection.execute(_UPSERT_RUN, (run.id, *_signature(connection, run.token)))
    return reclaim_dead_runs(connection, except_for=run.id)


def _runs(connection: sqlite3.Connection) -> dict[int, bool]:
    """Return the ids of the recorded runs, and whether each is alive."""
    here, at = host_id(), now(connection)
    rows = connection.execute(
        "SELECT id, token, host, pid, process_start, lease_expires_at FROM run"
    ).fetchall()
    return {
        run_id: is_alive(
            token, host == here, pid, started_at, at < expires_at <= at + LEASE_SECONDS
        )
        for run_id, token, host, pid, started_at, expires_at in rows
    }


def count_live_runs(connection: sqlite3.Connection, *, except_for: int | None = None) -> int:
    """Return the number of runs that are alive; a killed run leaves its row behind."""
    return sum(alive for run_id, alive in _runs(connection).items() if run_id != except_for)


def reclaim_dead_runs(connection: sqlite3.Connection, *, except_for: int | None = None) -> bool:
    """Release the leases of dead runs; return whether there were any."""
    known = _runs(connection)
    dead = {run_id for run_id, alive in known.items() if run_id != except_for and not alive}
    # Reclaimed runs that leased more rows, and died before their next heartbeat.
    for table in ("file", "job", "result"):
        leased_by = connection.execute(
            f"SELECT DISTINCT run_id FROM {table} WHERE run_id IS NOT NULL"  # noqa: S608
        )
        dead |= {number for (number,) in leased_by if number not in known}
    for number in dead:
        release_run(connection, number)
    return bool(dead)


def is_alive(token: str, here: bool, pid: int, started_at: str, lease_valid: bool) -> bool:
    """Return whether the process of a run is alive, as far as this machine knows."""
    if not here:
        return lease_valid
    if pid == os.getpid():
        return token in _local_runs
    exists = _system.process_exists(pid)
    if exists is None:
        return lease_valid
    if not exists:
        return False
    found = process_start(pid)
    return found == started_at if started_at else lease_valid


def release_run(connection: sqlite3.Connection, run_id: int) -> None:
    """Release all leases of a run, and delete the run; other runs can resume its work."""
    token = connection.execute("SELECT token FROM run WHERE id = ?", (run_id,)).fetchone()
    if token is not None:
        _local_runs.discard(token[0])
    # An interrupted upload restarts with its file, whose digest is computed again.
    connection.execute(
        "UPDATE file SET state = 'listed' WHERE state = 'joined' AND job_id IN"
        " (SELECT id FROM job WHERE run_id = ? AND state = 'new')",
        (run_id,),
    )
    _record_possible_orphans(connection, run_id)
    connection.execute(
        "DELETE FROM result WHERE file_id IN (SELECT id FROM file WHERE state = 'draft'"
        " AND run_id = ?)",
        (run_id,),
    )
    connection.execute("DELETE FROM file WHERE state = 'draft' AND run_id = ?", (run_id,))
    connection.execute("DELETE FROM left_out WHERE run_id = ?", (run_id,))
    for table in ("file", "job", "result"):
        connection.execute(
            f"UPDATE {table} SET run_id = NULL WHERE run_id = ?",  # noqa: S608 - our own names
            (run_id,),
        )
    connection.execute("DELETE FROM run WHERE id = ?", (run_id,))


def _record_possible_orphans(connection: sqlite3.Connection, run_id: int) -> None:
    """Record the projects whose creation was requested and not confirmed."""
    connection.execute(
        "INSERT INTO orphan (job_id, reason, at)"
        " SELECT id, 'the run ended before the response with its id', ? FROM job"
        " WHERE run_id = ? AND state = 'new' AND create_pending = 1",
        (time.time(), run_id),
    )
    connection.execute(
        "UPDATE job SET create_pending = 0 WHERE run_id = ? AND state = 'new'", (run_id,)
    )
