"""Open a source for upload: a path, bytes, a file object, a framework upload or an iterator."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async._protocol.media_types import is_packed
from diffio_async._storage.files import transfer_slot
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._store_url import StoreUrl, location_of
from diffio_async._uploads.source import (
    INLINE_LIMIT,
    BytesSource,
    FileFingerprint,
    FileSource,
    Source,
    display_name,
    is_local,
    raw_file,
    read_blocks,
    spool,
)
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.options import MIB

if TYPE_CHECKING:
    from diffio_async.types import SourceLike


@contextlib.asynccontextmanager
async def open_source(
    source: SourceLike | Source,
    *,
    max_bytes: int,
    before_open: Callable[[], object] | None = None,
) -> AsyncIterator[Source]:
    """Open a source; errors that can be detected early are raised before the body runs.

    Args:
        source: Source to open. One that is open already is closed by its owner.
        max_bytes: Upload limit in bytes.
        before_open: Called in the same thread before a path is opened; its exceptions are raised.

    Raises:
        InvalidSource: The source is missing, not a regular file, unreadable, or over `max_bytes`.
        ConfigurationError: The type of the source is not supported.
    """
    async with contextlib.AsyncExitStack() as stack:
        if not isinstance(source, (bytes, bytearray, memoryview, BytesSource, FileSource)):
            await stack.enter_async_context(transfer_slot())
        found = await _SourceOpener(max_bytes, stack, TrackedExecutor(), [], before_open).open(
            source
        )
        if found.size > max_bytes:
            raise too_large(display_name(found), found.size, max_bytes)
        yield found


async def check_object_source(url: StoreUrl, max_bytes: int) -> None:
    """Check that an object can be read later. A link that is signed for reading is not requested.

    Raises:
        InvalidSource: There is no such object, it is empty or over `max_bytes`, or the store
            refused the request.
        ConfigurationError: The store is not configured.
    """
    from diffio_async._stores.failures import missing_object
    from diffio_async._stores.reading import empty, find_object

    if url.is_web:
        return
    found = await find_object(url)
    if found is None:
        raise missing_object(url)
    if found.size == 0:
        raise empty(url)
    if found.size > max_bytes:
        raise too_large(str(url), found.size, max_bytes)


def too_large(name: str, size: int, max_bytes: int) -> InvalidSource:
    """Return the error for a source over the upload limit."""
    return InvalidSource(
        f"{name} has {size:,} bytes; the upload limit is {max_bytes:,} "
        "bytes: split it, or encode it smaller"
    )


@frozen
class _SourceOpener:
    """Opens one source; `stack` closes it after the threads that use it have finished."""

    max_bytes: int
    stack: contextlib.AsyncExitStack
    threads: TrackedExecutor
    # Tracks every descriptor, so that a cancellation while opening leaks none.
    descriptors: list[int]
    before_open: Callable[[], object] | None = None

    async def open(self, source: SourceLike | Source) -> Source:
        if isinstance(source, (BytesSource, FileSource)):
            return source
        self.stack.callback(self._close)
        self.stack.push_async_callback(self.threads.drain)
        if isinstance(source, (bytes, bytearray, memoryview, io.BytesIO)):
            return self._memory(source)
        if isinstance(source, (str, os.PathLike)):
            location = location_of(source, "the source")
            if isinstance(location, StoreUrl):
                return await self._object(location)
            return await self._path(location)
        content = content_of(source)
        found = await self._read(content)
        if found is None:
            raise ConfigurationError(
                f"a {type(source).__name__} cannot be uploaded: pass a path, bytes, a binary file "
                "object or an async iterator of bytes"
            )
        # The file in a framework's upload object has the name of that object.
        found.name = file_name_of(source) if content is not source else found.name
        found.content_type = content_type_of(source)
        return found

    async def _read(self, source: Any) -> BytesSource | FileSource | None:
        """Open a source with `read` or an async iterator; return None for other types."""
        _check_readable(source)
        blocks = async_blocks(source)
        if blocks is not None:
            name = file_name_of(source)
            return await spool(blocks, name, self.max_bytes, self.threads, self.stack)
        if isinstance(source, io.BytesIO):
            return self._memory(source)
        # Not a runtime-checkable protocol: it does not see attributes that wrappers such as
        # `tempfile`'s delegate.
        if callable(getattr(source, "read", None)):
            return await self._file(source)
        return None

    def _close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)

    def _memory(self, given: bytes | bytearray | memoryview | io.BytesIO) -> BytesSource:
        try:
            if isinstance(given, io.BytesIO):
                view = given.getbuffer()[given.tell() :]
            else:
                view = memoryview(given)
            # View any items as bytes; a non-contiguous view has to be copied.
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
            return await self.threads.run_with_retries(self._open_regular, path)
        except (OSError, ValueError, MemoryError) as failure:
            raise InvalidSource(_unreadable_reason(path, failure)) from failure

    async def _object(self, url: StoreUrl) -> Source:
        """Spool an object of a store, so that parts can be sent again; keep a small one."""
        # Loaded with the first object, not with the client.
        from diffio_async._stores.reading import open_object

        if self.before_open is not None:
            await self.threads.run(self.before_open)
        found = await open_object(url)
        if found.info.size > self.max_bytes:
            raise too_large(str(url), found.info.size, self.max_bytes)
        kind = content_type_of(found) or ""
        if url.is_web and kind == "text/html":
            raise InvalidSource(
                f"{url} sent a web page, not a recording: name the file itself, and sign the link "
                "if it needs a login"
            )
        name = url.name or None
        source: Source
        if found.info.size <= INLINE_LIMIT and found.content is not None:
            source = self._memory(memoryview(found.content))
            source.name = name
        else:
            source = await spool(found.blocks(), name, self.max_bytes, self.threads, self.stack)
        # Many stores report "binary/octet-stream" for all objects; the name is more precise.
        source.content_type = kind if kind.startswith(("audio/", "video/")) else None
        return source

    def _open_regular(self, path: str) -> FileSource:
        """Open a regular file, and read it if it is small."""
        if self.before_open is not None:
            self.before_open()
        descriptor, fingerprint = _open_regular_file(path, self.descriptors)
        content = None
        if fingerprint[0] <= INLINE_LIMIT:
            content = os.read(descriptor, fingerprint[0] + 1)
            # `verify` finds content that was read during a write.
            if len(content) != fingerprint[0]:
                content = None
        return FileSource(
            descriptor,
            Path(path).name,
            self.threads,
            fingerprint=fingerprint,
            content=content,
            local=is_local(descriptor),
        )

    async def _file(self, file: Any) -> FileSource:
        """Open a file object: read a regular file in place, and spool any other one.

        A `GzipFile` can seek too, but decompresses from the start for each step back.
        """
        try:
            if _is_spooled(file):
                await self.threads.run(file.rollover)  # to a regular file
                descriptor: int | None = file.fileno()
            else:
                raw = raw_file(file)
                descriptor = None if raw is None else raw.fileno()
            name = file_name_of(file)
            if descriptor is None:
                name = unpacked_name(name)
            if descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                if isinstance(file, (io.BufferedRandom, tempfile.SpooledTemporaryFile)):
                    await self.threads.run(file.flush)
                start = file.tell()
                # Duplicate the descriptor: the user may close theirs, and keeps its position.
                self.descriptors.append(os.dup(descriptor))
                return FileSource(self.descriptors[0], name, self.threads, start=start)
        except (OSError, ValueError) as failure:
            raise InvalidSource(
                f"the file object cannot be read: {reason_of(failure)}"
            ) from failure
        blocks = read_blocks(file, "the file object")
        return await spool(blocks, name, self.max_bytes, self.threads, self.stack)


def _is_spooled(file: object) -> bool:
    """Return whether it is a binary file of `tempfile` that is in memory while it is small."""
    return isinstance(file, tempfile.SpooledTemporaryFile) and "b" in file.mode


def _check_readable(file: object) -> None:
    if isinstance(file, io.TextIOBase):
        raise ConfigurationError("the source is open as text: open it with mode 'rb'")
    if isinstance(file, io.IOBase) and not file.closed and not file.readable():
        raise InvalidSource("the file object is not open for reading: open it with mode 'rb'")


def _open_regular_file(path: str, descriptors: list[int]) -> tuple[int, FileFingerprint]:
    # Without O_NONBLOCK, opening a named pipe would block until a writer opens it.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    descriptors.append(descriptor)
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file (for a pipe, pass an open file object)")
    return descriptor, (status.st_size, status.st_mtime_ns)


def _unreadable_reason(path: str, failure: Exception) -> str:
    if isinstance(failure, FileNotFoundError):
        return f"there is no file {path!r}"
    if isinstance(failure, IsADirectoryError):
        return f"{path!r} is a folder: name a file in it"
    if isinstance(failure, PermissionError):
        return f"{path!r} cannot be read: permission denied"
    return f"{path!r} cannot be read: {reason_of(failure)}"


#: A MIME type without its parameters.
_MIME_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)

#: Types that senders use if they do not know the type. No recording is plain text.
_UNKNOWN_TYPES = frozenset({"application/octet-stream", "text/plain"})


def file_name_of(source: Any) -> str | None:
    """Return the file name of a source without folders, or None if it has none.

    Upload objects of web frameworks have it in `filename`; their `name` is often the form field's.
    """
    if not isinstance(source, io.IOBase) and hasattr(source, "filename"):
        given = source.filename
        # A browser on any system may have sent it.
        return PureWindowsPath(given).name or None if isinstance(given, str) else None
    name = getattr(source, "name", None)
    if not isinstance(name, str) or not name or name.startswith("<"):  # "<stdin>"
        return None
    return PurePath(name).name or None


def unpacked_name(name: str | None) -> str | None:
    """Return the name of the content of a compressed file, which a `GzipFile` reads."""
    if name is not None and is_packed(name):
        return PurePath(name).stem
    return name


def content_type_of(source: object) -> str | None:
    """Return the MIME type of an upload object, or None if it has none."""
    given = getattr(source, "content_type", None)
    if given is None:
        headers = getattr(source, "headers", None)
        find = getattr(headers, "get", None)
        given = find("Content-Type") if callable(find) else None
    if not isinstance(given, str):
        return None
    found = given.partition(";")[0].strip().lower()
    return found if _MIME_TYPE.fullmatch(found) and found not in _UNKNOWN_TYPES else None


def content_of(source: object) -> object:
    """Return the object to read: the source, or the file object of a framework's upload."""
    spooled = getattr(source, "file", None)
    if _is_spooled(spooled):  # of Starlette or Litestar: it is read in place, without a copy
        return spooled
    if callable(getattr(source, "read", None)):
        return source
    for name in ("file", "stream"):
        inner = getattr(source, name, None)
        if callable(getattr(inner, "read", None)):
            return inner
    return source


def async_blocks(source: object) -> AsyncIterable[bytes] | None:
    """Return the blocks of an asynchronous source, or None for other sources."""
    for name in ("read_chunk", "read"):  # `read` of an aiohttp part returns all of it
        read = getattr(source, name, None)
        if inspect.iscoroutinefunction(read):
            return _read_until_empty(read)
    return source if isinstance(source, AsyncIterable) else None


async def _read_until_empty(read: Callable[[int], Any]) -> AsyncGenerator[bytes, None]:
    while True:
        try:
            block = await read(MIB)
        except Exception as failure:  # any object may raise any exception
            raise InvalidSource(f"the source cannot be read: {failure}") from failure
        if not block:
            return
        yield block
