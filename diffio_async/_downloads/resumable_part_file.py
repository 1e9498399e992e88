"""Part file that outlives a failure, with a log of the bytes that are safe on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from typing import TYPE_CHECKING

from diffio_async._downloads.part_file import PartFile
from diffio_async._downloads.ranges import RangeSet
from diffio_async._downloads.representation import Representation, parse_digest
from diffio_async._storage.atomic_write import sibling_path, sync_file
from diffio_async._storage.private_files import HardLinked, LockedFile, UnexpectedFile, open_private
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FORMAT = 1

# Bytes. A log has a line for each 32 MiB, so this is enough for hundreds of terabytes.
_MAX_LOG_SIZE = 2**26


class PartialFileLog:
    """Log beside a part file: its version, and the ranges that are safe on disk.

    Each line is JSON with a checksum, written after its bytes are on the disk; incomplete lines are
    ignored. The log is also the lock of the part file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LockedFile(path)

    @property
    def exists(self) -> bool:
        """Whether a file of this name exists."""
        return self._file.exists

    @property
    def is_open(self) -> bool:
        """Whether the log is open and locked."""
        return self._file.is_open

    def open(self) -> None:
        """Open and lock the log.

        Raises:
            OSError: The file cannot be opened or locked; `AlreadyInUse` if another process has it,
                `UnexpectedFile` if it is not a private file of this user.
        """
        self._file.open()

    def read(self) -> tuple[Representation, RangeSet] | None:
        """Return the version and the safe ranges, or None without a valid checkpoint."""
        lines = self._file.read_start(_MAX_LOG_SIZE).split(b"\n")
        entries = [fact for fact in map(_decode_line, lines) if fact is not None]
        version = _parse_version(entries[0]) if entries else None
        checkpoints = [mark for mark in map(_parse_ranges, entries[1:]) if mark is not None]
        return (version, checkpoints[-1]) if version is not None and checkpoints else None

    def restart(self, version: Representation) -> None:
        """Truncate the log and write a header for a version."""
        self._file.truncate(0)
        header = {
            "diffio": _FORMAT,
            "etag": version.etag,
            "total": version.total,
            "digest": None if version.digest is None else str(version.digest),
        }
        self._append(header)
        # Otherwise checkpoints of the previous version could reappear after a power cut.
        self._file.sync()

    def checkpoint(self, safe: RangeSet) -> None:
        """Record the ranges that are safe on disk."""
        self._append(list(safe))

    def _append(self, entry: object) -> None:
        text = json.dumps(entry, separators=(",", ":")).encode()
        # Starts a new line, even if a killed process left an incomplete one.
        self._file.append(b"\n%s %08x\n" % (text, zlib.crc32(text)))

    def close(self) -> None:
        """Close the log and release its lock."""
        self._file.close()

    def remove(self) -> None:
        """Remove the log."""
        self._file.remove()


def _decode_line(line: bytes) -> object:
    text, _, checksum = line.rpartition(b" ")
    try:
        return json.loads(text) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, RecursionError):
        return None


def _parse_version(entry: object) -> Representation | None:
    match entry:
        case {"diffio": 1, "etag": str() as etag, "total": int() as total, "digest": digest}:
            return Representation(etag, total, parse_digest(str(digest)))
        case _:
            return None


def _parse_ranges(entry: object) -> RangeSet | None:
    if not isinstance(entry, list):
        return None
    try:
        return RangeSet((int(start), int(end)) for start, end in entry)
    except (TypeError, ValueError, OverflowError):
        return None


#: Bytes and seconds after which written bytes are flushed and recorded in the log.
_SAVE_BYTES, _SAVE_SECONDS = 32 * MIB, 1.0


class ResumablePartFile(PartFile):
    """Part file with a predictable name and a log of the ranges that are safe on disk."""

    def __init__(self, target: Path, resume_key: tuple[str, ...]) -> None:
        """Derive the file names from the target and the result.

        Args:
            target: Final path of the download.
            resume_key: Identifies the result, so that another result's bytes are never resumed.
        """
        names = json.dumps([os.fsdecode(target.name), *resume_key]).encode()
        key = hashlib.sha256(names).hexdigest()[:16]
        super().__init__(sibling_path(target, f"{key}.part"))
        self._log = PartialFileLog(sibling_path(target, f"{key}.kept"))
        self._version: Representation | None = None
        self._unsaved_bytes, self._saved_at = 0, 0.0

    @property
    def is_open(self) -> bool:
        """Whether the file or its log is open."""
        return super().is_open or self._log.is_open

    def resume(self) -> Representation | None:
        """Open and lock the part file of an earlier download; return its version, or None.

        Raises:
            OSError: The file cannot be opened; `AlreadyInUse` if another process uses it.
        """
        if not self._log.exists:
            return None
        self.open()
        known = self._log.read()
        if known is None:
            return None
        version, safe = known
        # Leave at least one byte to request: the response shows whether the version is current.
        limit = min(os.fstat(self._descriptor).st_size, (version.total or 0) - 1)
        self.written, self._version = safe.before(limit), version
        self._reset_hash(version)
        self._saved_at = time.monotonic()
        return version if self.written else None

    def open(self) -> None:
        """Open and lock the file and its log.

        Raises:
            OSError: They cannot be opened; `AlreadyInUse` if another process uses them.
        """
        self._log.open()
        try:
            self._descriptor = self._open_part()
        except BaseException:
            self._log.close()
            raise

    def _open_part(self) -> int:
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

    def save_initial(self, version: Representation, content: bytes) -> None:
        """Save the first bytes of a version if an ETag identifies it."""
        if version.etag is None or not content:
            return
        with contextlib.suppress(OSError):
            self.restart(version)
            self.write_at(0, [content])

    def restart(self, version: Representation) -> None:
        """Truncate the file and the log for the bytes of a version."""
        if not self.is_open:
            self.open()
        self._version = None
        os.ftruncate(self._descriptor, 0)
        super().restart(version)
        self._version = version
        self._unsaved_bytes, self._saved_at = 0, time.monotonic()
        self._log.restart(version)

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write pieces; flush and record them at intervals."""
        super().write_at(offset, pieces)
        self._unsaved_bytes += sum(map(len, pieces))
        if self._unsaved_bytes >= _SAVE_BYTES or time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._checkpoint()

    def _checkpoint(self) -> None:
        # Without an ETag, another version's bytes could not be distinguished from these.
        if self._version is not None and self._version.etag is not None and self._unsaved_bytes:
            sync_file(self._descriptor)
            self._log.checkpoint(self.written)
        self._unsaved_bytes, self._saved_at = 0, time.monotonic()

    @property
    def resumable_bytes(self) -> int:
        """Number of bytes that a later download can resume from."""
        version = None if self.finished else self._version
        return 0 if version is None or version.etag is None else self.written.size

    def close(self) -> None:
        """Close the file; keep it if a later download can resume from it."""
        if self._descriptor >= 0 and self.resumable_bytes:
            with contextlib.suppress(OSError):
                self._checkpoint()
            self._close()
            self._log.close()
        elif self._log.is_open:
            if self._descriptor >= 0 or self.finished:
                super().close()
            self._log.remove()
