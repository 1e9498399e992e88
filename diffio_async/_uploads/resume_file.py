"""The small file behind `resume=path`: locked while it is open, on the disk at each step.

It goes when nothing in it can be gone on with.
"""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, evolve, field

from diffio_async._protocol.codec import camel, structure
from diffio_async._storage.locked_file import InUse, LockedFile
from diffio_async._storage.system_errors import reason_of, shortage_of
from diffio_async.errors import ResumeFileError
from diffio_async.models.uploads import UploadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_as_json(record: UploadRecord) -> dict[str, Any]:
    """The record as an object of JSON values, credentials included."""
    return {**_to_json(record), "etags": etags_as_json(record.etags)}


def etags_as_json(etags: Mapping[int, str]) -> dict[str, str]:
    """JSON has no numbers for keys."""
    return {str(number): etag for number, etag in etags.items()}


def record_from_json(data: object) -> UploadRecord:
    """The record again.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(data, dict):
        raise ValueError("an object is due")  # noqa: TRY004 - one kind for all that is wrong
    etags = etags_from_json(data.get("etags"))
    rest = {name: value for name, value in data.items() if name != "etags"}
    return attrs.evolve(structure(rest, UploadRecord), etags=etags)


def etags_from_json(data: object) -> dict[int, str]:
    """Etags by number.

    Raises:
        ValueError: They are none.
    """
    if not isinstance(data, dict):
        raise ValueError("an object of etags is due")  # noqa: TRY004 - as above
    etags = {}
    for number, etag in data.items():
        if not (isinstance(number, str) and number.isdecimal() and int(number) > 0):
            raise ValueError("parts are numbered from 1")
        if not (isinstance(etag, str) and etag):
            raise ValueError(f"part {number} has no etag")
        etags[int(number)] = etag
    return etags


def _to_json(model: Any) -> dict[str, Any]:
    """A model's fields in the API's spelling; what is None is left out, and so is `extra`."""
    said = {}
    for attribute in attrs.fields(type(model)):
        value = getattr(model, attribute.name)
        if value is None or attribute.name == "extra":
            continue
        if isinstance(value, datetime):
            value = value.isoformat()
        elif attrs.has(type(value)):
            value = _to_json(value)
        said[camel(attribute.name)] = value
    return said


KIND = "diffio_async uploads"
VERSION = 1


def _encode_line(said: dict[str, object]) -> bytes:
    return json.dumps(said).encode() + b"\n"


#: Says what the file is.
FIRST_LINE = _encode_line({"kind": KIND, "version": VERSION})
#: What a file of any version begins with.
HEADER_PREFIX = FIRST_LINE.partition(b'"version"')[0]


class CorruptLog(ValueError):
    """The lines are not ours, damaged, or of another version; the message says so."""


def encode_update(record: UploadRecord, known: UploadRecord | None) -> bytes:
    """The line that makes a record of what was `known` of it so far: short where it can be."""
    if known is not None and evolve(known, etags=record.etags) == record:
        new = {n: etag for n, etag in record.etags.items() if known.etags.get(n) != etag}
        if len(known.etags.keys() - record.etags.keys()) == 0:
            return _encode_line({"digest": record.digest, "etags": etags_as_json(new)})
    return _encode_line({"record": record_as_json(record)})


def encode_delete(digest: str) -> bytes:
    """The line that drops a record."""
    return _encode_line({"forgotten": digest})


def load_records(content: bytes) -> tuple[dict[str, UploadRecord], int]:
    """The records that the lines come to, and how many bytes the whole lines are.

    Raises:
        Unreadable: They cannot be read.
    """
    if not content.startswith(HEADER_PREFIX[: len(content)]):
        raise CorruptLog("is none of ours: name another file")
    records: dict[str, UploadRecord] = {}
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if number > 1:
                _apply(said, records)
                continue
            version = said["version"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise CorruptLog(
                f"is damaged in line {number}: remove it to start afresh, or name another file"
            ) from None
        if version != VERSION:
            raise CorruptLog(
                f"was written by another version of diffio_async (its format is {version!r}, this "
                f"version knows {VERSION}): go on with that version, or name another file"
            )
    return records, len(content) - len(rest)


def _apply(said: dict[str, object], records: dict[str, UploadRecord]) -> None:
    if "record" in said:
        record = record_from_json(said["record"])
        records[record.digest] = record
    elif "forgotten" in said:
        records.pop(str(said["forgotten"]), None)
    else:
        record = records[str(said["digest"])]
        etags = {**record.etags, **etags_from_json(said["etags"])}
        records[record.digest] = evolve(record, etags=etags)


#: More than any number of uploads comes to.
_LONGEST = 2**28


@define
class ResumeFile:
    """Records of uploads in one file. Its methods block."""

    path: str
    records: dict[str, UploadRecord] = field(factory=dict, init=False)
    _file: LockedFile = field(init=False)
    _empty: bool = field(default=True, init=False)
    # A thread may still be writing when nobody waits for it any more.
    _turn: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._file = LockedFile(Path(self.path))

    def open(self) -> None:
        """Open and lock the file, made anew where there is none, and read what it holds.

        Raises:
            OSError: The process is short of something; that may be over soon.
            ResumeFileError: It is a folder or unreadable, in use, damaged, of another version, or
                something else than a private file of ours. It is left as it is.
        """
        try:
            self._file.open()
            self._read()
        except InUse:
            raise self._unusable(
                "is in use by another upload, of this process or another: wait for its end, or "
                "name another file"
            ) from None
        except CorruptLog as failure:
            self._file.close()
            raise self._unusable(str(failure)) from None
        except (OSError, ValueError) as failure:
            self._file.close()
            if shortage_of(failure) is not None:
                raise
            raise self.not_opened(failure) from failure

    def not_opened(self, failure: Exception) -> ResumeFileError:
        """The error for what the system says."""
        return self._unusable(f"cannot be opened: {reason_of(failure)}")

    def _read(self) -> None:
        content = self._file.start(len(HEADER_PREFIX))
        if content == HEADER_PREFIX:  # or it is a recording, say: not to be read whole
            content = self._file.start(_LONGEST)
        self.records, size = load_records(content)
        if size < len(content):
            # A last line that was never finished: its step never happened.
            self._file.cut(size)
        self._empty = size == 0

    def save(self, record: UploadRecord) -> None:
        """Keep a record; it is on the disk when this returns.

        Raises:
            ResumeFileError: It cannot be written; what was kept before is there still.
        """
        with self._turn:
            self._add(encode_update(record, self.records.get(record.digest)))
            self.records[record.digest] = record

    def forget(self, digest: str) -> None:
        """Drop a record, where there is one."""
        with self._turn:
            if digest in self.records:
                self._add(encode_delete(digest))
                del self.records[digest]

    def _add(self, line: bytes) -> None:
        if not self._file.mine:
            raise self._unusable("is closed")
        first = self._empty
        try:
            self._file.append(FIRST_LINE + line if first else line)
            self._file.sync()
        except OSError as failure:
            raise self._unusable(f"cannot be written: {reason_of(failure)}") from failure
        self._empty = False
        if first:
            self._file.sync_name()

    def close(self, now: datetime | None) -> None:
        """Close it, and remove it where nothing in it can be resumed.

        Args:
            now: The server's time, by which records expire; None where it is not known.
        """
        if not self._file.mine:
            return
        if all(_is_expired(record, now) for record in self.records.values()):
            self._file.remove()
        else:
            self._file.close()

    def _unusable(self, why: str) -> ResumeFileError:
        return ResumeFileError(f"the resume file {self.path!r} {why}")


def _is_expired(record: UploadRecord, now: datetime | None) -> bool:
    return now is not None and record.expires_at is not None and record.expires_at <= now
