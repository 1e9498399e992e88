"""The small file behind `resume=path`: locked while it is open, on the disk at each step.

It goes when nothing in it can be gone on with.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._wire.resume_lines import (
    BEGINNING,
    FIRST_LINE,
    Unreadable,
    forgotten,
    line_of,
    read,
)
from diffio_async.errors import ResumeUnusable

if TYPE_CHECKING:
    from datetime import datetime

    from diffio_async.models.resuming import UploadRecord

if sys.platform != "win32":
    import fcntl


@define
class ResumeFile:
    """Records of uploads in one file. Its methods block."""

    path: str
    records: dict[str, UploadRecord] = field(factory=dict, init=False)
    _descriptor: int | None = field(default=None, init=False)
    _size: int = field(default=0, init=False)
    # A thread may still be writing when nobody waits for it any more.
    _turn: threading.Lock = field(factory=threading.Lock, init=False)

    def open(self) -> None:
        """Open and lock the file, made anew where there is none, and read what it holds.

        Raises:
            ResumeUnusable: It is a folder or unreadable, in use, damaged, of another version, or
                something else than a file of ours. It is left as it is.
        """
        descriptor = None
        try:
            descriptor = _locked(self.path)
            self._read(descriptor)
            self._descriptor = descriptor
        except BlockingIOError:
            raise self._unusable(
                "is in use by another upload, of this process or another: wait for its end, or "
                "name another file"
            ) from None
        except Unreadable as failure:
            raise self._unusable(str(failure)) from None
        except (OSError, ValueError) as failure:
            raise self._unusable(f"cannot be opened: {_why(failure)}") from failure
        finally:
            if descriptor is not None and self._descriptor is None:
                os.close(descriptor)

    def _read(self, descriptor: int) -> None:
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(len(BEGINNING))
            if content == BEGINNING:  # or it is a recording, say: not to be read whole
                content += file.read()
        self.records, self._size = read(content)
        if self._size < len(content):
            # A last line that was never finished: its step never happened.
            os.ftruncate(descriptor, self._size)

    def save(self, record: UploadRecord) -> None:
        """Keep a record; it is on the disk when this returns.

        Raises:
            ResumeUnusable: It cannot be written; what was kept before is there still.
        """
        with self._turn:
            self._add(line_of(record, self.records.get(record.digest)))
            self.records[record.digest] = record

    def forget(self, digest: str) -> None:
        """Drop a record, where there is one."""
        with self._turn:
            if digest in self.records:
                self._add(forgotten(digest))
                del self.records[digest]

    def _add(self, line: bytes) -> None:
        if self._descriptor is None:
            raise self._unusable("is closed")
        first = self._size == 0
        view = memoryview(FIRST_LINE + line if first else line)
        size = self._size + len(view)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError as failure:
            with contextlib.suppress(OSError):  # half a line would spoil the next one
                os.ftruncate(self._descriptor, self._size)
            raise self._unusable(f"cannot be written: {_why(failure)}") from failure
        self._size = size
        if first:
            _fsync_folder(self.path)

    def close(self, now: datetime | None) -> None:
        """Close it, and remove it where nothing in it can be resumed.

        Args:
            now: The server's time, by which records expire; None where it is not known.
        """
        if self._descriptor is None:
            return
        try:
            if all(_ended(record, now) for record in self.records.values()):
                with contextlib.suppress(OSError):
                    os.unlink(self.path)  # noqa: PTH108 - a path may hold anything
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    def _unusable(self, why: str) -> ResumeUnusable:
        return ResumeUnusable(f"the resume file {self.path!r} {why}")


def _locked(path: str) -> int:
    """A descriptor of the file, which nobody else holds.

    Raises:
        BlockingIOError: Somebody does.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    # Without O_NONBLOCK a named pipe would be waited for.
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            if _held(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _held(descriptor: int, path: str) -> bool:
    """Lock it; False where whoever had it removed it in the end."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
    if sys.platform == "win32":  # no such locks: there, nobody sees a second process
        return True
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        return os.path.samestat(status, os.stat(path))  # noqa: PTH116 - as above
    except FileNotFoundError:
        return False


def _ended(record: UploadRecord, now: datetime | None) -> bool:
    return now is not None and record.expires_at is not None and record.expires_at <= now


def _why(failure: Exception) -> str:
    return getattr(failure, "strerror", None) or str(failure)


def _fsync_folder(path: str) -> None:
    """Make sure that the file's name is on the disk too."""
    with contextlib.suppress(OSError):  # not every system opens folders
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)  # noqa: PTH120 - as above
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
