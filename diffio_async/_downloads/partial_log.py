"""What is known of a file that is half downloaded, kept beside it: which version, which bytes."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from diffio_async._downloads import digests
from diffio_async._downloads.ranges import RangeSet, Representation
from diffio_async._storage.locked_file import LockedFile

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 1
# A journal has a line for each 32 MiB; this is enough for hundreds of terabytes.
_LONGEST = 2**26


class PartialFileLog:
    """Lines of JSON, each with its checksum: the version, then all the bytes that are safe.

    A line is written when the bytes it tells of are on the disk; a torn one is passed over. The
    file is the lock, too.
    """

    def __init__(self, path: Path) -> None:
        self._file = LockedFile(path)

    @property
    def exists(self) -> bool:
        """Whether something stands under its name."""
        return self._file.there

    @property
    def is_open(self) -> bool:
        """Whether it is open, and so nobody else's."""
        return self._file.mine

    def open(self) -> None:
        """Open it for this process alone.

        Raises:
            OSError: The file cannot be opened or locked; `AlreadyInUse` if another process has it,
                `UnexpectedFile` if it is not a private file of this user.
        """
        self._file.open()

    def read(self) -> tuple[Representation, RangeSet] | None:
        """The version and the bytes that are safe, None where nothing is."""
        lines = self._file.start(_LONGEST).split(b"\n")
        said = [fact for fact in map(_encode_line, lines) if fact is not None]
        version = _version(said[0]) if said else None
        marks = [mark for mark in map(_spans, said[1:]) if mark is not None]
        return (version, marks[-1]) if version is not None and marks else None

    def begin(self, version: Representation) -> None:
        """Forget what was written; what comes now is of this version."""
        self._file.cut(0)
        told = {
            "diffio": _FORMAT,
            "etag": version.etag,
            "total": version.total,
            "digest": None if version.digest is None else str(version.digest),
        }
        self._append(told)
        # Or else, after a power cut, the marks of the version before could come back.
        self._file.sync()

    def checkpoint(self, safe: RangeSet) -> None:
        """These bytes are on the disk."""
        self._append(list(safe))

    def _append(self, said: object) -> None:
        text = json.dumps(said, separators=(",", ":")).encode()
        # On a line of its own, even where a killed process tore the one before.
        self._file.append(b"\n%s %08x\n" % (text, zlib.crc32(text)))

    def close(self) -> None:
        """Let others have it."""
        self._file.close()

    def remove(self) -> None:
        """It is of no more use."""
        self._file.remove()


def _encode_line(line: bytes) -> object:
    text, _, checksum = line.rpartition(b" ")
    try:
        return json.loads(text) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, RecursionError):
        return None


def _version(said: object) -> Representation | None:
    match said:
        case {"diffio": 1, "etag": str() as etag, "total": int() as total, "digest": digest}:
            return Representation(etag, total, digests.parse_digest(str(digest)))
        case _:
            return None


def _spans(said: object) -> RangeSet | None:
    if not isinstance(said, list):
        return None
    try:
        return RangeSet((int(start), int(end)) for start, end in said)
    except (TypeError, ValueError, OverflowError):
        return None
