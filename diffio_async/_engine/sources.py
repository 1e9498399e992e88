"""Bytes that can be read at any offset, off the loop, as often as needed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from diffio_async.errors import SourceUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async._engine.threads import Threads

#: One hop to a thread costs 50 µs: chunks below this size would make it count.
CHUNK = 512 * 1024


class Source(Protocol):
    """Bytes of known size that can be read again; `read` is exact."""

    @property
    def name(self) -> str | None:
        """The file's name, where it has one."""
        ...

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`, exactly `length` of them."""
        ...

    async def verify(self) -> None:
        """Raise `SourceUnusable` if the source changed since it was opened."""
        ...


class Memory:
    """Bytes in memory."""

    name: str | None = None

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.size = len(view)

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self._view[offset : offset + length])

    async def verify(self) -> None:
        pass


class RegularFile:
    """A regular file by its descriptor: `pread` needs no position, so parts are read at once."""

    def __init__(self, descriptor: int, name: str | None, threads: Threads) -> None:
        self.name = name
        self._descriptor = descriptor
        self._threads = threads
        self._turn = threading.Lock()
        self._identity = self._stat()
        self.size = self._identity[0]

    def _stat(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def _pread(self, offset: int, length: int) -> bytes:
        # Not every system has pread (Windows): there, reads take turns with the position.
        if not hasattr(os, "pread"):
            with self._turn:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                return os.read(self._descriptor, length)
        data = os.pread(self._descriptor, length, offset)
        while len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    async def read(self, offset: int, length: int) -> bytes:
        return await _exactly(self, self._threads, self._pread, offset, length)

    async def verify(self) -> None:
        if await self._threads.run(self._stat) != self._identity:
            raise _changed(self)


class SeekableFile:
    """A file object that can seek: its own position moves, so reads take turns in one thread."""

    def __init__(self, file: BinaryIO, start: int, size: int, threads: Threads) -> None:
        name = getattr(file, "name", None)
        self.name = Path(name).name if isinstance(name, str) and name else None
        self.size = size
        self._file, self._start, self._threads = file, start, threads
        self._turn = threading.Lock()

    def _seek_and_read(self, offset: int, length: int) -> bytes:
        with self._turn:
            self._file.seek(self._start + offset)
            data = self._file.read(length)
            while len(data) < length and (more := self._file.read(length - len(data))):
                data += more
            return data

    def _end(self) -> int:
        with self._turn:
            return self._file.seek(0, os.SEEK_END)

    async def read(self, offset: int, length: int) -> bytes:
        return await _exactly(self, self._threads, self._seek_and_read, offset, length)

    async def verify(self) -> None:
        if await self._threads.run(self._end) - self._start != self.size:
            raise _changed(self)


async def _exactly(
    source: Source,
    threads: Threads,
    read: Callable[[int, int], bytes],
    offset: int,
    length: int,
) -> bytes:
    try:
        data = await threads.run(read, offset, length)
    except OSError as failure:
        raise SourceUnusable(f"{called(source)} cannot be read: {failure.strerror}") from failure
    if len(data) != length:
        raise _changed(source)
    return data


def _changed(source: Source) -> SourceUnusable:
    return SourceUnusable(
        f"{called(source)} changed while it was uploaded: try again when nothing writes to it"
    )


def called(source: Source) -> str:
    """What a message calls the source."""
    return repr(source.name) if source.name else "the source"
