"""Bytes that can be read at any offset, off the loop, as often as needed."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Protocol

from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async.errors import InvalidSource

#: One hop to a thread costs 50 µs: chunks below this size would make it count.
CHUNK = 512 * 1024
#: Bytes that are digested in one go: a thread of the pool, a tenth of a second.
DIGEST_CHUNK = 64 * 1024 * 1024
#: Bytes of a file that is read at once when it is opened: one hop in place of four.
INLINE_LIMIT = CHUNK // 4

#: Size in bytes and time of the last change in ns: what tells that a file changed.
FileFingerprint = tuple[int, int]


class Source(Protocol):
    """Bytes of known size that can be read again; `read` is exact."""

    @property
    def name(self) -> str | None:
        """The file's name, where it has one."""
        ...

    @property
    def content_type(self) -> str | None:
        """The MIME type that it was received with, where it says one."""
        ...

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`, exactly `length` of them."""
        ...

    async def verify(self) -> None:
        """Raise `InvalidSource` if the source changed since it was opened."""
        ...

    async def digest(self) -> str:
        """The SHA-256 of the whole content, in hex; read once."""
        ...


class BytesSource:
    """Bytes in memory."""

    name: str | None = None
    content_type: str | None = None

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.size = len(view)
        self._digest: str | None = None

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self._view[offset : offset + length])

    async def verify(self) -> None:
        pass

    async def digest(self) -> str:
        if self._digest is None:
            # The user's own bytes, in a thread that is waited for: they may be released after.
            threads = TrackedExecutor()
            try:
                self._digest = await threads.run(lambda: hashlib.sha256(self._view).hexdigest())
            finally:
                await threads.drain()
        return self._digest


class FileSource:
    """A regular file by its descriptor: `pread` needs no position, so parts are read at once."""

    def __init__(
        self,
        descriptor: int,
        name: str | None,
        threads: TrackedExecutor,
        *,
        start: int = 0,
        identity: FileFingerprint | None = None,
        content: bytes | None = None,
    ) -> None:
        """Read an open file from `start` on.

        `identity` is known where it was looked at, and `content` where it was read whole: that
        is then what is digested and sent, whatever becomes of the file.
        """
        self.name = name
        self.content_type: str | None = None
        self._descriptor, self._start, self._content = descriptor, start, content
        self._threads = threads
        self._turn = threading.Lock()
        self._identity = identity or fingerprint_of(descriptor)
        self.size = max(0, self._identity[0] - start)
        self._digest: str | None = None

    def _read_some(self, offset: int, length: int) -> bytes:
        # Not every system has pread (Windows): there, reads take turns with the position.
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, length, offset)
        with self._turn:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, length)

    def _read(self, offset: int, length: int) -> bytes:
        data = self._read_some(self._start + offset, length)
        while len(data) < length:
            more = self._read_some(self._start + offset + len(data), length - len(data))
            if not more:
                break
            data += more
        return data

    async def read(self, offset: int, length: int) -> bytes:
        if self._content is not None:
            return self._content[offset : offset + length]
        try:
            data = await self._threads.run(self._read, offset, length)
        except (OSError, MemoryError) as failure:
            raise unreadable(self, failure) from failure
        if len(data) != length:
            raise _changed(self)
        return data

    async def verify(self) -> None:
        try:
            identity = await self._threads.run(fingerprint_of, self._descriptor)
        except (OSError, MemoryError) as failure:
            raise unreadable(self, failure) from failure
        if identity != self._identity:
            raise _changed(self)

    async def digest(self) -> str:
        if self._digest is None and self._content is not None:
            self._digest = hashlib.sha256(self._content).hexdigest()
        if self._digest is None:
            hashed, done = hashlib.sha256(), 0
            try:
                while done < self.size:
                    length = min(DIGEST_CHUNK, self.size - done)
                    await self._threads.run(self._hash, hashed, done, length)
                    done += length
            except (OSError, MemoryError) as failure:
                raise unreadable(self, failure) from failure
            await self.verify()
            self._digest = hashed.hexdigest()
        return self._digest

    def _hash(self, hashed: hashlib._Hash, offset: int, length: int) -> None:
        for done in range(0, length, CHUNK):
            hashed.update(self._read(offset + done, min(CHUNK, length - done)))


def fingerprint_of(descriptor: int) -> FileFingerprint:
    """The identity of an open file."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def unreadable(source: Source, failure: OSError | MemoryError) -> InvalidSource:
    """The error for a source that the system does not let us read."""
    return InvalidSource(f"{display_name(source)} cannot be read: {reason_of(failure)}")


def _changed(source: Source) -> InvalidSource:
    return InvalidSource(
        f"{display_name(source)} changed while it was uploaded: try again when nothing writes to it"
    )


def display_name(source: Source) -> str:
    """What a message calls the source."""
    return repr(source.name) if source.name else "the source"
