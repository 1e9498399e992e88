"""File work, kept off the loop by a few threads of the sandbox's own."""

import asyncio
import contextlib
import hashlib
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from attrs import frozen

from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.responses import HttpError

# One hop to a thread costs about 50 µs: worth it by the megabyte, not by the packet.
BATCH = 1024 * 1024

_P = ParamSpec("_P")
_T = TypeVar("_T")


@frozen
class Received:
    """What landed: its size in bytes and a strong validator of its content."""

    size: int
    etag: str


class Disk:
    """Runs file work in threads; `close` waits for what was begun."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="diffio-sandbox-disk")

    async def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do blocking work in a thread and wait for it."""
        future = self._threads.submit(work, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def later(self, work: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Do blocking work in a thread and wait for it no sooner than `close`."""
        self._threads.submit(work, *args, **kwargs)

    def close(self) -> None:
        """Finish what was begun and end the threads."""
        self._threads.shutdown(wait=True)

    async def receive(self, incoming: IncomingRequest, target: Path, *, limit: int) -> Received:
        """Stream a request's body into `target`, which appears whole or not at all.

        Args:
            incoming: The request.
            target: The file to make or replace.
            limit: Most bytes to take.

        Raises:
            Refusal: 400 when the body is over `limit`.
        """
        declared = incoming.declared_length
        if declared is not None and declared > limit:
            raise too_large(limit)
        file = await self.run(_PartialFile, target)
        try:
            return await self._receive(incoming, file, limit)
        except BaseException:
            # Cancelled perhaps in the middle of a write: a thread cleans up after that write.
            self.later(file.discard)
            raise

    async def _receive(
        self, incoming: IncomingRequest, file: "_PartialFile", limit: int
    ) -> Received:
        batch: list[bytes] = []
        size = waiting = 0
        writing: asyncio.Future[None] | None = None
        while chunk := await incoming.read_some():
            batch.append(chunk)
            size += len(chunk)
            waiting += len(chunk)
            if size > limit:
                raise too_large(limit)
            if waiting >= BATCH:
                # One batch is written while the next comes in; never more than these two.
                if writing is not None:
                    await writing
                writing = asyncio.wrap_future(self._threads.submit(file.write, batch))
                batch, waiting = [], 0
        if writing is not None:
            await writing
        return await self.run(file.finish, batch)


def too_large(limit: int) -> HttpError:
    """Refuse bytes beyond a limit."""
    return HttpError(400, f"more than {limit} bytes", code="EntityTooLarge")


class _PartialFile:
    """A file that grows under a passing name; used by one thread at a time."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._target = target
        self._passing = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
        self._file: IO[bytes] = self._passing.open("xb")
        self._digest = hashlib.sha256()
        self._turn = threading.Lock()
        self._size = 0

    def write(self, chunks: Sequence[bytes]) -> None:
        with self._turn:
            if self._file.closed:  # discarded while this waited for its turn
                return
            batch = b"".join(chunks)
            self._file.write(batch)
            self._digest.update(batch)
            self._size += len(batch)

    def finish(self, chunks: Sequence[bytes]) -> Received:
        self.write(chunks)
        with self._turn:
            self._file.close()
            self._passing.replace(self._target)
        return Received(self._size, self._digest.hexdigest()[:32])

    def discard(self) -> None:
        with self._turn:
            self._file.close()
            self._passing.unlink(missing_ok=True)


def join_parts(parts: Sequence[Path], target: Path) -> None:
    """Make one file of many, which stay; it appears whole or not at all."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    passing = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        _concatenate(parts, passing)
        passing.replace(target)
    finally:
        passing.unlink(missing_ok=True)


def _concatenate(parts: Sequence[Path], whole: Path) -> None:
    if len(parts) == 1:
        with contextlib.suppress(OSError):
            # One part is the whole file: a second name for it costs nothing.
            whole.hardlink_to(parts[0])
            return
    with whole.open("xb") as out:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, out, BATCH)


def digest_of(file: Path) -> str:
    """Compute a strong validator of a file's content."""
    return sha256_of(file).hex()[:32]


def sha256_of(file: Path) -> bytes:
    """Hash a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def read_slice(file: Path, start: int, length: int) -> bytes:
    """Read a stretch of a file."""
    with file.open("rb") as content:
        content.seek(start)
        return content.read(length)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale(folder: Path, *, keep: Collection[str]) -> None:
    """Remove what a killed process left half-written, and parts of no upload to `keep`."""
    for leftover in folder.glob("*/*/*.partial"):
        leftover.unlink(missing_ok=True)
    for working in folder.glob("results/*/.working"):
        remove_tree(working)
    for parts in folder.glob("parts/*"):
        if parts.name not in keep:
            remove_tree(parts)
