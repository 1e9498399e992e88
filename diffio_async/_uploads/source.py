"""Sources of uploads: bytes of known size that can be read repeatedly at any offset.

A source that can be read only once is spooled to a temporary file: the size must be known before
an upload starts, and a part may be sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import IO, TYPE_CHECKING, BinaryIO, TypeAlias

from diffio_async import _system
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import DedicatedThread, TrackedExecutor
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes per read. A thread switch costs 50 µs, which matters for smaller chunks.
CHUNK = 512 * 1024
#: Bytes hashed per thread job, about a tenth of a second.
DIGEST_CHUNK = 64 * 1024 * 1024
#: Files up to this size in bytes are read when opened: one thread switch in place of three.
INLINE_LIMIT = CHUNK

#: Size in bytes and modification time in ns, to detect changes.
FileFingerprint = tuple[int, int]

#: An open source. `name` and `content_type` are those that it was received with, or None; `size` is
#: in bytes.
Source: TypeAlias = "BytesSource | FileSource"

#: Seconds to wait for a read of the user's file object after the upload has ended: it may never
#: return (a socket without a writer), and the user owns the descriptor.
READ_TIMEOUT = 1.0


class BytesSource:
    """Bytes in memory."""

    name: str | None = None
    content_type: str | None = None

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.size = len(view)
        self._digest: str | None = None

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`."""
        return bytes(self._view[offset : offset + length])

    async def verify(self) -> None:
        """Raise `InvalidSource` if the source changed since it was opened; memory does not."""

    async def digest(self) -> str:
        """Return the SHA-256 of the complete content in hex; computed once."""
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
        local: bool = False,
    ) -> None:
        """Read an open file from `start` on.

        `fingerprint` is that of the open file, if known. `content` is its complete content if it
        was read already: that is hashed and sent, even if the file changes. `local` is the result
        of `is_local`.
        """
        self.name = name
        self.content_type: str | None = None
        self._descriptor, self._start, self._content = descriptor, start, content
        self._threads, self._local = threads, local
        self._fingerprint = fingerprint or fingerprint_of(descriptor)
        self.size = max(0, self._fingerprint[0] - start)
        self._digest: str | None = None

    @property
    def fingerprint(self) -> FileFingerprint:
        """The fingerprint of the file when it was opened."""
        return self._fingerprint

    def _read_some(self, offset: int, length: int) -> bytes:
        return _system.read_at(self._descriptor, length, offset)

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
            if self._local:
                fingerprint = fingerprint_of(self._descriptor)
            else:
                fingerprint = await self._threads.run(fingerprint_of, self._descriptor)
        except (OSError, MemoryError) as failure:
            raise read_error(self, failure) from failure
        if fingerprint != self._fingerprint:
            raise _changed_error(self)

    async def digest(self) -> str:
        if self._digest is None:
            hashed = hashlib.sha256(self._content or b"")
            done = 0 if self._content is None else self.size
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


def is_local(descriptor: int) -> bool:
    """Return whether the fingerprint of an open file is in memory, so that no thread is needed.

    A network file system may request it from its server; it has no reads that do not wait.
    """
    return _system.reads_without_waiting(descriptor)


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


async def spool(
    blocks: AsyncIterable[bytes | memoryview],
    name: str | None,
    max_bytes: int,
    threads: TrackedExecutor,
    stack: contextlib.AsyncExitStack,
) -> FileSource:
    """Write a source of unknown length to an unnamed temporary file.

    Raises:
        InvalidSource: The source is over `max_bytes`, or the disk is full.
        ConfigurationError: The source yields items that are not bytes.
    """
    blocks = await stack.enter_async_context(_closing(blocks))
    file = await _open_temporary(threads, stack)
    size = buffered = 0
    buffer: list[bytes] = []
    async for block in blocks:
        if not isinstance(block, (bytes, bytearray, memoryview)):
            raise ConfigurationError(
                f"the source gave a {type(block).__name__}: open it with mode 'rb', or give an "
                "async iterator of bytes"
            )
        data = bytes(block)
        size += len(data)
        if size > max_bytes:
            raise InvalidSource(
                f"the source gave more than the upload limit of {max_bytes:,} bytes"
            )
        buffer.append(data)
        buffered += len(data)
        if buffered >= MIB:
            await _write_blocks(threads, file, buffer)
            buffer, buffered = [], 0
    await _write_blocks(threads, file, buffer)
    return FileSource(file.fileno(), name, threads)


async def _open_temporary(threads: TrackedExecutor, stack: contextlib.AsyncExitStack) -> IO[bytes]:
    opened: list[IO[bytes]] = []

    def make() -> None:
        # Unbuffered: blocks are about a megabyte, and closing must not write.
        opened.append(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - `close` does it

    async def close() -> None:
        try:
            await threads.drain()
        finally:
            for file in opened:
                # Freeing gigabytes takes a while and must not block the loop.
                await threads.run(file.close)

    stack.push_async_callback(close)
    try:
        await threads.run(make)
    except (OSError, MemoryError) as failure:
        raise _spool_error(failure) from failure
    return opened[0]


async def _write_blocks(threads: TrackedExecutor, file: IO[bytes], blocks: list[bytes]) -> None:
    def write() -> None:
        for block in blocks:
            view = memoryview(block)
            while view:
                view = view[file.write(view) :]

    try:
        await threads.run(write)
    except (OSError, MemoryError) as failure:
        raise _spool_error(failure) from failure


def _spool_error(failure: OSError | MemoryError) -> InvalidSource:
    return InvalidSource(
        f"the source could not be kept in a temporary file: {reason_of(failure)} (TMPDIR names "
        "another folder)"
    )


@contextlib.asynccontextmanager
async def _closing(
    blocks: AsyncIterable[bytes | memoryview],
) -> AsyncIterator[AsyncIterable[bytes | memoryview]]:
    """Yield the iterator; close it afterwards if it is a generator of the user."""
    try:
        yield blocks
    finally:
        if isinstance(blocks, AsyncGenerator):
            await blocks.aclose()


async def read_blocks(file: BinaryIO, label: str) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of a file object in order.

    Raises:
        InvalidSource: The object cannot be read.
    """
    thread = DedicatedThread()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(thread.stop, READ_TIMEOUT)
        descriptor = _watchable_descriptor(file, stack)
        read: Callable[[int], bytes | None] = file.read
        if descriptor is not None:
            # Return available bytes: `read` would block until all requested bytes arrive.
            read = getattr(file, "read1", read)
        while True:
            try:
                if descriptor is not None:
                    await _wait_readable(descriptor)
                block = await thread.run(read, MIB)
            except Exception as failure:  # any object may raise any exception
                raise InvalidSource(f"{label} cannot be read: {reason_of(failure)}") from failure
            if block is None:  # a non-blocking descriptor without data
                if descriptor is None:
                    await asyncio.sleep(0.01)
            elif block:
                yield block
            else:
                return


async def _wait_readable(descriptor: int) -> None:
    """Wait on the event loop until a pipe is readable, so that the wait can be cancelled.

    A thread that blocks in `read` could not be stopped until data arrives.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _watchable_descriptor(file: BinaryIO, stack: contextlib.AsyncExitStack) -> int | None:
    """Return a descriptor of a file, or None if the event loop cannot watch it."""
    if raw_file(file) is None:
        return None
    # Duplicate the descriptor: the loop may watch the user's already.
    descriptor = os.dup(file.fileno())
    stack.callback(os.close, descriptor)
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(descriptor, lambda: None)
    except (OSError, NotImplementedError):  # devices such as /dev/null; Windows
        return None
    loop.remove_reader(descriptor)
    return descriptor


def raw_file(file: object) -> io.FileIO | None:
    """Return the raw file of an object from `open(path, 'rb')`, or None for other objects.

    The content of its descriptor equals what the object reads; that of a `GzipFile` does not.
    """
    raw = file.raw if isinstance(file, (io.BufferedReader, io.BufferedRandom)) else file
    return raw if isinstance(raw, io.FileIO) else None
