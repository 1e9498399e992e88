"""Open what the user gave to be uploaded; whatever can be known to be wrong is raised here."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from diffio_async._engine.sources import Memory, RegularFile, SeekableFile, Source, called
from diffio_async._engine.threads import Threads
from diffio_async.errors import ConfigurationError, SourceUnusable
from diffio_async.options import MIB

#: A path, bytes, a binary file object (read from where it stands) or an async iterable of bytes.
SourceLike = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]
)


@contextlib.asynccontextmanager
async def opened(source: SourceLike, *, max_bytes: int) -> AsyncIterator[Source]:
    """Open a source; whatever can be known to be wrong with it is raised before the body runs.

    Raises:
        SourceUnusable: It is missing, no regular file, unreadable, or over `max_bytes`.
        ConfigurationError: It is none of the kinds that can be uploaded.
    """
    threads = Threads()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(threads.settle)
        found: Source
        if isinstance(source, (bytes, bytearray, memoryview)):
            found = Memory(memoryview(source).cast("B"))
        elif isinstance(source, (str, os.PathLike)):
            found = await _opened_path(source, threads, stack)
        elif isinstance(source, AsyncIterable):
            found = await _spooled(source, max_bytes, threads, stack)
        elif isinstance(source, _Readable):
            _refuse_text(source)
            found = await _opened_file(source, max_bytes, threads, stack)
        else:
            raise ConfigurationError(
                f"a {type(source).__name__} cannot be uploaded: pass a path, bytes, a binary file "
                "object or an async iterator of bytes"
            )
        if found.size > max_bytes:
            raise too_large(found, max_bytes)
        yield found


def too_large(source: Source, max_bytes: int) -> SourceUnusable:
    """The error for a source over the limit."""
    return SourceUnusable(
        f"{called(source)} has {source.size:,} bytes; the upload limit is {max_bytes:,} bytes: "
        "split it, or encode it smaller"
    )


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def _refuse_text(file: object) -> None:
    if isinstance(file, io.TextIOBase):
        raise ConfigurationError("the source is open as text: open it with mode 'rb'")


async def _opened_path(
    path: str | os.PathLike[str], threads: Threads, stack: contextlib.AsyncExitStack
) -> RegularFile:
    shown = os.fspath(path)
    if not shown:
        raise SourceUnusable("the source's path is empty: name a file")
    held: list[int] = []
    # Closed last and found in `held`, so that a cancellation while it opens loses none.
    stack.callback(_close_all, held)
    stack.push_async_callback(threads.settle)
    try:
        await threads.run(_open_regular, shown, held)
    except OSError as failure:
        raise SourceUnusable(_why_unreadable(shown, failure)) from failure
    # A name may hold bytes that are not UTF-8; JSON cannot.
    name = Path(shown).name.encode("utf-8", "replace").decode()
    return RegularFile(held[0], name, threads)


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _open_regular(path: str, held: list[int]) -> None:
    # Without O_NONBLOCK, opening a named pipe would hang until somebody writes to it.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    held.append(descriptor)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(mode):
        raise OSError("not a regular file")


def _why_unreadable(path: str, failure: OSError) -> str:
    if isinstance(failure, FileNotFoundError):
        return f"there is no file {path!r}"
    if isinstance(failure, IsADirectoryError):
        return f"{path!r} is a folder: name a file in it"
    if isinstance(failure, PermissionError):
        return f"{path!r} cannot be read: permission denied"
    why = failure.strerror or str(failure)
    return f"{path!r} cannot be read: {why} (for a pipe, pass an open file object)"


async def _opened_file(
    file: BinaryIO, max_bytes: int, threads: Threads, stack: contextlib.AsyncExitStack
) -> Source:
    try:
        if not file.seekable():
            return await _spooled(_blocks(file, threads), max_bytes, threads, stack)
        start = file.tell()
        size = await threads.run(file.seek, 0, os.SEEK_END)
    except (OSError, ValueError) as failure:
        raise SourceUnusable(f"the file object cannot be read: {failure}") from failure
    return SeekableFile(file, start, size - start, threads)


async def _blocks(file: BinaryIO, threads: Threads) -> AsyncIterator[bytes]:
    while block := await threads.run(file.read, MIB):
        yield block


@contextlib.asynccontextmanager
async def _to_its_end(blocks: AsyncIterable[bytes]) -> AsyncIterator[AsyncIterable[bytes]]:
    """The iterator, closed afterwards where it can be: a generator of the user's ends here."""
    try:
        yield blocks
    finally:
        if isinstance(blocks, AsyncGenerator):
            await blocks.aclose()


async def _spooled(
    blocks: AsyncIterable[bytes],
    max_bytes: int,
    threads: Threads,
    stack: contextlib.AsyncExitStack,
) -> RegularFile:
    """Write a source of unknown length to an unnamed temporary file.

    The service is told the size first and parts may be sent twice: both need the whole.
    """
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    stack.push_async_callback(threads.settle)
    blocks = await stack.enter_async_context(_to_its_end(blocks))
    size = 0
    waiting: list[bytes] = []
    held = 0
    async for block in blocks:
        if not isinstance(block, (bytes, bytearray, memoryview)):
            raise ConfigurationError(
                f"the source gave a {type(block).__name__}; an async iterator of bytes is needed"
            )
        size += len(block)
        if size > max_bytes:
            raise SourceUnusable(
                f"the source gave more than the upload limit of {max_bytes:,} bytes"
            )
        waiting.append(bytes(block))
        held += len(block)
        if held >= MIB:
            await threads.run(file.writelines, waiting)
            waiting, held = [], 0
    await threads.run(file.writelines, waiting)
    await threads.run(file.flush)
    return RegularFile(file.fileno(), None, threads)
