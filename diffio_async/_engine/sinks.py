"""Where a result's bytes go, in any order: to memory, or by threads to a file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from typing import TYPE_CHECKING, Protocol

from diffio_async._engine.locked_file import InUse
from diffio_async._engine.private_files import NotOurs
from diffio_async._engine.targets import checked, exists, unwritable
from diffio_async._engine.temporaries import placed_whole
from diffio_async._engine.threads import Threads, all_settled
from diffio_async._wire.spans import Spans
from diffio_async.errors import TargetUnusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from diffio_async._engine.temporaries import Temporary
    from diffio_async._wire.ranges import Version
    from diffio_async.types import OnConflict


#: Bytes of a result that is held until it is whole: a file is then written in one go.
HELD = 256 * 1024


class Sink(Protocol):
    """Takes a result's bytes.

    Attributes:
        version: Of the bytes that are there already, None where none are.
        there: Those bytes.
    """

    version: Version | None

    @property
    def there(self) -> Spans:
        """The bytes that are there."""
        ...

    async def begin(self, version: Version) -> None:
        """Forget what was written; what comes now is of this version."""
        ...

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Take bytes; when this returns, their memory is the caller's again."""
        ...

    async def digest(self, size: int) -> bytes:
        """What all of it hashes to, by the version's algorithm if there is one."""
        ...

    def spoil(self) -> None:
        """What is there is not what it should be: nobody goes on with it."""
        ...


class MemorySink:
    """Keeps the result in memory."""

    def __init__(self) -> None:
        self.version: Version | None = None
        self.there = Spans()
        # Grows in place and gives its bytes away uncopied; a list, joined, would need them twice.
        self._held = io.BytesIO()

    async def begin(self, version: Version) -> None:
        """Forget what was written."""
        self.version = version
        self._held = io.BytesIO()

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Keep."""
        self._held.seek(offset)
        self._held.writelines(pieces)

    async def digest(self, size: int) -> bytes:
        """Hash it all at the end; what is large in a thread."""
        digest = None if self.version is None else self.version.digest
        if digest is None:
            return b""
        held = self._held.getvalue()[:size]
        hashed = hashlib.new(digest.algorithm, usedforsecurity=False)
        if len(held) <= HELD:
            hashed.update(held)
        else:
            await Threads().run(hashed.update, held)
        return hashed.digest()

    def spoil(self) -> None:
        """Nothing of it is kept anyway."""

    def content(self) -> bytes:
        """The whole result."""
        return self._held.getvalue()


class FileSink:
    """A temporary file, written by threads; a small result is held and written when it is whole."""

    def __init__(self, file: Temporary, threads: Threads, target: Path) -> None:
        self.file = file
        self.version: Version | None = None
        self._threads, self._target = threads, target
        self._turn = asyncio.Lock()
        #: What is held; the file is not opened as long as that is enough.
        self._held: MemorySink | None = None

    @property
    def there(self) -> Spans:
        """The bytes that were there when the download began, and all since."""
        return self.file.there

    async def begin(self, version: Version) -> None:
        """Empty the file."""
        self.version, self._held = version, None
        if version.total is not None and version.total <= HELD and not self.file.opened:
            self._held = MemorySink()
            await self._held.begin(version)
            return
        async with self._turn:
            # A write goes on when its caller was cancelled.
            await self._threads.settle()
            with named(self._target):
                await self._threads.patiently(self.file.begin, version)

    async def write(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write, one after the other."""
        if self._held is not None:
            await self._held.write(offset, pieces)
            return
        async with self._turn:
            with named(self._target):
                await self._threads.run(self.file.put, offset, pieces)

    async def digest(self, size: int) -> bytes:
        """What the whole hashes to; bytes that came out of order are read back for it."""
        if self._held is not None:
            return await self._held.digest(size)
        with named(self._target):
            while not await self._threads.run(self.file.hashed_on, size):
                pass
        return self.file.digest()

    def spoil(self) -> None:
        """Remove it in the end."""
        self.file.over, self._held = True, None

    async def commit(self, on_conflict: OnConflict) -> None:
        """Give the result its name."""
        with named(self._target):
            await self._threads.patiently(self._commit, on_conflict)

    def _commit(self, on_conflict: OnConflict) -> None:
        if self._held is None:
            self.file.commit(self._target, on_conflict)
        else:
            placed_whole(self._held.content(), self._target, on_conflict)
            self._held = None  # now: whoever is cancelled meanwhile has the result all the same

    async def leave(self) -> None:
        """Close the file, and leave what a later download goes on from, or nothing."""
        # No thread may write to a descriptor that is closed, and perhaps another's by then.
        try:
            await self._threads.settle()
        finally:
            if self._held is not None or self.file.opened:
                await all_settled([self._threads.begin(self._leave)])

    def _leave(self) -> None:
        held, self._held = self._held, None
        if held is not None and held.version is not None:
            self.file.keep(held.version, held.content())
        if self.file.opened:
            self.file.leave()


@contextlib.contextmanager
def named(target: Path) -> Iterator[None]:
    """Turn what the system says into errors of ours."""
    try:
        yield
    except FileExistsError as failure:
        raise exists(target) from failure
    except InUse as failure:
        raise TargetUnusable(
            f"{str(target)!r} is being downloaded already, here or in another process: wait for "
            "that, or choose another name"
        ) from failure
    except NotOurs as failure:
        raise TargetUnusable(f"{str(target)!r} cannot be written: {failure}") from failure
    except (OSError, MemoryError) as failure:
        raise unwritable(target, failure) from failure


@contextlib.asynccontextmanager
async def written(
    file: Temporary, target: Path, on_conflict: OnConflict
) -> AsyncIterator[FileSink]:
    """A sink whose content stands under the target's name after the body, or nowhere.

    Raises:
        TargetUnusable: The folder, the disk or the name stands in the way, as is found before the
            body where it can be.
    """
    threads = Threads()
    sink = FileSink(file, threads, target)
    try:
        with named(target):
            sink.version = await threads.patiently(_found, file, target, on_conflict)
        yield sink
        await sink.commit(on_conflict)
    finally:
        await sink.leave()


def _found(file: Temporary, target: Path, on_conflict: OnConflict) -> Version | None:
    checked(target, on_conflict)
    return file.found()
