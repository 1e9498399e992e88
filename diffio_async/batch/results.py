"""Tell the results of batches from recordings, in folders that hold both."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._storage.system_errors import shortage_of
from diffio_async.batch.journal import DEFAULT_JOURNAL, identity_of
from diffio_async.batch.naming import DEFAULT_NAME, Naming, looks_usual
from diffio_async.batch.records import encode_path
from diffio_async.batch.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Folders whose names are remembered.
_MOST_FOLDERS = 4
#: The database, its log, and the index of the log.
_FILES_OF_A_JOURNAL = 3


@define(eq=False)
class Results:
    """What results look like: those of the usual template, and of the batch's own.

    A name of the usual template is a result's. One of another template is if a recording is there
    that the template would make it of: such names are not as telling.
    """

    naming: Naming
    suffixes: frozenset[str]
    _made: dict[str, set[str]] = field(factory=dict)

    def is_result(self, path: str) -> bool:
        """Whether a file in a folder looks like a result; reads the disk."""
        path = os.path.abspath(path)  # noqa: PTH100 - links are kept
        if looks_usual(PurePath(path).name):
            return True
        folder, *tail = path.rsplit(os.sep, self.naming.depth)
        if not self.naming.telling or len(tail) < self.naming.depth:
            return False
        return path[len(folder) + 1 :] in self._made_in(folder or os.sep)

    def _made_in(self, folder: str) -> set[str]:
        """What the recordings in a folder would become."""
        made = self._made.get(folder)
        if made is None:
            made = set()
            for name in _names(folder):
                if os.path.splitext(name)[1].lower() in self.suffixes:  # noqa: PTH122
                    made.update(self.naming.made_of(name, PurePath(folder).name))
            if len(self._made) >= _MOST_FOLDERS:
                self._made.clear()
            self._made[folder] = made
        return made


def _names(folder: str) -> list[str]:
    """The names in a folder, none where it cannot be read.

    Raises:
        OSError: The process is short of something.
    """
    try:
        return os.listdir(folder)  # noqa: PTH208 - ten thousand of them
    except OSError as failure:
        if shortage_of(failure) is not None:
            raise
        return []


class EarlierBatch:
    """The results of the batch whose journal lies in a folder, asked for one by one.

    What is no readable journal of this user has none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection, self._to = _opened(folder / DEFAULT_JOURNAL)

    def has(self, path: str) -> bool:
        """Whether the batch wrote this file, wherever its folder was then."""
        if self._connection is None or not PurePath(path).is_relative_to(self._folder):
            return False
        then = Path(self._to, PurePath(path).relative_to(self._folder))
        naming = Naming(DEFAULT_NAME, self._folder)
        try:
            return is_known_result(self._connection, naming, str(then))
        except sqlite3.Error as failure:
            _check_descriptors(failure)
            return False

    def close(self) -> None:
        """Close the journal."""
        if self._connection is not None:
            self._connection.close()


def is_known_result(connection: sqlite3.Connection, naming: Naming, path: str) -> bool:
    """Whether a file was written by the journal's batch."""
    place = naming.path_key(Path(path), "audio")
    rows = connection.execute(
        "SELECT path FROM result WHERE begun AND place IN (?, ?)",
        (encode_path(place), encode_path(naming.path_key(Path(path), "video"))),
    ).fetchall()
    return any(naming.path_key(Path(os.fsdecode(found)), "audio") == place for (found,) in rows)


def _opened(path: Path) -> tuple[sqlite3.Connection | None, str]:
    try:
        status = path.lstat()
        mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        if not (mine and stat.S_ISREG(status.st_mode)):
            return None, ""
        # One thread at a time reads it, not always the same.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
    except sqlite3.Error as failure:
        _check_descriptors(failure)
        return None, ""
    except OSError as failure:
        if shortage_of(failure) is not None:
            raise
        return None, ""
    try:
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == SCHEMA.application_id
        terms = identity_of(connection) if ours else None
        if terms is not None:
            return connection, terms.to
    except sqlite3.Error as failure:
        connection.close()
        _check_descriptors(failure)
    connection.close()
    return None, ""


def _check_descriptors(failure: sqlite3.Error) -> None:
    """Find out whether SQLite could not open a file because no descriptor is free.

    Raises:
        OSError: That is so. SQLite does not tell it from a journal that cannot be used.
    """
    if failure.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN:
        with contextlib.ExitStack() as stack:
            for _ in range(_FILES_OF_A_JOURNAL):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


@contextlib.contextmanager
def earlier_batch(folder: Path) -> Iterator[EarlierBatch]:
    """The batch of a folder, open during the body."""
    batch = EarlierBatch(folder)
    try:
        yield batch
    finally:
        batch.close()
