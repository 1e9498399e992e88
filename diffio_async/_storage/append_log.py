"""Append-only log of JSON lines in a private file that one process at a time uses."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from attrs import define, field

from diffio_async import _system
from diffio_async._storage.files import open_private, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Bytes; larger than the log of any realistic number of uploads, or of a download of terabytes.
_MAX_SIZE = 2**28


class AlreadyInUse(OSError):
    """The file is locked by another process, or by another call of this process."""


class ForeignLog(ValueError):
    """The file is not a log of the expected type."""


class DamagedLog(ValueError):
    """A complete line of the log is not valid."""

    def __init__(self, line: int) -> None:
        super().__init__(f"is damaged in line {line}")


def encode_entries(*entries: object) -> bytes:
    """Return the lines of entries, which JSON can represent."""
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def decode_entries(content: bytes, prefix: bytes) -> Iterator[Any]:
    """Yield the entries of all complete lines.

    Args:
        content: Content of the log, or its beginning.
        prefix: First bytes of every log of this type.

    Raises:
        ForeignLog: The content does not start with `prefix`.
        DamagedLog: A line is not valid JSON.
    """
    if not content.startswith(prefix[: len(content)]):
        raise ForeignLog
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            raise DamagedLog(number) from None


@define(eq=False)
class AppendLog:
    """Log with an exclusive lock, which the system releases when the process ends.

    Methods block, and must be called by one thread at a time.
    """

    path: Path
    _descriptor: int = field(default=-1, init=False)

    @property
    def exists(self) -> bool:
        """Whether a file of this name exists."""
        return os.path.lexists(self.path)

    @property
    def is_open(self) -> bool:
        """Whether the log is open and locked."""
        return self._descriptor >= 0

    @property
    def is_empty(self) -> bool:
        """Whether the log, which is open, has no content."""
        return os.fstat(self._descriptor).st_size == 0

    def open(self) -> None:
        """Open and lock the log, creating it if missing.

        Raises:
            OSError: The file cannot be opened or locked; `AlreadyInUse` if another process has it,
                `UnexpectedFile` if it is not a private file of this user.
        """
        while True:
            descriptor = open_private(self.path)
            try:
                if not try_lock(descriptor):
                    raise AlreadyInUse
                # The previous owner may have removed the file after it was opened here.
                if self._is_current(descriptor):
                    self._descriptor = descriptor
                    return
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def read(self, prefix: bytes) -> Iterator[Any]:
        """Yield the entries as `decode_entries` does, then remove an incomplete last line.

        Such a line was left by a process that was killed while it wrote.
        """
        content = self._read_start(len(prefix))
        if content == prefix:  # else it may be a large foreign file, which is not read
            content = self._read_start(_MAX_SIZE)
        yield from decode_entries(content, prefix)
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            os.ftruncate(self._descriptor, complete)

    def _read_start(self, max_bytes: int) -> bytes:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)

    def append(self, *entries: object, sync: bool) -> None:
        """Append all entries or nothing: half a line would corrupt the next one.

        Args:
            entries: Objects that JSON can represent.
            sync: Whether to flush the log to the disk, and its name if it was empty.

        Raises:
            OSError: The disk is full or was removed.
        """
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        view = memoryview(encode_entries(*entries))
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise
        if sync:
            _system.sync_file(self._descriptor)
            if end == 0:
                _system.sync_folder(self.path.parent)

    def clear(self) -> None:
        """Remove all entries."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Close the log and release its lock."""
        if self.is_open:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def remove(self) -> None:
        """Remove and close the file; ignore an error of the removal."""
        if not _system.MOVES_OPEN_FILES:
            self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()
