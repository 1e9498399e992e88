"""What is known of a file that is half downloaded, kept beside it: which version, which bytes."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import zlib
from typing import TYPE_CHECKING

from diffio_async._engine.locks import locked
from diffio_async._wire import digests
from diffio_async._wire.ranges import Version
from diffio_async._wire.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FORMAT = 1
# A journal has a line for each 32 MiB; this is enough for hundreds of terabytes.
_LONGEST = 2**26
# Windows has no such thing.
_USER: Callable[[], int] | None = getattr(os, "geteuid", None)


class InUse(OSError):
    """Another process, or another call of this one, has the journal."""


class NotOurs(OSError):
    """Something else stands under the journal's or the part's name."""


def opened(path: Path, *, mode: int) -> int:
    """A regular file of this user's, made where there is none.

    Raises:
        OSError: It cannot be opened; `NotOurs`: it is no such file.
    """
    # The name is known beforehand: in a folder that others may write to, it may be a trap.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        descriptor = os.open(path, flags, mode)
        status = os.fstat(descriptor)
        # Where one user owns every file (exFAT, SMB), that is the folder's, too.
        owners = {status.st_uid} if _USER is None else {_USER(), path.parent.stat().st_uid}
        ours = stat.S_ISREG(status.st_mode) and status.st_uid in owners
        if ours and status.st_nlink == 1:
            return descriptor
        os.close(descriptor)
        if not ours:
            raise NotOurs(f"{path.name!r} is in the way: remove it")
        # A second name of a finished file, left by a process that was killed that moment.
        path.unlink(missing_ok=True)


class Journal:
    """Lines of JSON, each with its checksum: the version, then all the bytes that are safe.

    A line is written when the bytes it tells of are on the disk; a torn one is passed over. The
    file is the lock, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    @property
    def there(self) -> bool:
        """Whether something stands under its name."""
        return os.path.lexists(self.path)

    def open(self) -> None:
        """Open it for this process alone.

        Raises:
            OSError: It cannot be opened or locked; `InUse`: another has it.
        """
        while True:
            descriptor = opened(self.path, mode=0o600)
            try:
                if not locked(descriptor):
                    raise InUse
                # Whoever had it before may have finished and removed it meanwhile.
                if self._stands(descriptor):
                    self._descriptor = descriptor
                    return
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def _stands(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def read(self) -> tuple[Version, Spans] | None:
        """The version and the bytes that are safe, None where nothing is."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            lines = file.read(_LONGEST).split(b"\n")
        said = [fact for fact in map(_said, lines) if fact is not None]
        version = _version(said[0]) if said else None
        marks = [mark for mark in map(_spans, said[1:]) if mark is not None]
        return (version, marks[-1]) if version is not None and marks else None

    def begin(self, version: Version) -> None:
        """Forget what was written; what comes now is of this version."""
        os.ftruncate(self._descriptor, 0)
        told = {
            "diffio": _FORMAT,
            "etag": version.etag,
            "total": version.total,
            "digest": None if version.digest is None else str(version.digest),
        }
        self._append(told)
        # Or else, after a power cut, the marks of the version before could come back.
        os.fsync(self._descriptor)

    def mark(self, safe: Spans) -> None:
        """These bytes are on the disk."""
        self._append(list(safe))

    def _append(self, said: object) -> None:
        text = json.dumps(said, separators=(",", ":")).encode()
        os.lseek(self._descriptor, 0, os.SEEK_END)
        # On a line of its own, even where a full disk tore the one before.
        os.write(self._descriptor, b"\n%s %08x\n" % (text, zlib.crc32(text)))

    def close(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    @property
    def mine(self) -> bool:
        """Whether it is open, and so nobody else's."""
        return self._descriptor >= 0

    def remove(self) -> None:
        """It is of no more use."""
        if os.name == "nt":  # where nobody removes what is open
            self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()


def _said(line: bytes) -> object:
    text, _, checksum = line.rpartition(b" ")
    try:
        return json.loads(text) if int(checksum, 16) == zlib.crc32(text) else None
    except ValueError:
        return None


def _version(said: object) -> Version | None:
    match said:
        case {"diffio": 1, "etag": str() as etag, "total": int() as total, "digest": digest}:
            return Version(etag, total, digests.read(str(digest)))
        case _:
            return None


def _spans(said: object) -> Spans | None:
    if not isinstance(said, list):
        return None
    try:
        return Spans((int(start), int(end)) for start, end in said)
    except (TypeError, ValueError):
        return None
