"""The file beside the target that a result grows in; all of this blocks, and is for threads."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from diffio_async._engine.placing import beside, created, place
from diffio_async._engine.syncing import sync
from diffio_async._wire.spans import Spans
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from diffio_async._wire.ranges import Version
    from diffio_async.types import OnConflict

#: Bytes that are read back in one go, to be hashed: whoever cancels does not wait for more.
_READ_BACK = 32 * MIB


class Temporary:
    """A file under a name that is nobody else's; gone at the end, whatever comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.there = Spans()
        #: Nobody may go on with it: it has its final name, or is not what it should be.
        self.over = False
        self._descriptor = -1
        self._hash: hashlib._Hash | None = None
        self._hashed = 0

    @property
    def kept(self) -> int:
        """How many bytes a later download need not fetch again."""
        return 0

    @property
    def opened(self) -> bool:
        """Whether the file is open."""
        return self._descriptor >= 0

    def found(self) -> Version | None:
        """Open what an earlier download left; the version of it, None where there is nothing.

        Raises:
            OSError: It cannot be opened.
        """
        return None

    def keep(self, version: Version, content: bytes) -> None:
        """Keep the first bytes of a version for a later download."""

    def open(self) -> None:
        """Make the file.

        Raises:
            OSError: It cannot be made.
        """
        self._descriptor = created(self.path)

    def begin(self, version: Version) -> None:
        """Empty the file, made if missing: what comes now is of this version.

        Raises:
            OSError: It cannot be made, or as for any write.
        """
        if not self.opened:
            self.open()
        if self.there:
            self.there = Spans()
            os.ftruncate(self._descriptor, 0)
        _check_room(self._descriptor, version.total or 0)
        self._count_on(version)

    def _count_on(self, version: Version) -> None:
        digest, self._hashed = version.digest, 0
        self._hash = (
            None if digest is None else hashlib.new(digest.algorithm, usedforsecurity=False)
        )

    def put(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write.

        Raises:
            OSError: The disk is full, or gone.
        """
        end = offset
        for end in _writing(self._descriptor, offset, pieces):
            self.there.add(offset, end)
        if self._hash is not None and offset == self._hashed:
            for piece in pieces:
                self._hash.update(piece)
            self._hashed = end

    def hashed_on(self, size: int) -> bool:
        """Read back and hash some more of `size` bytes; whether all of them are hashed."""
        if os.fstat(self._descriptor).st_size != size:
            raise OSError(None, "another program changed the length of what was downloaded so far")
        if self._hash is None:
            return True
        buffer, limit = bytearray(MIB), min(size, self._hashed + _READ_BACK)
        os.lseek(self._descriptor, self._hashed, os.SEEK_SET)
        with memoryview(buffer) as view, open(self._descriptor, "rb", 0, closefd=False) as file:
            while self._hashed < limit:
                count = file.readinto(view[: limit - self._hashed])
                if not count:
                    raise OSError(None, "another program cut off what was downloaded so far")
                self._hash.update(view[:count])
                self._hashed += count
        return self._hashed == size

    def digest(self) -> bytes:
        """What all bytes hash to."""
        return b"" if self._hash is None else self._hash.digest()

    def commit(self, target: Path, on_conflict: OnConflict) -> None:
        """Give the file its final name.

        Raises:
            OSError: The disk, the folder or the name stands in the way.
        """
        sync(self._descriptor)
        if os.name == "nt":  # where nobody renames what is open
            self._close()
        place(self.path, target, on_conflict)
        self.over = True

    def leave(self) -> None:
        """Close the file, and remove it or its second name.

        Whatever ended the download says more than that its leavings could not be removed.
        """
        self._close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        if self.opened:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)


def placed_whole(content: bytes, target: Path, on_conflict: OnConflict) -> None:
    """Write a file and give it its name.

    Raises:
        OSError: The disk, the folder or the name stands in the way: nothing is left of it then.
    """
    file = Temporary(beside(target, f"{secrets.token_hex(4)}.part"))
    file.open()
    try:
        file.put(0, [content])
        file.commit(target, on_conflict)
    finally:
        file.leave()


def _check_room(descriptor: int, size: int) -> None:
    """Better now than after hours. Some network file systems say 0, and mean that they know not."""
    status = os.fstatvfs(descriptor) if hasattr(os, "fstatvfs") else None
    free = 0 if status is None else status.f_bavail * status.f_frsize
    if 0 < free < size:
        words = os.strerror(errno.ENOSPC)
        raise OSError(errno.ENOSPC, f"{words}: {size:,} bytes are needed, {free:,} are free")


def _writing(descriptor: int, offset: int, pieces: Sequence[bytes | memoryview]) -> Iterator[int]:
    """Write all pieces; before which byte those end that are written, again and again."""
    left = [memoryview(piece) for piece in pieces]
    at_offset = getattr(os, "pwritev", None)
    while left:
        if at_offset is not None:
            count = at_offset(descriptor, left, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            count = os.write(descriptor, left[0])
        offset += count
        while left and count >= len(left[0]):
            count -= len(left.pop(0))
        if left:
            left[0] = left[0][count:]
        yield offset
