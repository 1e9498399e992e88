"""Where a result's bytes go, in any order: to memory, or by threads to a file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from typing import TYPE_CHECKING, Protocol

from diffio_async._downloads.part_file import write_atomic
from diffio_async._downloads.ranges import RangeSet
from diffio_async._downloads.target import already_exists, unwritable, validate_target
from diffio_async._storage.locked_file import InUse
from diffio_async._storage.private_files import NotOurs
from diffio_async._storage.threads import TrackedExecutor, wait_all_uncancelled
from diffio_async.errors import InvalidTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from diffio_async._downloads.part_file import PartFile
    from diffio_async._downloads.ranges import Representation
    from diffio_async.types import OnConflict


#: Bytes of a result that is held until it is whole: a file is then written in one go.
BUFFER_LIMIT = 256 * 1024


class Sink(Protocol):
    """Takes a result's bytes.

    Attributes:
        version: Of the bytes that are there already, None where none are.
        ranges: Those bytes.
    """

    version: Representation | None

    @property
    def ranges(self) -> RangeSet:
        """The bytes that are there."""
        ...

    async def restart(self, version: Representation) -> None:
        """Forget what was written; what comes now is of this version."""
        ...

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Take bytes; when this returns, their memory is the caller's again."""
        ...

    async def digest(self, size: int) -> bytes:
        """What all of it hashes to, by the version's algorithm if there is one."""
        ...

    def discard(self) -> None:
        """What is there is not what it should be: nobody goes on with it."""
        ...


class MemorySink:
    """Keeps the result in memory."""

    def __init__(self) -> None:
        self.version: Representation | None = None
        self.ranges = RangeSet()
        # Grows in place and gives its bytes away uncopied; a list, joined, would need them twice.
        self._content = io.BytesIO()

    async def restart(self, version: Representation) -> None:
        """Forget what was written."""
        self.version = version
        self._content = io.BytesIO()

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Keep."""
        self._content.seek(offset)
        self._content.writelines(pieces)

    async def digest(self, size: int) -> bytes:
        """Hash it all at the end; what is large in a thread."""
        digest = None if self.version is None else self.version.digest
        if digest is None:
            return b""
        held = self._content.getvalue()[:size]
        hashed = hashlib.new(digest.algorithm, usedforsecurity=False)
        if len(held) <= BUFFER_LIMIT:
            hashed.update(held)
        else:
            await TrackedExecutor().run(hashed.update, held)
        return hashed.digest()

    def discard(self) -> None:
        """Nothing of it is kept anyway."""

    def content(self) -> bytes:
        """The whole result."""
        return self._content.getvalue()


class FileSink:
    """A temporary file, written by threads; a small result is held and written when it is whole."""

    def __init__(self, file: PartFile, threads: TrackedExecutor, target: Path) -> None:
        self.file = file
        self.version: Representation | None = None
        self._threads, self._target = threads, target
        self._turn = asyncio.Lock()
        #: What is held; the file is not opened as long as that is enough.
        self._held: MemorySink | None = None

    @property
    def ranges(self) -> RangeSet:
        """The bytes that were there when the download began, and all since."""
        return self.file.written

    async def restart(self, version: Representation) -> None:
        """Empty the file."""
        self.version, self._held = version, None
        if version.total is not None and version.total <= BUFFER_LIMIT and not self.file.opened:
            self._held = MemorySink()
            await self._held.restart(version)
            return
        async with self._turn:
            # A write goes on when its caller was cancelled.
            await self._threads.drain()
            with translate_os_errors(self._target):
                await self._threads.patiently(self.file.begin, version)

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write, one after the other."""
        if self._held is not None:
            await self._held.write(offset, pieces)
            return
        async with self._turn:
            with translate_os_errors(self._target):
                await self._threads.run(self.file.write_at, offset, pieces)

    async def digest(self, size: int) -> bytes:
        """What the whole hashes to; bytes that came out of order are read back for it."""
        if self._held is not None:
            return await self._held.digest(size)
        with translate_os_errors(self._target):
            while not await self._threads.run(self.file.hash_next, size):
                pass
        return self.file.digest()

    def discard(self) -> None:
        """Remove it in the end."""
        self.file.finished, self._held = True, None

    async def commit(self, on_conflict: OnConflict) -> None:
        """Give the result its name."""
        with translate_os_errors(self._target):
            await self._threads.patiently(self._commit, on_conflict)

    def _commit(self, on_conflict: OnConflict) -> None:
        if self._held is None:
            self.file.publish(self._target, on_conflict)
        else:
            write_atomic(self._held.content(), self._target, on_conflict)
            self._held = None  # now: whoever is cancelled meanwhile has the result all the same

    async def close(self) -> None:
        """Close the file, and leave what a later download goes on from, or nothing."""
        # No thread may write to a descriptor that is closed, and perhaps another's by then.
        try:
            await self._threads.drain()
        finally:
            if self._held is not None or self.file.opened:
                await wait_all_uncancelled([self._threads.begin(self._close)])

    def _close(self) -> None:
        held, self._held = self._held, None
        if held is not None and held.version is not None:
            self.file.save_initial(held.version, held.content())
        if self.file.opened:
            self.file.close()


@contextlib.contextmanager
def translate_os_errors(target: Path) -> Iterator[None]:
    """Turn what the system says into errors of ours."""
    try:
        yield
    except FileExistsError as failure:
        raise already_exists(target) from failure
    except InUse as failure:
        raise InvalidTarget(
            f"{str(target)!r} is being downloaded already, here or in another process: wait for "
            "that, or choose another name"
        ) from failure
    except NotOurs as failure:
        raise InvalidTarget(f"{str(target)!r} cannot be written: {failure}") from failure
    except (OSError, MemoryError) as failure:
        raise unwritable(target, failure) from failure


@contextlib.asynccontextmanager
async def open_sink(
    file: PartFile, target: Path, on_conflict: OnConflict
) -> AsyncIterator[FileSink]:
    """A sink whose content stands under the target's name after the body, or nowhere.

    Raises:
        InvalidTarget: The folder, the disk or the name stands in the way, as is found before the
            body where it can be.
    """
    threads = TrackedExecutor()
    sink = FileSink(file, threads, target)
    try:
        with translate_os_errors(target):
            sink.version = await threads.patiently(_open_resumable, file, target, on_conflict)
        yield sink
        await sink.commit(on_conflict)
    finally:
        await sink.close()


def _open_resumable(file: PartFile, target: Path, on_conflict: OnConflict) -> Representation | None:
    validate_target(target, on_conflict)
    return file.resume()
