"""Relocation of a journal that was moved with its folder: its paths are rewritten."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async.batch.records import decode_path, encode_path

if TYPE_CHECKING:
    import sqlite3


@frozen
class Relocation:
    """The folder of a journal when its paths were written, and the folder it is in now."""

    old: str
    new: str

    def apply(self, connection: sqlite3.Connection) -> None:
        """Rewrite every path below the old folder."""
        connection.create_function("relocated", 1, self._relocated)
        connection.execute(
            "UPDATE batch SET value = relocated(value) WHERE name IN ('to', 'folder')"
        )
        for table, columns in (
            ("file", ("source",)),
            ("result", ("path", "path_key")),
            ("left_out", ("path",)),
        ):
            change = ", ".join(f"{column} = relocated({column})" for column in columns)
            connection.execute(f"UPDATE {table} SET {change}")  # noqa: S608 - our own names

    def _relocated(self, value: str | bytes) -> str | bytes:
        path = decode_path(value)
        for old, new in ((self.old, self.new), (_folded(self.old), _folded(self.new))):
            if path == old or path.startswith(os.path.join(old, "")):  # noqa: PTH118 - as text
                return encode_path(new + path[len(old) :])
        return value


def _folded(path: str) -> str:
    """Return the case-insensitive spelling of a key, as `Naming.path_key` does."""
    return unicodedata.normalize("NFC", path).casefold()


def relocation(connection: sqlite3.Connection, journal: Path) -> Relocation | None:
    """Return how the paths change, None where the journal is in the folder it was in.

    Only a journal whose results go to its own folder, or below it, records that folder.
    """
    row = connection.execute("SELECT value FROM batch WHERE name = 'folder'").fetchone()
    old, new = decode_path(row[0]) if row is not None else "", str(journal.parent)
    if old in {"", new}:
        return None
    try:
        # The same folder under another name: nothing was moved.
        if Path(old, journal.name).samefile(journal):
            return None
    except (OSError, ValueError):
        pass
    return Relocation(old, new)


def relocate(connection: sqlite3.Connection, journal: Path) -> None:
    """Rewrite the paths of a journal that was moved."""
    found = relocation(connection, journal)
    if found is not None:
        found.apply(connection)
