"""The lines of a file of uploads to go on with: one for each step, added and never changed.

Whatever moment a process is killed at, all lines but the last are whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._wire.upload_records import (
    etags_as_json,
    etags_from_json,
    record_as_json,
    record_from_json,
)

if TYPE_CHECKING:
    from diffio_async.models.resuming import UploadRecord

KIND = "diffio_async uploads"
VERSION = 1


def _line(said: dict[str, object]) -> bytes:
    return json.dumps(said).encode() + b"\n"


#: Says what the file is.
FIRST_LINE = _line({"kind": KIND, "version": VERSION})
#: What a file of any version begins with.
BEGINNING = FIRST_LINE.partition(b'"version"')[0]


class Unreadable(ValueError):
    """The lines are not ours, damaged, or of another version; the message says so."""


def line_of(record: UploadRecord, known: UploadRecord | None) -> bytes:
    """The line that makes a record of what was `known` of it so far: short where it can be."""
    if known is not None and evolve(known, etags=record.etags) == record:
        new = {n: etag for n, etag in record.etags.items() if known.etags.get(n) != etag}
        if len(known.etags.keys() - record.etags.keys()) == 0:
            return _line({"digest": record.digest, "etags": etags_as_json(new)})
    return _line({"record": record_as_json(record)})


def forgotten(digest: str) -> bytes:
    """The line that drops a record."""
    return _line({"forgotten": digest})


def read(content: bytes) -> tuple[dict[str, UploadRecord], int]:
    """The records that the lines come to, and how many bytes the whole lines are.

    Raises:
        Unreadable: They cannot be read.
    """
    if not content.startswith(BEGINNING[: len(content)]):
        raise Unreadable("is none of ours: name another file")
    records: dict[str, UploadRecord] = {}
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if number > 1:
                _take(said, records)
                continue
            version = said["version"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Unreadable(
                f"is damaged in line {number}: remove it to start afresh, or name another file"
            ) from None
        if version != VERSION:
            raise Unreadable(
                f"was written by another version of diffio_async (its format is {version!r}, this "
                f"version knows {VERSION}): go on with that version, or name another file"
            )
    return records, len(content) - len(rest)


def _take(said: dict[str, object], records: dict[str, UploadRecord]) -> None:
    if "record" in said:
        record = record_from_json(said["record"])
        records[record.digest] = record
    elif "forgotten" in said:
        records.pop(str(said["forgotten"]), None)
    else:
        record = records[str(said["digest"])]
        etags = {**record.etags, **etags_from_json(said["etags"])}
        records[record.digest] = evolve(record, etags=etags)
