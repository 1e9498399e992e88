"""Spool a source that can be read only once to a temporary file.

The size must be known before an upload starts, and a part may be sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import IO, TYPE_CHECKING, BinaryIO

from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import DedicatedThread, TrackedExecutor
from diffio_async._uploads.source import FileSource
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds to wait for a read of the user's file object after the upload has ended: it may never
#: return (a socket without a writer), and the user owns the descriptor.
READ_TIMEOUT = 1.0


async def spool(
    blocks: AsyncIterable[bytes],
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
        "the source can be read only once, and could not be kept in a temporary file: "
        f"{reason_of(failure)} (TMPDIR names another folder)"
    )


@contextlib.asynccontextmanager
async def _closing(blocks: AsyncIterable[bytes]) -> AsyncIterator[AsyncIterable[bytes]]:
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
        wait_readable = _readable_waiter(file, stack)
        read: Callable[[int], bytes | None] = file.read
        if wait_readable is not None:
            # Return available bytes: `read` would block until all requested bytes arrive.
            read = getattr(file, "read1", read)
        while True:
            try:
                if wait_readable is not None:
                    await wait_readable()
                block = await thread.run(read, MIB)
            except Exception as failure:  # any object may raise any exception
                raise InvalidSource(f"{label} cannot be read: {reason_of(failure)}") from failure
            if block is None:  # a non-blocking descriptor without data
                if wait_readable is None:
                    await asyncio.sleep(0.01)
            elif block:
                yield block
            else:
                return


class _ReadableWaiter:
    """Waits on the event loop until a pipe is readable, so that the wait can be cancelled.

    A thread that blocks in `read` could not be stopped until data arrives.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()

        def on_readable() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(self._descriptor, on_readable)
        try:
            await readable
        finally:
            loop.remove_reader(self._descriptor)


def _readable_waiter(file: BinaryIO, stack: contextlib.AsyncExitStack) -> _ReadableWaiter | None:
    """Return a waiter for a file, or None if the event loop cannot watch it."""
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
    return _ReadableWaiter(descriptor)


def raw_file(file: object) -> io.FileIO | None:
    """Return the raw file of an object from `open(path, 'rb')`, or None for other objects.

    The content of its descriptor equals what the object reads; that of a `GzipFile` does not.
    """
    raw = file.raw if isinstance(file, (io.BufferedReader, io.BufferedRandom)) else file
    return raw if isinstance(raw, io.FileIO) else None
