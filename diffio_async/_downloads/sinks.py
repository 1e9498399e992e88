"""Targets of a download: validation, and sinks that write to memory or to a file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import math
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from diffio_async._downloads.part_file import PartFile, write_atomic
from diffio_async._downloads.ranges import RangeSet
from diffio_async._storage.append_log import AlreadyInUse
from diffio_async._storage.files import UnexpectedFile, create_exclusive, sibling_path
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor, wait_all_uncancelled
from diffio_async._validators import one_of
from diffio_async.errors import InvalidTarget
from diffio_async.types import OnConflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from diffio_async._downloads.ranges import Representation

#: Seconds to cache that a folder is writable, and maximum of cached folders: many results go to
#: one folder.
_WRITABLE_TTL, _MAX_CACHED = 2.0, 1000
_writable_cache: dict[Path, float] = {}


async def check_target(target: Path, on_conflict: OnConflict) -> None:
    """Check that the target can be written later.

    Raises:
        InvalidTarget: The folder is missing or not writable, or the target is not a regular file,
            or exists and may not be replaced.
        ConfigurationError: `on_conflict` is invalid.
    """
    threads = TrackedExecutor()
    try:
        await threads.run_with_retries(validate_target, target, on_conflict)
    finally:
        # Remove the probe file before a cancellation completes.
        await threads.drain()


def validate_target(target: Path, on_conflict: OnConflict) -> None:
    """Check the target as `check_target` does; blocks."""
    one_of(OnConflict).check("on_conflict", on_conflict)
    folder = target.parent
    try:
        if not folder.is_dir():
            # From Python 3.14 on, `is_dir` is False where the process may not look.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folder.stat()
            raise InvalidTarget(f"there is no folder {str(folder)!r} to write {target.name!r} in")
        mode = target.lstat().st_mode
    except FileNotFoundError:
        pass
    except OSError as failure:
        raise unwritable(target, failure) from failure
    except ValueError:
        raise invalid_name(target) from None
    else:
        if stat.S_ISDIR(mode):
            raise InvalidTarget(f"{str(target)!r} is a folder: name a file in it")
        if on_conflict != "overwrite":
            raise already_exists(target)
        if not stat.S_ISREG(mode):
            raise InvalidTarget(f"{str(target)!r} is not a regular file and is not replaced")
    # Permissions are not enough: a file system may be read-only or over its quota.
    now = time.monotonic()
    if now - _writable_cache.get(folder, -math.inf) < _WRITABLE_TTL:
        return
    temporary = sibling_path(target, f"{secrets.token_hex(4)}.part")
    try:
        os.close(create_exclusive(temporary))
        temporary.unlink()
    except OSError as failure:
        raise InvalidTarget(
            f"nothing can be written in {str(folder)!r}: {reason_of(failure)}"
        ) from failure
    if len(_writable_cache) >= _MAX_CACHED:
        _writable_cache.clear()
    _writable_cache[folder] = now


def unwritable(target: Path, failure: OSError | MemoryError) -> InvalidTarget:
    """Return the error for a target that the system does not write."""
    return InvalidTarget(f"{str(target)!r} cannot be written: {reason_of(failure)}")


def invalid_name(target: Path) -> InvalidTarget:
    """Return the error for a path that is not a valid file name."""
    if not target.name:
        return InvalidTarget(f"{str(target)!r} is a folder: name a file in it")
    return InvalidTarget(f"{str(target)!r} cannot be the name of a file")


def already_exists(target: Path) -> InvalidTarget:
    """Return the error for a target that exists."""
    return InvalidTarget(
        f"{str(target)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
    )


#: Results up to this size in bytes are buffered in memory and written at once when complete.
BUFFER_LIMIT = 256 * 1024


class MemorySink:
    """Sink that collects the result in memory.

    Attributes:
        version: Version of the bytes in `ranges`, or None without any.
    """

    def __init__(self) -> None:
        self.version: Representation | None = None
        self.ranges = RangeSet()
        # Grows in place and returns its bytes without a copy; joining a list would copy them.
        self._content = io.BytesIO()

    async def restart(self, version: Representation) -> None:
        """Discard what was written, and expect the bytes of a version."""
        self.version = version
        self._content = io.BytesIO()

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write bytes; the caller may reuse their memory when this returns."""
        self._content.seek(offset)
        self._content.writelines(pieces)

    async def digest(self, size: int) -> bytes:
        """Return the hash of all bytes by the algorithm of the version, or b"" without one."""
        digest = None if self.version is None else self.version.digest
        if digest is None:
            return b""
        content = self._content.getvalue()[:size]
        hashed = hashlib.new(digest.algorithm, usedforsecurity=False)
        if len(content) <= BUFFER_LIMIT:
            hashed.update(content)
        else:
            await TrackedExecutor().run(hashed.update, content)
        return hashed.digest()

    def discard(self) -> None:
        """Do nothing: memory is not resumed."""

    def content(self) -> bytes:
        """Return the complete result."""
        return self._content.getvalue()


class FileSink:
    """Sink that writes a part file in threads; a small result is buffered until complete.

    Attributes:
        version: Version of the bytes in `ranges`, or None without any.
    """

    def __init__(self, target: Path, resume_key: tuple[str, ...] | None = None) -> None:
        """Create a sink for the target.

        Args:
            target: Final path of the download.
            resume_key: Identifies the result, if a later download is to resume this one.

        Raises:
            InvalidTarget: The path is not a valid file name.
        """
        try:
            self._file = PartFile(target, resume_key)
        except ValueError:
            raise invalid_name(target) from None
        self.version: Representation | None = None
        self._threads, self._target = TrackedExecutor(), target
        self._lock = asyncio.Lock()
        #: Buffer of a small result; the file is not opened while it is in use.
        self._buffer: MemorySink | None = None

    @contextlib.asynccontextmanager
    async def opened(
        self, on_conflict: OnConflict, before_open: Callable[[], object] | None = None
    ) -> AsyncIterator[None]:
        """Open what can be resumed; after the body, publish the result, or discard it.

        `before_open` is called first, in the same thread; its exceptions are raised.

        Raises:
            InvalidTarget: The target cannot be written; raised before the body if possible.
        """

        def resume() -> Representation | None:
            if before_open is not None:
                before_open()
            validate_target(self._target, on_conflict)
            return self._file.resume()

        try:
            with translate_os_errors(self._target):
                self.version = await self._threads.run_with_retries(resume)
            yield
            with translate_os_errors(self._target):
                await self._threads.run_with_retries(self._commit, on_conflict)
        finally:
            await self._close()

    @property
    def resumable_bytes(self) -> int:
        """Number of bytes that a later download can resume from."""
        return self._file.resumable_bytes

    @property
    def ranges(self) -> RangeSet:
        """Ranges in the file, including those of an earlier download."""
        return self._file.written

    async def restart(self, version: Representation) -> None:
        """Discard what was written, and expect the bytes of a version."""
        self.version, self._buffer = version, None
        if version.total is not None and version.total <= BUFFER_LIMIT and not self._file.is_open:
            self._buffer = MemorySink()
            await self._buffer.restart(version)
            return
        async with self._lock:
            # A write may still run after its caller was cancelled.
            await self._threads.drain()
            with translate_os_errors(self._target):
                await self._threads.run_with_retries(self._file.restart, version)

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write pieces; writes are serialised."""
        if self._buffer is not None:
            await self._buffer.write(offset, pieces)
            return
        async with self._lock:
            with translate_os_errors(self._target):
                await self._threads.run(self._file.write_at, offset, pieces)

    async def digest(self, size: int) -> bytes:
        """Hash the complete content; bytes that were written out of order are read back."""
        if self._buffer is not None:
            return await self._buffer.digest(size)
        with translate_os_errors(self._target):
            while not await self._threads.run(self._file.hash_next, size):
                pass
        return self._file.digest()

    def discard(self) -> None:
        """Mark the content as invalid, so that the file is removed on close."""
        self._file.finished, self._buffer = True, None

    def _commit(self, on_conflict: OnConflict) -> None:
        if self._buffer is None:
            self._file.publish(self._target, on_conflict)
        else:
            write_atomic(self._buffer.content(), self._target, on_conflict)
            self._buffer = None  # the result is published, even if the caller is cancelled

    async def _close(self) -> None:
        """Close the file; keep what a later download can resume from."""
        # No thread may write to a closed descriptor, whose number may be reused.
        try:
            await self._threads.drain()
        finally:
            if self._buffer is not None or self._file.is_open:
                await wait_all_uncancelled([self._threads.start(self._close_file)])

    def _close_file(self) -> None:
        buffered, self._buffer = self._buffer, None
        if buffered is not None and buffered.version is not None:
            self._file.save_initial(buffered.version, buffered.content())
        if self._file.is_open:
            self._file.close()


@contextlib.contextmanager
def translate_os_errors(target: Path) -> Iterator[None]:
    """Translate errors of the system to `InvalidTarget`."""
    try:
        yield
    except FileExistsError as failure:
        raise already_exists(target) from failure
    except AlreadyInUse as failure:
        raise InvalidTarget(
            f"{str(target)!r} is being downloaded already, here or in another process: wait until "
            "that ends, or choose another name"
        ) from failure
    except UnexpectedFile as failure:
        raise InvalidTarget(f"{str(target)!r} cannot be written: {failure}") from failure
    except (OSError, MemoryError) as failure:
        raise unwritable(target, failure) from failure
