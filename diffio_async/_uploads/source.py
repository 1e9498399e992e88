"""Sources of uploads: bytes of known size that can be read repeatedly at any offset."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Protocol

from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async.errors import InvalidSource

#: Bytes per read. A thread switch costs 50 µs, which matters for smaller chunks.
CHUNK = 512 * 1024
#: Bytes hashed per thread job, about a tenth of a second.
DIGEST_CHUNK = 64 * 1024 * 1024
#: Files up to this size in bytes are read when opened: one thread switch in place of four.
INLINE_LIMIT = CHUNK // 4

#: Size in bytes and modification time in ns, to detect changes.
FileFingerprint = tuple[int, int]


class Source(Protocol):
    """Bytes of known size that can be read repeatedly."""

    @property
    def name(self) -> str | None:
        """File name, or None."""
        ...

    @property
    def content_type(self) -> str | None:
        """MIME type that the source was received with, or None."""
        ...

    @property
    def size(self) -> int:
        """Size in bytes."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`."""
        ...

    async def verify(self) -> None:
        """Raise `InvalidSource` if the source changed since it was opened."""
        ...

    async def digest(self) -> str:
        """Return the SHA-256 of the complete content in hex; computed once."""
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
            # The view may be released after this returns, so wait for the thread.
            threads = TrackedExecutor()
            try:
                self._digest = await threads.run(lambda: hashlib.sha256(self._view).hexdigest())
            finally:
                await threads.drain()
        return self._digest


class FileSource:
    """Regular file, read by its descriptor; `pread` allows concurrent reads of parts."""

    def __init__(
        self,
        descriptor: int,
        name: str | None,
        threads: TrackedExecutor,
        *,
        start: int = 0,
        fingerprint: FileFingerprint | None = None,
        content: bytes | None = None,
    ) -> None:
        """Read an open file from `start` on.

        `fingerprint` is that of the open file, if known. `content` is its complete content if it
        was read already: that is hashed and sent, even if the file changes.
        """
        self.name = name
        self.content_type: str | None = None
        self._descriptor, self._start, self._content = descriptor, start, content
        self._threads = threads
        self._lock = threading.Lock()
        self._fingerprint = fingerprint or fingerprint_of(descriptor)
        self.size = max(0, self._fingerprint[0] - start)
        self._digest: str | None = None

    def _read_some(self, offset: int, length: int) -> bytes:
        # Windows has no pread: serialise reads that share the file position.
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, length, offset)
        with self._lock:
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
            raise read_error(self, failure) from failure
        if len(data) != length:
            raise _changed_error(self)
        return data

    async def verify(self) -> None:
        try:
            fingerprint = await self._threads.run(fingerprint_of, self._descriptor)
        except (OSError, MemoryError) as failure:
            raise read_error(self, failure) from failure
        if fingerprint != self._fingerprint:
            raise _changed_error(self)

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
                raise read_error(self, failure) from failure
            await self.verify()
            self._digest = hashed.hexdigest()
        return self._digest

    def _hash(self, hashed: hashlib._Hash, offset: int, length: int) -> None:
        for done in range(0, length, CHUNK):
            hashed.update(self._read(offset + done, min(CHUNK, length - done)))


def fingerprint_of(descriptor: int) -> FileFingerprint:
    """Return the fingerprint of an open file."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def read_error(source: Source, failure: OSError | MemoryError) -> InvalidSource:
    """Return the error for a source that cannot be read."""
    return InvalidSource(f"{display_name(source)} cannot be read: {reason_of(failure)}")


def _changed_error(source: Source) -> InvalidSource:
    return InvalidSource(
        f"{display_name(source)} changed while it was uploaded: try again when nothing writes to it"
    )


def display_name(source: Source) -> str:
    """Return the name of the source for messages."""
    return repr(source.name) if source.name else "the source"
