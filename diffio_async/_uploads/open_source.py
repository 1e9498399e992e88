"""Open what the user gave to be uploaded; whatever can be known to be wrong is raised here."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import frozen

from diffio_async._storage.descriptors import files_of_one_transfer
from diffio_async._storage.local_paths import local_path
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._uploads.framework_files import (
    awaited_blocks,
    content_of,
    content_type_of,
    file_name_of,
    packed_name,
)
from diffio_async._uploads.source import (
    INLINE_LIMIT,
    BytesSource,
    FileFingerprint,
    FileSource,
    Source,
    display_name,
    fingerprint_of,
)
from diffio_async._uploads.spool import raw_file, read_blocks, spool
from diffio_async.errors import ConfigurationError, InvalidSource

if TYPE_CHECKING:
    from diffio_async.types import SourceLike


@contextlib.asynccontextmanager
async def open_source(
    source: SourceLike | BytesSource | FileSource,
    *,
    max_bytes: int,
    first: Callable[[], object] | None = None,
) -> AsyncIterator[Source]:
    """Open a source; whatever can be known to be wrong with it is raised before the body runs.

    Args:
        source: What to open, or what was opened already, which whoever opened it closes.
        max_bytes: The largest that may be uploaded.
        first: Called before a path is opened, in the same thread; what it raises is raised.

    Raises:
        InvalidSource: It is missing, no regular file, unreadable, or over `max_bytes`.
        ConfigurationError: It is none of the kinds that can be uploaded.
    """
    async with contextlib.AsyncExitStack() as stack:
        if not isinstance(source, (bytes, bytearray, memoryview, BytesSource, FileSource)):
            await stack.enter_async_context(files_of_one_transfer())
        found = await _SourceOpener(max_bytes, stack, TrackedExecutor(), [], first).open(source)
        if found.size > max_bytes:
            raise too_large(found, max_bytes)
        yield found


def too_large(source: Source, max_bytes: int) -> InvalidSource:
    """The error for a source over the limit."""
    return InvalidSource(
        f"{display_name(source)} has {source.size:,} bytes; the upload limit is {max_bytes:,}: "
        "split it, or encode it smaller"
    )


@frozen
class _SourceOpener:
    """One opening: what it opens is closed by `stack`, after the threads that use it."""

    max_bytes: int
    stack: contextlib.AsyncExitStack
    threads: TrackedExecutor
    # Descriptors are found here, so that a cancellation while one is opened loses none.
    held: list[int]
    before_open: Callable[[], object] | None = None

    async def open(self, source: SourceLike | BytesSource | FileSource) -> Source:
        if isinstance(source, (BytesSource, FileSource)):
            return source
        self.stack.callback(self._close)
        self.stack.push_async_callback(self.threads.drain)
        if isinstance(source, (bytes, bytearray, memoryview, io.BytesIO)):
            return self._memory(source)
        if isinstance(source, (str, os.PathLike)):
            return await self._path(local_path(source, "the source"))
        content = content_of(source)
        found = await self._read(content)
        if found is None:
            raise ConfigurationError(
                f"a {type(source).__name__} cannot be uploaded: pass a path, bytes, a binary file "
                "object or an async iterator of bytes"
            )
        # The file within an upload has the name that the framework gave it.
        found.name = file_name_of(source) if content is not source else found.name
        found.content_type = content_type_of(source)
        return found

    async def _read(self, source: Any) -> BytesSource | FileSource | None:
        """Open what is read or iterated over, None where it is neither."""
        _check_readable(source)
        blocks = awaited_blocks(source)
        if blocks is not None:
            name = file_name_of(source)
            return await spool(blocks, name, self.max_bytes, self.threads, self.stack)
        if isinstance(source, io.BytesIO):
            return self._memory(source)
        # No protocol: one that is checked at run time does not see what `tempfile`'s wrappers and
        # their like pass on.
        if callable(getattr(source, "read", None)):
            return await self._file(source)
        return None

    def _close(self) -> None:
        for descriptor in self.held:
            os.close(descriptor)

    def _memory(self, given: bytes | bytearray | memoryview | io.BytesIO) -> BytesSource:
        try:
            if isinstance(given, io.BytesIO):
                view = given.getbuffer()[given.tell() :]
            else:
                view = memoryview(given)
            # Bytes whatever the items are; a view with gaps has to be copied for that.
            view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        except ValueError as failure:
            raise InvalidSource(f"the source cannot be read: {failure}") from failure
        # As long as the view lives, a bytearray cannot grow and a BytesIO cannot be closed.
        self.stack.callback(view.release)
        return BytesSource(view)

    async def _path(self, path: str) -> FileSource:
        if not path:
            raise InvalidSource("the source's path is empty: name a file")
        try:
            identity, content = await self.threads.patiently(self._open_regular, path)
        except (OSError, ValueError, MemoryError) as failure:
            raise InvalidSource(_why_unreadable(path, failure)) from failure
        name = Path(path).name
        return FileSource(self.held[0], name, self.threads, identity=identity, content=content)

    def _open_regular(self, path: str) -> tuple[FileFingerprint, bytes | None]:
        """Open it; its identity and, where that is little, its content."""
        if self.before_open is not None:
            self.before_open()
        descriptor, identity = _as_regular_file(path, self.held)
        if identity[0] > INLINE_LIMIT:
            return identity, None
        content = os.read(descriptor, identity[0] + 1)
        # What is read while somebody writes is not what will stand there.
        unchanged = fingerprint_of(descriptor) == identity and len(content) == identity[0]
        return identity, content if unchanged else None

    async def _file(self, file: BinaryIO) -> FileSource:
        """Open a file object: a regular file is read where it lies, any other one once.

        A `GzipFile` can seek too, but decompresses all over again for each step back.
        """
        try:
            raw = raw_file(file)
            name = file_name_of(file) if raw is not None else packed_name(file_name_of(file))
            if raw is not None and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
                if isinstance(file, io.BufferedRandom):
                    await self.threads.run(file.flush)
                start = file.tell()
                # A descriptor of our own: the user may close theirs, and keeps its position.
                self.held.append(os.dup(raw.fileno()))
                return FileSource(self.held[0], name, self.threads, start=start)
        except (OSError, ValueError) as failure:
            raise InvalidSource(
                f"the file object cannot be read: {reason_of(failure)}"
            ) from failure
        blocks = read_blocks(file, "the file object")
        return await spool(blocks, name, self.max_bytes, self.threads, self.stack)


def _check_readable(file: object) -> None:
    if isinstance(file, io.TextIOBase):
        raise ConfigurationError("the source is open as text: open it with mode 'rb'")
    if isinstance(file, io.IOBase) and not file.closed and not file.readable():
        raise InvalidSource("the file object is not open for reading: open it with mode 'rb'")


def _as_regular_file(path: str, held: list[int]) -> tuple[int, FileFingerprint]:
    # Without O_NONBLOCK, opening a named pipe would hang until somebody writes to it.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    held.append(descriptor)
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file (for a pipe, pass an open file object)")
    return descriptor, (status.st_size, status.st_mtime_ns)


def _why_unreadable(path: str, failure: Exception) -> str:
    if isinstance(failure, FileNotFoundError):
        return f"there is no file {path!r}"
    if isinstance(failure, IsADirectoryError):
        return f"{path!r} is a folder: name a file in it"
    if isinstance(failure, PermissionError):
        return f"{path!r} cannot be read: permission denied"
    return f"{path!r} cannot be read: {reason_of(failure)}"
