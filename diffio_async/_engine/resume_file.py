"""The small file behind `resume=path`: locked while it is open, on the disk at each step.

It goes when nothing in it can be gone on with.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._engine.locked_file import InUse, LockedFile
from diffio_async._engine.system_errors import reason_of, shortage_of
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

#: More than any number of uploads comes to.
_LONGEST = 2**28


@define
class ResumeFile:
    """Records of uploads in one file. Its methods block."""

    path: str
    records: dict[str, UploadRecord] = field(factory=dict, init=False)
    _file: LockedFile = field(init=False)
    _empty: bool = field(default=True, init=False)
    # A thread may still be writing when nobody waits for it any more.
    _turn: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._file = LockedFile(Path(self.path))

    def open(self) -> None:
        """Open and lock the file, made anew where there is none, and read what it holds.

        Raises:
            OSError: The process is short of something; that may be over soon.
            ResumeUnusable: It is a folder or unreadable, in use, damaged, of another version, or
                something else than a private file of ours. It is left as it is.
        """
        try:
            self._file.open()
            self._read()
        except InUse:
            raise self._unusable(
                "is in use by another upload, of this process or another: wait for its end, or "
                "name another file"
            ) from None
        except Unreadable as failure:
            self._file.close()
            raise self._unusable(str(failure)) from None
        except (OSError, ValueError) as failure:
            self._file.close()
            if shortage_of(failure) is not None:
                raise
            raise self.not_opened(failure) from failure

    def not_opened(self, failure: Exception) -> ResumeUnusable:
        """The error for what the system says."""
        return self._unusable(f"cannot be opened: {reason_of(failure)}")

    def _read(self) -> None:
        content = self._file.start(len(BEGINNING))
        if content == BEGINNING:  # or it is a recording, say: not to be read whole
            content = self._file.start(_LONGEST)
        self.records, size = read(content)
        if size < len(content):
            # A last line that was never finished: its step never happened.
            self._file.cut(size)
        self._empty = size == 0

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
        if not self._file.mine:
            raise self._unusable("is closed")
        first = self._empty
        try:
            self._file.append(FIRST_LINE + line if first else line)
            self._file.sync()
        except OSError as failure:
            raise self._unusable(f"cannot be written: {reason_of(failure)}") from failure
        self._empty = False
        if first:
            self._file.sync_name()

    def close(self, now: datetime | None) -> None:
        """Close it, and remove it where nothing in it can be resumed.

        Args:
            now: The server's time, by which records expire; None where it is not known.
        """
        if not self._file.mine:
            return
        if all(_ended(record, now) for record in self.records.values()):
            self._file.remove()
        else:
            self._file.close()

    def _unusable(self, why: str) -> ResumeUnusable:
        return ResumeUnusable(f"the resume file {self.path!r} {why}")


def _ended(record: UploadRecord, now: datetime | None) -> bool:
    return now is not None and record.expires_at is not None and record.expires_at <= now
