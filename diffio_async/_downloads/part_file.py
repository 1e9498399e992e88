"""A temporary file that outlives a failure, so that a later download goes on from it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import time
from typing import TYPE_CHECKING

from diffio_async._downloads.partial_log import PartialFileLog
from diffio_async._downloads.ranges import RangeSet
from diffio_async._storage.atomic_write import create_exclusive, publish, sibling_path
from diffio_async._storage.private_files import NotOurs, SecondName, opened_private
from diffio_async._storage.syncing import sync
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from diffio_async._downloads.ranges import Representation
    from diffio_async.types import OnConflict

#: Bytes that are read back in one go, to be hashed: whoever cancels does not wait for more.
_READ_BACK = 32 * MIB


class PartFile:
    """A file under a name that is nobody else's; gone at the end, whatever comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = RangeSet()
        #: Nobody may go on with it: it has its final name, or is not what it should be.
        self.finished = False
        self._descriptor = -1
        self._hash: hashlib._Hash | None = None
        self._hashed = 0

    @property
    def resumable_bytes(self) -> int:
        """How many bytes a later download need not fetch again."""
        return 0

    @property
    def opened(self) -> bool:
        """Whether the file is open."""
        return self._descriptor >= 0

    def resume(self) -> Representation | None:
        """Open what an earlier download left; the version of it, None where there is nothing.

        Raises:
            OSError: It cannot be opened.
        """
        return None

    def save_initial(self, version: Representation, content: bytes) -> None:
        """Keep the first bytes of a version for a later download."""

    def open(self) -> None:
        """Make the file.

        Raises:
            OSError: It cannot be made.
        """
        self._descriptor = create_exclusive(self.path)

    def begin(self, version: Representation) -> None:
        """Empty the file, made if missing: what comes now is of this version.

        Raises:
            OSError: It cannot be made, or as for any write.
        """
        if not self.opened:
            self.open()
        if self.written:
            self.written = RangeSet()
            os.ftruncate(self._descriptor, 0)
        _check_room(self._descriptor, version.total or 0)
        self._count_on(version)

    def _count_on(self, version: Representation) -> None:
        digest, self._hashed = version.digest, 0
        self._hash = (
            None if digest is None else hashlib.new(digest.algorithm, usedforsecurity=False)
        )

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write.

        Raises:
            OSError: The disk is full, or gone.
        """
        end = offset
        for end in _writing(self._descriptor, offset, pieces):
            self.written.add(offset, end)
        if self._hash is not None and offset == self._hashed:
            for piece in pieces:
                self._hash.update(piece)
            self._hashed = end

    def hash_next(self, size: int) -> bool:
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

    def publish(self, target: Path, on_conflict: OnConflict) -> None:
        """Give the file its final name.

        Raises:
            OSError: The disk, the folder or the name stands in the way.
        """
        sync(self._descriptor)
        if os.name == "nt":  # where nobody renames what is open
            self._close()
        publish(self.path, target, on_conflict)
        self.finished = True

    def close(self) -> None:
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


def write_atomic(content: bytes, target: Path, on_conflict: OnConflict) -> None:
    """Write a file and give it its name.

    Raises:
        OSError: The disk, the folder or the name stands in the way: nothing is left of it then.
    """
    file = PartFile(sibling_path(target, f"{secrets.token_hex(4)}.part"))
    file.open()
    try:
        file.write_at(0, [content])
        file.publish(target, on_conflict)
    finally:
        file.close()


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


#: Bytes, and seconds, after which what was written is made safe and noted in the journal.
_SAVE_BYTES, _SAVE_SECONDS = 32 * MIB, 1.0


class ResumablePartFile(PartFile):
    """A temporary file of a name that is known again, with a journal of what can be trusted."""

    def __init__(self, target: Path, result: tuple[str, ...]) -> None:
        """Name it.

        Args:
            target: The file it is to become.
            result: What names the result: another result's bytes are never gone on with.
        """
        names = json.dumps([os.fsdecode(target.name), *result]).encode()
        key = hashlib.sha256(names).hexdigest()[:16]
        super().__init__(sibling_path(target, f"{key}.part"))
        self._journal = PartialFileLog(sibling_path(target, f"{key}.kept"))
        self._version: Representation | None = None
        self._unsaved, self._saved_at = 0, 0.0

    @property
    def opened(self) -> bool:
        """Whether the file, or its journal at least, is open."""
        return super().opened or self._journal.is_open

    def resume(self) -> Representation | None:
        """Open what an earlier download left, for this process alone; its version.

        Raises:
            OSError: It cannot be opened; `AlreadyInUse`: another process goes on with it.
        """
        if not self._journal.exists:
            return None
        self.open()
        known = self._journal.read()
        if known is None:
            return None
        version, safe = known
        # One byte at least is asked for: only the host knows whether this is still the version.
        most = min(os.fstat(self._descriptor).st_size, (version.total or 0) - 1)
        self.written, self._version = safe.before(most), version
        self._count_on(version)
        self._saved_at = time.monotonic()
        return version if self.written else None

    def open(self) -> None:
        """Open the file and its journal, for this process alone.

        Raises:
            OSError: They cannot be; `AlreadyInUse`: another process has them.
        """
        self._journal.open()
        try:
            self._descriptor = self._opened()
        except BaseException:
            self._journal.close()
            raise

    def _opened(self) -> int:
        while True:
            try:
                return opened_private(self.path, mode=0o666)
            except SecondName:
                # Of a finished file, left by a process that was killed that moment.
                self.path.unlink(missing_ok=True)
            except NotOurs as failure:
                raise NotOurs(f"{self.path.name!r} is in the way: remove it ({failure})") from None

    def save_initial(self, version: Representation, content: bytes) -> None:
        """Keep the first bytes of a version, where its etag tells it from others."""
        if version.etag is None or not content:
            return
        with contextlib.suppress(OSError):
            self.begin(version)
            self.write_at(0, [content])

    def begin(self, version: Representation) -> None:
        """Empty the file and the journal: what comes now is of this version."""
        if not self.opened:
            self.open()
        self._version = None
        os.ftruncate(self._descriptor, 0)
        super().begin(version)
        self._version = version
        self._unsaved, self._saved_at = 0, time.monotonic()
        self._journal.begin(version)

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write, and note now and then what is safe."""
        super().write_at(offset, pieces)
        self._unsaved += sum(map(len, pieces))
        if self._unsaved >= _SAVE_BYTES or time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        # Another version's bytes could not be told from these without its etag.
        if self._version is not None and self._version.etag is not None and self._unsaved:
            sync(self._descriptor)
            self._journal.checkpoint(self.written)
        self._unsaved, self._saved_at = 0, time.monotonic()

    @property
    def resumable_bytes(self) -> int:
        """How many bytes a later download need not fetch again."""
        version = None if self.finished else self._version
        return 0 if version is None or version.etag is None else self.written.size

    def close(self) -> None:
        """Close the file; it stays where a later download can go on from it."""
        if self._descriptor >= 0 and self.resumable_bytes:
            with contextlib.suppress(OSError):
                self._save()
            self._close()
            self._journal.close()
        elif self._journal.is_open:
            if self._descriptor >= 0 or self.finished:
                super().close()
            self._journal.remove()
