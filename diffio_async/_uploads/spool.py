"""Keep a source that can be read only once in a temporary file, until it is sent.

The service is told the size first, and a part may be sent twice: both need the whole.
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

#: Seconds a read of the user's own file object is waited for after the upload has ended: it may
#: never come back (a socket nobody writes to), and the descriptor is not ours to close.
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
        InvalidSource: It is over `max_bytes`, or there is no room to keep it.
        ConfigurationError: It gives something else than bytes.
    """
    blocks = await stack.enter_async_context(_closing(blocks))
    file = await _temporary(threads, stack)
    size = held = 0
    waiting: list[bytes] = []
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
        waiting.append(data)
        held += len(data)
        if held >= MIB:
            await _write_blocks(threads, file, waiting)
            waiting, held = [], 0
    await _write_blocks(threads, file, waiting)
    return FileSource(file.fileno(), name, threads)


async def _temporary(threads: TrackedExecutor, stack: contextlib.AsyncExitStack) -> IO[bytes]:
    opened: list[IO[bytes]] = []

    def make() -> None:
        # Unbuffered: blocks are written by the megabyte, and closing it writes nothing more.
        opened.append(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - `close` does it

    async def close() -> None:
        try:
            await threads.drain()
        finally:
            for file in opened:
                # To drop gigabytes takes a while, and must not take the loop's time.
                await threads.run(file.close)

    stack.push_async_callback(close)
    try:
        await threads.run(make)
    except (OSError, MemoryError) as failure:
        raise _no_room(failure) from failure
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
        raise _no_room(failure) from failure


def _no_room(failure: OSError | MemoryError) -> InvalidSource:
    return InvalidSource(
        "the source can be read only once, and could not be kept in a temporary file: "
        f"{reason_of(failure)} (TMPDIR names another folder)"
    )


@contextlib.asynccontextmanager
async def _closing(blocks: AsyncIterable[bytes]) -> AsyncIterator[AsyncIterable[bytes]]:
    """The iterator, closed afterwards where it can be: a generator of the user's ends here."""
    try:
        yield blocks
    finally:
        if isinstance(blocks, AsyncGenerator):
            await blocks.aclose()


async def read_blocks(file: BinaryIO, shown: str) -> AsyncGenerator[bytes, None]:
    """What a file object gives, read once and in order.

    Raises:
        InvalidSource: It cannot be read.
    """
    aside = DedicatedThread()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(aside.end, READ_TIMEOUT)
        arrival = _readable_waiter(file, stack)
        read: Callable[[int], bytes | None] = file.read
        if arrival is not None:
            # What is there: `read` would block until it has all that was asked for.
            read = getattr(file, "read1", read)
        while True:
            try:
                if arrival is not None:
                    await arrival()
                block = await aside.run(read, MIB)
            except Exception as failure:  # any kind of object, any kind of failure
                raise InvalidSource(f"{shown} cannot be read: {reason_of(failure)}") from failure
            if block is None:  # a descriptor that does not block, and has nothing yet
                if arrival is None:
                    await asyncio.sleep(0.01)
            elif block:
                yield block
            else:
                return


class _ReadableWaiter:
    """Waits until a pipe has something to read: on the loop, where it can be cancelled.

    A thread that waits in `read` could not be stopped before somebody writes.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        there = loop.create_future()

        def tell() -> None:
            if not there.done():
                there.set_result(None)

        loop.add_reader(self._descriptor, tell)
        try:
            await there
        finally:
            loop.remove_reader(self._descriptor)


def _readable_waiter(file: BinaryIO, stack: contextlib.AsyncExitStack) -> _ReadableWaiter | None:
    """The wait for a file's bytes, None where it is no pipe or the loop cannot watch it."""
    if raw_file(file) is None:
        return None
    # A descriptor of our own: the loop may watch the user's already.
    descriptor = os.dup(file.fileno())
    stack.callback(os.close, descriptor)
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(descriptor, lambda: None)
    except (OSError, NotImplementedError):  # /dev/null and its like; Windows
        return None
    loop.remove_reader(descriptor)
    return _ReadableWaiter(descriptor)


def raw_file(file: object) -> io.FileIO | None:
    """The file below `open(path, 'rb')`: what its descriptor holds is what the object gives.

    None for all others: a `GzipFile` has a descriptor too, but gives something else.
    """
    raw = file.raw if isinstance(file, (io.BufferedReader, io.BufferedRandom)) else file
    return raw if isinstance(raw, io.FileIO) else None
