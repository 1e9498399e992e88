"""Persistent store of a sandbox: a SQLite file of JSON rows, in a folder that must be private."""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffio_async.sandbox.settings import SandboxError

_FILE = "sandbox.sqlite3"


class Store:
    """JSON rows by kind and id.

    Write-ahead logging without an fsync per row: a killed process loses nothing, a power failure
    may lose the last rows. A row takes tens of microseconds, so it is written on the event loop.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / _FILE
        check_owned(folder, (_FILE, *(f"{_FILE}-{suffix}" for suffix in ("wal", "shm", "journal"))))
        # Webhook secrets are stored in plain text, so the file must be private.
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(file, flags, 0o600)
        try:
            if os.name == "posix":
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        self._rows = sqlite3.connect(file, timeout=0, isolation_level=None)
        try:
            # The exclusive lock prevents two sandboxes in one folder.
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
        """Delete one row, if it exists."""
        self._rows.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, key))

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a kind."""
        for (body,) in self._rows.execute("SELECT body FROM records WHERE kind = ?", (kind,)):
            yield json.loads(body)

    def close(self) -> None:
        """Close the file and release its lock."""
        self._rows.close()


_OTHERS_WRITE = 0o022


def check_owned(folder: Path, names: tuple[str, ...]) -> None:
    """Check that no other user can have created or changed the files of a data folder.

    The folder contains keys and recordings of other people.

    Args:
        folder: The data folder, which exists.
        names: Names of its files; missing files are skipped.

    Raises:
        SandboxError: The folder or a file belongs to another user, is a link, or is writable by
            others.
        OSError: The folder or a file cannot be read.
    """
    if os.name != "posix":
        return
    _check(folder, folder.stat(), is_folder=True)
    for name in names:
        file = folder / name
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        _check(file, status, is_folder=False)


def _check(path: Path, status: os.stat_result, *, is_folder: bool) -> None:
    if not is_folder and (not stat.S_ISREG(status.st_mode) or status.st_nlink > 1):
        raise SandboxError(f"{path} is not a regular file, or has a second name: remove it")
    # Root can change everything anyway. A folder may be shared, like /tmp.
    if status.st_uid not in {os.geteuid(), 0}:
        raise SandboxError(
            f"{path} belongs to another user ({status.st_uid}), who may have changed it: "
            "choose another folder"
        )
    if not is_folder and status.st_mode & _OTHERS_WRITE:
        raise SandboxError(
            f"others may write to {path} (mode {stat.S_IMODE(status.st_mode):o}): make it private "
            "with chmod 600, or choose another folder"
        )
