"""Temporary file of a download, published under the target's name when it is complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from diffio_async._downloads.ranges import RangeSet
from diffio_async._storage.atomic_write import create_exclusive, publish, sibling_path, sync_file
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from diffio_async._downloads.representation import Representation
    from diffio_async.types import OnConflict

#: Bytes to read back and hash per call, which bounds the delay of a cancellation.
_MAX_HASH_STEP = 32 * MIB


class PartFile:
    """Temporary file with a unique name, which is removed when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = RangeSet()
        #: Whether the file must not be resumed: it is published, or its content is invalid.
        self.finished = False
        self._descriptor = -1
        self._hash: hashlib._Hash | None = None
        self._hashed = 0

    @property
    def resumable_bytes(self) -> int:
        """Number of bytes that a later download can resume from."""
        return 0

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._descriptor >= 0

    def resume(self) -> Representation | None:
        """Open the part file of an earlier download; return its version, or None.

        Raises:
            OSError: The file cannot be opened.
        """
        return None

    def save_initial(self, version: Representation, content: bytes) -> None:
        """Save the first bytes of a version for a later download."""

    def open(self) -> None:
        """Create the file.

        Raises:
            OSError: The file cannot be created.
        """
        self._descriptor = create_exclusive(self.path)

    def restart(self, version: Representation) -> None:
        """Truncate the file, creating it if missing, for the bytes of a version.

        Raises:
            OSError: The file cannot be created or truncated, or the disk has too little space.
        """
        if not self.is_open:
            self.open()
        if self.written:
            self.written = RangeSet()
            os.ftruncate(self._descriptor, 0)
        _check_free_space(self._descriptor, version.total or 0)
        self._reset_hash(version)

    def _reset_hash(self, version: Representation) -> None:
        digest, self._hashed = version.digest, 0
        self._hash = (
            None if digest is None else hashlib.new(digest.algorithm, usedforsecurity=False)
        )

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write pieces one after another, starting at `offset`.

        Raises:
            OSError: The disk is full or was removed.
        """
        end = offset
        for end in _write_all(self._descriptor, offset, pieces):
            self.written.add(offset, end)
        if self._hash is not None and offset == self._hashed:
            for piece in pieces:
                self._hash.update(piece)
            self._hashed = end

    def hash_next(self, size: int) -> bool:
        """Read back and hash more of `size` bytes; return whether all of them are hashed."""
        if os.fstat(self._descriptor).st_size != size:
            raise OSError(None, "another program changed the length of what was downloaded so far")
        if self._hash is None:
            return True
        buffer, limit = bytearray(MIB), min(size, self._hashed + _MAX_HASH_STEP)
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
        """Return the hash of all bytes, or b"" if the version has no digest."""
        return b"" if self._hash is None else self._hash.digest()

    def publish(self, target: Path, on_conflict: OnConflict) -> None:
        """Give the file its final name.

        Raises:
            OSError: The file cannot be flushed, renamed or linked.
        """
        sync_file(self._descriptor)
        if os.name == "nt":  # Windows does not rename open files
            self._close()
        publish(self.path, target, on_conflict)
        self.finished = True

    def close(self) -> None:
        """Close the file and remove its temporary name.

        Errors are ignored: the exception that ended the download matters more.
        """
        self._close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        if self.is_open:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)


def write_atomic(content: bytes, target: Path, on_conflict: OnConflict) -> None:
    """Write a file under a temporary name, then publish it.

    Raises:
        OSError: The file cannot be written or published; nothing is left behind.
    """
    file = PartFile(sibling_path(target, f"{secrets.token_hex(4)}.part"))
    file.open()
    try:
        file.write_at(0, [content])
        file.publish(target, on_conflict)
    finally:
        file.close()


def _check_free_space(descriptor: int, size: int) -> None:
    """Fail early if the disk has too little space; 0 means unknown on some network file systems."""
    status = os.fstatvfs(descriptor) if hasattr(os, "fstatvfs") else None
    free = 0 if status is None else status.f_bavail * status.f_frsize
    if 0 < free < size:
        message = os.strerror(errno.ENOSPC)
        raise OSError(errno.ENOSPC, f"{message}: {size:,} bytes are needed, {free:,} are free")


def _write_all(descriptor: int, offset: int, pieces: Sequence[bytes | memoryview]) -> Iterator[int]:
    """Write all pieces; yield the end offset of the written bytes after each write."""
    remaining = [memoryview(piece) for piece in pieces]
    at_offset = getattr(os, "pwritev", None)
    while remaining:
        if at_offset is not None:
            count = at_offset(descriptor, remaining, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            count = os.write(descriptor, remaining[0])
        offset += count
        while remaining and count >= len(remaining[0]):
            count -= len(remaining.pop(0))
        if remaining:
            remaining[0] = remaining[0][count:]
        yield offset
