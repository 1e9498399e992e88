"""Data folder of a sandbox: a SQLite file of records, and the files of recordings."""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from attrs import frozen

from diffio_async.sandbox.messages import HttpError, IncomingRequest
from diffio_async.sandbox.settings import SandboxError
from diffio_async.sandbox.system import effective_user, make_private

_FILE = "sandbox.sqlite3"


class Store:
    """JSON rows by kind and id.

    Write-ahead logging without an fsync per row: a killed process loses nothing, a power failure
    may lose the last rows. A row takes tens of microseconds, so it is written on the event loop.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / _FILE
        check_owned(folder, (_FILE, *(f"{_FILE}-{suffix}" for suffix in ("wal", "shm", "journal"))))
        # Webhook secrets are stored in plain text, so the file must be private.
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(file, flags, 0o600)
        try:
            make_private(descriptor)
        finally:
            os.close(descriptor)
        self._rows = sqlite3.connect(file, timeout=0, isolation_level=None)
        try:
            # The exclusive lock prevents two sandboxes in one folder.
            self._rows.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute("PRAGMA synchronous=NORMAL")
            self._rows.execute(
                "CREATE TABLE IF NOT EXISTS records (kind TEXT, id TEXT, body TEXT,"
                " PRIMARY KEY (kind, id)) WITHOUT ROWID"
            )
            self._rows.execute("BEGIN IMMEDIATE")
            self._rows.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._rows.close()
            raise SandboxError(f"another sandbox is using {folder} ({error})") from error
        except sqlite3.DatabaseError as error:
            self._rows.close()
            raise SandboxError(f"{file} is not a sandbox's data ({error})") from error

    def put(self, kind: str, key: str, body: dict[str, Any]) -> None:
        """Write or replace one row."""
        self._rows.execute("REPLACE INTO records VALUES (?, ?, ?)", (kind, key, json.dumps(body)))

    def drop(self, kind: str, key: str) -> None:
        """Delete one row, if it exists."""
        self._rows.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, key))

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a kind."""
        for (body,) in self._rows.execute("SELECT body FROM records WHERE kind = ?", (kind,)):
            yield json.loads(body)

    def close(self) -> None:
        """Close the file and release its lock."""
        self._rows.close()


_OTHERS_WRITE = 0o022


def check_owned(folder: Path, names: tuple[str, ...]) -> None:
    """Check that no other user can have created or changed the files of a data folder.

    The folder contains keys and recordings of other people.

    Args:
        folder: The data folder, which exists.
        names: Names of its files; missing files are skipped.

    Raises:
        SandboxError: The folder or a file belongs to another user, is a link, or is writable by
            others.
        OSError: The folder or a file cannot be read.
    """
    user = effective_user()
    if user is None:
        return
    _check(folder, folder.stat(), user, is_folder=True)
    for name in names:
        file = folder / name
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        _check(file, status, user, is_folder=False)


def _check(path: Path, status: os.stat_result, user: int, *, is_folder: bool) -> None:
    if not is_folder and (not stat.S_ISREG(status.st_mode) or status.st_nlink > 1):
        raise SandboxError(f"{path} is not a regular file, or has a second name: remove it")
    # Root can change everything anyway. A folder may be shared, like /tmp.
    if status.st_uid not in {user, 0}:
        raise SandboxError(
            f"{path} belongs to another user ({status.st_uid}), who may have changed it: "
            "choose another folder"
        )
    if not is_folder and status.st_mode & _OTHERS_WRITE:
        raise SandboxError(
            f"others may write to {path} (mode {stat.S_IMODE(status.st_mode):o}): make it private "
            "with chmod 600, or choose another folder"
        )


# A thread switch costs about 50 µs, so bytes are written in batches, not per packet.
BATCH_BYTES = 1024 * 1024

_P = ParamSpec("_P")
_T = TypeVar("_T")


@frozen
class Received:
    """A received body: its size in bytes and the strong validator of its content."""

    size: int
    etag: str


class Disk:
    """A thread pool for file I/O; `close` waits for the calls that are running."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="diffio-sandbox-disk")

    async def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a blocking call in a thread, and return its result."""
        future = self._threads.submit(work, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def run_in_background(
        self, work: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Start a blocking call in a thread; only `close` waits for it."""
        self._threads.submit(work, *args, **kwargs)

    def close(self) -> None:
        """Wait for the calls that are running, and end the threads."""
        self._threads.shutdown(wait=True)

    async def receive(self, incoming: IncomingRequest, target: Path, *, limit: int) -> Received:
        """Stream the body of a request into `target`, which appears complete or not at all.

        Args:
            incoming: The request.
            target: The file to create or replace.
            limit: Maximum number of bytes.

        Raises:
            HttpError: 400 if the body exceeds `limit`.
        """
        declared = incoming.declared_length
        if declared is not None and declared > limit:
            raise too_large(limit)
        file = _PartialFile(target)
        try:
            return await self._receive(incoming, file, limit)
        except BaseException:
            # A write may still be running if this was cancelled: a thread cleans up after it.
            self.run_in_background(file.discard)
            raise

    async def _receive(
        self, incoming: IncomingRequest, file: "_PartialFile", limit: int
    ) -> Received:
        batch: list[bytes] = []
        size = batch_bytes = 0
        writing: asyncio.Future[None] | None = None
        while chunk := await incoming.read_some():
            batch.append(chunk)
            size += len(chunk)
            batch_bytes += len(chunk)
            if size > limit:
                raise too_large(limit)
            if batch_bytes >= BATCH_BYTES:
                # One batch is written while the next is received; memory holds at most these two.
                if writing is not None:
                    await writing
                writing = asyncio.wrap_future(self._threads.submit(file.write, batch))
                batch, batch_bytes = [], 0
        if writing is not None:
            await writing
        return await self.run(file.finish, batch)


def too_large(limit: int) -> HttpError:
    """Return the error for a body over a limit."""
    return HttpError(400, f"more than {limit} bytes", code="EntityTooLarge", is_violation=True)


class _PartialFile:
    """A file that is written under a temporary name; used by one thread at a time.

    The first write creates it, so that `discard` always has the file to close.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._discarded = False
        self._size = 0

    def write(self, chunks: Sequence[bytes]) -> None:
        with self._lock:
            self._append(chunks)

    def _append(self, chunks: Sequence[bytes]) -> None:
        if self._discarded:  # while this waited for the lock
            return
        if self._file is None:
            self._target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = self._temporary.open("xb")
        batch = b"".join(chunks)
        self._file.write(batch)
        self._digest.update(batch)
        self._size += len(batch)

    def finish(self, chunks: Sequence[bytes]) -> Received:
        with self._lock:
            self._append(chunks)
            if self._file is not None:
                self._file.close()
                self._temporary.replace(self._target)
        return Received(self._size, self._digest.hexdigest()[:32])

    def discard(self) -> None:
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                self._temporary.unlink(missing_ok=True)


def join_parts(parts: Sequence[Path], target: Path) -> None:
    """Concatenate files into one, which appears complete or not at all; the parts remain."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        _concatenate(parts, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _concatenate(parts: Sequence[Path], target: Path) -> None:
    if len(parts) == 1:
        with contextlib.suppress(OSError):
            # A single part is the complete file: a hard link avoids the copy.
            target.hardlink_to(parts[0])
            return
    with target.open("xb") as out:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, out, BATCH_BYTES)


def content_etag(file: Path) -> str:
    """Return a strong validator of the content of a file."""
    return sha256_of(file).hex()[:32]


def sha256_of(file: Path) -> bytes:
    """Return the SHA-256 digest of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def read_slice(file: Path, start: int, length: int) -> bytes:
    """Return `length` bytes of a file from `start`."""
    with file.open("rb") as content:
        content.seek(start)
        return content.read(length)


def remove_tree(folder: Path) -> None:
    """Remove a folder and its contents, if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale(folder: Path, *, keep: Collection[str]) -> None:
    """Remove files left by a killed process, and parts of uploads that are not in `keep`."""
    for leftover in folder.glob("*/*/*.partial"):
        leftover.unlink(missing_ok=True)
    for name in (".working", ".transcribing"):
        for working in folder.glob(f"results/*/{name}"):
            remove_tree(working)
    for parts in folder.glob("parts/*"):
        if parts.name not in keep:
            remove_tree(parts)
