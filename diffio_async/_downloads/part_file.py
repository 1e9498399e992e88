"""Temporary file of a download, and the log from which a later download resumes it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import time
import zlib
from typing import TYPE_CHECKING, Any

from diffio_async import _system
from diffio_async._downloads.ranges import RangeSet, Representation, parse_digest
from diffio_async._storage.append_log import AppendLog, DamagedLog, ForeignLog
from diffio_async._storage.files import (
    HardLinked,
    UnexpectedFile,
    create_exclusive,
    open_private,
    publish,
    sibling_path,
)
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from diffio_async.types import OnConflict

#: Bytes to read back and hash per call, which bounds the delay of a cancellation.
_MAX_HASH_STEP = 32 * MIB

#: Bytes and seconds after which written bytes are flushed and recorded in the log.
_SAVE_BYTES, _SAVE_SECONDS = 32 * MIB, 1.0

#: First bytes of a log in the format of this version.
_LOG_PREFIX = b'{"diffio": 1,'


class PartFile:
    """Temporary file beside the target, published under the target's name when it is complete.

    With a resume key, the file has a predictable name and outlives a failure. A log beside it
    contains the version of the result and the ranges that are safe on disk, and is its lock.
    Otherwise it has a unique name and is removed when it is closed.
    """

    def __init__(self, target: Path, resume_key: tuple[str, ...] | None = None) -> None:
        """Derive the file names from the target and the result.

        Args:
            target: Final path of the download.
            resume_key: Identifies the result, so that another result's bytes are never resumed.
        """
        key, self._log = secrets.token_hex(4), None
        if resume_key is not None:
            names = json.dumps([os.fsdecode(target.name), *resume_key]).encode()
            key = hashlib.sha256(names).hexdigest()[:16]
            self._log = AppendLog(sibling_path(target, f"{key}.kept"))
        self.path = sibling_path(target, f"{key}.part")
        self.written = RangeSet()
        #: Whether the file must not be resumed: it is published, or its content is invalid.
        self.finished = False
        self._version: Representation | None = None
        self._descriptor = -1
        self._hash: hashlib._Hash | None = None
        self._hashed = 0
        self._unsaved_bytes, self._saved_at = 0, 0.0

    @property
    def is_open(self) -> bool:
        """Whether the file or its log is open."""
        return self._descriptor >= 0 or (self._log is not None and self._log.is_open)

    @property
    def resumable_bytes(self) -> int:
        """Number of bytes that a later download can resume from."""
        return self.written.size if self._is_resumable() and not self.finished else 0

    def _is_resumable(self) -> bool:
        # Without an ETag, another version's bytes could not be distinguished from these.
        version = self._version
        return self._log is not None and version is not None and version.etag is not None

    def resume(self) -> Representation | None:
        """Open the part file of an earlier download, if any; return the version of its bytes.

        Raises:
            OSError: The file cannot be opened; `AlreadyInUse` if another process uses it.
        """
        if self._log is None or not self._log.exists:
            return None
        self._open()
        known = _read_log(self._log)
        if known is None:
            return None
        version, safe = known
        # Leave at least one byte to request: the response shows whether the version is current.
        limit = min(os.fstat(self._descriptor).st_size, (version.total or 0) - 1)
        self.written, self._version = safe.before(limit), version
        self._reset_hash(version)
        self._saved_at = time.monotonic()
        return version if self.written else None

    def _open(self) -> None:
        """Open the file, creating it if missing; lock it by its log if it has one."""
        if self._log is None:
            self._descriptor = create_exclusive(self.path)
            return
        self._log.open()
        try:
            self._descriptor = self._open_shared()
        except BaseException:
            self._log.close()
            raise

    def _open_shared(self) -> int:
        while True:
            try:
                return open_private(self.path, mode=0o666)
            except HardLinked:
                # Left by a process that was killed between publishing and removing it.
                self.path.unlink(missing_ok=True)
            except UnexpectedFile as failure:
                raise UnexpectedFile(
                    f"{self.path.name!r} is in the way: remove it ({failure})"
                ) from None

    def restart(self, version: Representation) -> None:
        """Truncate the file, creating it if missing, for the bytes of a version.

        Raises:
            OSError: The file cannot be created or truncated, or the disk has too little space.
        """
        if not self.is_open:
            self._open()
        self._version, self.written = None, RangeSet()
        os.ftruncate(self._descriptor, 0)
        _check_free_space(self._descriptor, version.total or 0)
        self._reset_hash(version)
        self._version = version
        self._unsaved_bytes, self._saved_at = 0, time.monotonic()
        if self._log is not None:
            self._log.clear()
            # Otherwise checkpoints of the previous version could reappear after a power cut.
            self._log.append(_log_header(version), sync=True)

    def save_initial(self, version: Representation, content: bytes) -> None:
        """Save the first bytes of a version, if a later download can resume from them."""
        if self._log is None or version.etag is None or not content:
            return
        with contextlib.suppress(OSError):
            self.restart(version)
            self.write_at(0, [content])

    def _reset_hash(self, version: Representation) -> None:
        digest, self._hashed = version.digest, 0
        self._hash = (
            None if digest is None else hashlib.new(digest.algorithm, usedforsecurity=False)
        )

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write pieces one after another, starting at `offset`; record them at intervals.

        Raises:
            OSError: The disk is full or was removed.
        """
        end = offset
        for end in _write_all(self._descriptor, offset, pieces):
            self.written.add(offset, end)
        if self._hash is not None and offset == self._hashed:
            for piece in pieces:
                self._hash.update(piece)
            self._hashed = end
        self._unsaved_bytes += end - offset
        if self._unsaved_bytes >= _SAVE_BYTES or time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self._log is not None and self._is_resumable() and self._unsaved_bytes:
            _system.sync_file(self._descriptor)
            self._log.append(_checkpoint(self.written), sync=False)
        self._unsaved_bytes, self._saved_at = 0, time.monotonic()

    def hash_next(self, size: int) -> bool:
        """Read back and hash more of `size` bytes; return whether all of them are hashed."""
        if os.fstat(self._descriptor).st_size != size:
            raise OSError(None, "another program changed the length of what was downloaded so far")
        if self._hash is None:
            return True
        buffer, limit = bytearray(MIB), min(size, self._hashed + _MAX_HASH_STEP)
        os.lseek(self._descriptor, self._hashed, os.SEEK_SET)
        with memoryview(buffer) as view, open(self._descriptor, "rb", 0, closefd=False) as file:
            while self._hashed < limit:
                count = file.readinto(view[: limit - self._hashed])
                if not count:
                    raise OSError(None, "another program cut off what was downloaded so far")
                self._hash.update(view[:count])
                self._hashed += count
        return self._hashed == size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read back what was written; an `OSError` if the file has become shorter."""
        data = b""
        while len(data) < length:
            more = _system.read_at(self._descriptor, length - len(data), offset + len(data))
            if not more:
                raise OSError(None, "another program cut off what was downloaded so far")
            data += more
        return data

    def digest(self) -> bytes:
        """Return the hash of all bytes, or b"" if the version has no digest."""
        return b"" if self._hash is None else self._hash.digest()

    def publish(self, target: Path, on_conflict: OnConflict) -> None:
        """Give the file its final name.

        Raises:
            OSError: The file cannot be flushed, renamed or linked.
        """
        _system.sync_file(self._descriptor)
        if _system.MOVES_OPEN_FILES:
            publish(self.path, target, on_conflict)
        else:
            self._close_descriptor()
            try:
                publish(self.path, target, on_conflict)
            finally:
                # `close` keeps or removes what has the temporary name still.
                with contextlib.suppress(OSError):
                    self._descriptor = os.open(self.path, os.O_RDWR)
        self.finished = True

    def remove_left(self, *, also_in_use: bool) -> None:
        """Remove what another download of this result has left.

        Args:
            also_in_use: Whether to remove it while the other download runs, which then fails.
        """
        with contextlib.suppress(OSError):
            if also_in_use and self._log is not None:
                self._log.path.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
            else:
                self.resume()
                self.finished = self.is_open
        self.close()

    def close(self) -> None:
        """Close the file; keep it if a later download can resume from it, else remove it.

        Errors are ignored: the exception that ended the download matters more.
        """
        if self._descriptor >= 0 and self.resumable_bytes:
            with contextlib.suppress(OSError):
                self._checkpoint()
            self._close_descriptor()
            if self._log is not None:
                self._log.close()
            return
        if self._descriptor >= 0 or self.finished:
            self._close_descriptor()
            with contextlib.suppress(OSError):
                self.path.unlink()
        if self._log is not None and self._log.is_open:
            self._log.remove()

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)


def write_atomic(content: bytes, target: Path, on_conflict: OnConflict) -> None:
    """Write a file under a temporary name, then publish it.

    Raises:
        OSError: The file cannot be written or published; nothing is left behind.
    """
    file = PartFile(target)
    try:
        file.restart(Representation(etag=None, total=len(content)))
        file.write_at(0, [content])
        file.publish(target, on_conflict)
    finally:
        file.close()


def _log_header(version: Representation) -> dict[str, Any]:
    digest = None if version.digest is None else str(version.digest)
    return {"diffio": 1, "etag": version.etag, "total": version.total, "digest": digest}


def _checkpoint(safe: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """Return the log entry of ranges, with a checksum: the log is not synced with each entry."""
    ranges = [[start, end] for start, end in safe]
    return {"safe": ranges, "crc": zlib.crc32(json.dumps(ranges).encode())}


def _read_log(log: AppendLog) -> tuple[Representation, RangeSet] | None:
    """Return the version and the ranges of the last valid checkpoint, or None without one."""
    header: Any = None
    ranges: Any = None
    try:
        for entry in log.read(_LOG_PREFIX):
            if header is None:
                header = entry
            elif isinstance(entry, dict) and entry == _checkpoint(entry.get("safe") or ()):
                ranges = entry["safe"]
    except (ForeignLog, DamagedLog, TypeError, ValueError, OverflowError):
        # What comes after a damaged line is not used; an earlier checkpoint is.
        pass
    match header:
        case {"etag": str() as etag, "total": int() as total, "digest": digest} if ranges:
            safe = RangeSet((int(start), int(end)) for start, end in ranges)
            with contextlib.suppress(ValueError):
                return Representation(etag, total, parse_digest(str(digest))), safe
    return None


def _check_free_space(descriptor: int, size: int) -> None:
    """Fail early if the disk has too little space; 0 means unknown on some network file systems."""
    free = _system.free_bytes(descriptor)
    if 0 < free < size:
        message = os.strerror(errno.ENOSPC)
        raise OSError(errno.ENOSPC, f"{message}: {size:,} bytes are needed, {free:,} are free")


def _write_all(descriptor: int, offset: int, pieces: Sequence[bytes | memoryview]) -> Iterator[int]:
    """Write all pieces; yield the end offset of the written bytes after each write."""
    remaining = [memoryview(piece) for piece in pieces]
    while remaining:
        count = _system.write_at(descriptor, remaining, offset)
        offset += count
        while remaining and count >= len(remaining[0]):
            count -= len(remaining.pop(0))
        if remaining:
            remaining[0] = remaining[0][count:]
        yield offset
