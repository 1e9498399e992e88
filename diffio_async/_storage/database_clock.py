"""Clock shared by all processes that open a database; it never jumps.

Times of leases, retries and retention are stored in the file and read by other processes. The wall
clock may be changed in between, so these times use the monotonic clock, which all processes of a
running machine share. Its offset to the wall clock is stored in the file by the first process that
opens the file after each boot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

#: Returns approximate seconds since the epoch.
Clock = Callable[[], float]

#: Seconds by which the wall clock may be corrected during one boot, on systems without a boot id.
_SAME_BOOT_SECONDS = 300.0
_TABLE = "CREATE TABLE IF NOT EXISTS clock (boot TEXT NOT NULL, offset REAL NOT NULL)"
#: Seconds; a smaller drift from the wall clock is treated as 0.
_MIN_DRIFT_SECONDS = 2.0


def install(connection: sqlite3.Connection, clock: Clock | None) -> bool:
    """Register the SQL functions `steady_now()` and `clock_drift()`; call it in a transaction.

    `clock_drift()` is added to a time of `steady_now()` for display, since the wall clock may have
    been changed. Return whether the machine was restarted since the file was last opened.

    Args:
        connection: Connection to the database.
        clock: Clock to use instead, for tests.
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
    """Return the time used for leases and retries."""
    seconds: float = connection.execute("SELECT steady_now()").fetchone()[0]
    return seconds


def _drift(steady: Clock) -> float:
    """Return the whole seconds to add to a time of `now` for display."""
    drift = time.time() - steady()
    # Two clocks always differ slightly; rounding displays a timestamp the same each time.
    return 0.0 if abs(drift) < _MIN_DRIFT_SECONDS else float(round(drift))


def _offset(connection: sqlite3.Connection) -> tuple[float, bool]:
    """Return the offset of the monotonic clock, and whether the machine was restarted."""
    connection.execute(_TABLE)
    stored = connection.execute("SELECT boot, offset FROM clock").fetchone()
    boot, offset = _boot(), time.time() - time.monotonic()
    if stored is not None and _same_boot(boot, offset, *stored):
        return stored[1], False
    connection.execute("DELETE FROM clock")
    connection.execute("INSERT INTO clock (boot, offset) VALUES (?, ?)", (boot, offset))
    return offset, stored is not None


def _same_boot(boot: str, offset: float, stored_boot: str, stored_offset: float) -> bool:
    if boot or stored_boot:
        return boot == stored_boot
    return abs(offset - stored_offset) < _SAME_BOOT_SECONDS


def _boot() -> str:
    """Return the id of this boot of the machine, or "" if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
