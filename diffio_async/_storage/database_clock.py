"""The time by which the processes that share a database compare: it never jumps.

Leases, retries and retention are kept in the file and read by other processes. The wall clock may
be set forward or back between the two, so these are counted by the monotonic clock, which all
processes of a running machine share. The difference between that and the time of day is fixed once
for each boot of the machine, by the first process that opens the file, and kept in the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

#: Seconds since the epoch, at least nearly.
Clock = Callable[[], float]

#: Seconds by which the wall clock may have been corrected since the same boot, where the system has
#: no name for a boot.
_SAME_BOOT_SECONDS = 300.0
_TABLE = "CREATE TABLE IF NOT EXISTS clock (boot TEXT NOT NULL, offset REAL NOT NULL)"
#: Seconds; a smaller difference from the time of day is not shown.
_SHOWN_DRIFT_SECONDS = 2.0


def install(connection: sqlite3.Connection, clock: Clock | None) -> bool:
    """Give the connection the SQL functions `steady_now()` and `clock_drift()`.

    The second is what is added to a time of the first where people read it: the wall clock may
    have been set since. To be called in a transaction. Return whether the machine was restarted
    since the file was last opened.

    Args:
        connection: The database.
        clock: A clock to use in place of this one, for tests.
    """
    if clock is not None:
        connection.create_function("steady_now", 0, clock)
        connection.create_function("clock_drift", 0, lambda: 0.0)
        return False
    offset, restarted = _offset(connection)

    def steady() -> float:
        return time.monotonic() + offset

    connection.create_function("steady_now", 0, steady)
    connection.create_function("clock_drift", 0, lambda: _drift(steady))
    return restarted


def now(connection: sqlite3.Connection) -> float:
    """Return the time by which leases and retries are kept."""
    seconds: float = connection.execute("SELECT steady_now()").fetchone()[0]
    return seconds


def _drift(steady: Clock) -> float:
    """Return what is added to a time of `now` to show it to people, in whole seconds."""
    drift = time.time() - steady()
    # Two clocks are never equal: the same stamp is shown as the same time each time it is read.
    return 0.0 if abs(drift) < _SHOWN_DRIFT_SECONDS else float(round(drift))


def _offset(connection: sqlite3.Connection) -> tuple[float, bool]:
    """Return what is added to the monotonic clock, and whether it is new after an earlier boot."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS clock (boot TEXT NOT NULL, offset REAL NOT NULL)"
    )
    kept = connection.execute("SELECT boot, offset FROM clock").fetchone()
    boot, offset = _boot(), time.time() - time.monotonic()
    if kept is not None and _same_boot(boot, offset, *kept):
        return kept[1], False
    connection.execute("DELETE FROM clock")
    connection.execute("INSERT INTO clock (boot, offset) VALUES (?, ?)", (boot, offset))
    return offset, kept is not None


def _same_boot(boot: str, offset: float, kept_boot: str, kept_offset: float) -> bool:
    if boot or kept_boot:
        return boot == kept_boot
    return abs(offset - kept_offset) < _SAME_BOOT_SECONDS


def _boot() -> str:
    """Return the name of this boot of the machine; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
