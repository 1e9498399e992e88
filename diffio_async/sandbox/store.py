"""The folder that outlives the process: one SQLite file of JSON rows."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffio_async.sandbox.ownership import check_owned
from diffio_async.sandbox.settings import SandboxError

_FILE = "sandbox.sqlite3"


class Store:
    """Rows of JSON by kind and id.

    Write-ahead logging without an fsync per row: a killed process loses nothing, a power cut may
    lose the last moments. A row costs tens of microseconds, so it is written on the loop.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / _FILE
        check_owned(folder, (_FILE, *(f"{_FILE}-{ending}" for ending in ("wal", "shm", "journal"))))
        # Webhook secrets must be kept readable, so nobody else may read them.
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(file, flags, 0o600)
        try:
            if os.name == "posix":
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        self._rows = sqlite3.connect(file, timeout=0, isolation_level=None)
        try:
            # An exclusive lock is what keeps two sandboxes out of one folder.
            self._rows.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute("PRAGMA synchronous=NORMAL")
            self._rows.execute(
                "CREATE TABLE IF NOT EXISTS records (kind TEXT, id TEXT, body TEXT,"
                " PRIMARY KEY (kind, id)) WITHOUT ROWID"
            )
            self._rows.execute("BEGIN IMMEDIATE")
            self._rows.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._rows.close()
            raise SandboxError(f"another sandbox is using {folder} ({error})") from error
        except sqlite3.DatabaseError as error:
            self._rows.close()
            raise SandboxError(f"{file} is not a sandbox's data ({error})") from error

    def put(self, kind: str, key: str, body: dict[str, Any]) -> None:
        """Write or replace one row."""
        self._rows.execute("REPLACE INTO records VALUES (?, ?, ?)", (kind, key, json.dumps(body)))

    def drop(self, kind: str, key: str) -> None:
        """Forget one row, if it is there."""
        self._rows.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, key))

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Read the rows of a kind."""
        for (body,) in self._rows.execute("SELECT body FROM records WHERE kind = ?", (kind,)):
            yield json.loads(body)

    def close(self) -> None:
        """Release the folder."""
        self._rows.close()
