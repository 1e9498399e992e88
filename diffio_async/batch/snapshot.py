"""Copies of a journal, to be read or changed without an effect on a running batch."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._storage.files import check_private
from diffio_async._storage.system_errors import reason_of
from diffio_async.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder for the copy.

    Raises:
        DatabaseError: No folder can be created.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="diffio-batch-")
    except OSError as failure:
        raise DatabaseError(
            f"the journal cannot be copied: {reason_of(failure)}. Set TMPDIR to another folder"
        ) from failure
    with made as folder:
        yield Path(folder)


def copy_journal(source: Path, target: Path) -> None:
    """Copy a journal, also while a batch writes to it; nothing happens if it is missing.

    Raises:
        DatabaseError: The journal cannot be read.
    """
    try:
        check_private(source)
        uri = f"{source.absolute().as_uri()}?mode=ro"
        # A file that is not a journal is reported when the copy is opened.
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(uri, uri=True)) as original,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy)
            return
        target.write_bytes(source.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as failure:
        raise DatabaseError(
            f"the batch journal {str(source)!r} cannot be used: {reason_of(failure)}"
        ) from failure
