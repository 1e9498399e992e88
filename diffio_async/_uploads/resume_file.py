"""Stores of resumable uploads: the checkpoint of one upload, and the file behind `resume=path`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import evolve

from diffio_async._protocol.structuring import structure
from diffio_async._reporting import log
from diffio_async._storage.append_log import (
    AlreadyInUse,
    AppendLog,
    DamagedLog,
    ForeignLog,
    encode_entries,
)
from diffio_async._storage.loops import running_loop
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._validators import local_path
from diffio_async.errors import ConfigurationError, ResumeFileError
from diffio_async.models.json_values import camel
from diffio_async.models.projects import UploadRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from diffio_async._http.transport import ServerClock
    from diffio_async.models.projects import UploadStore


class UploadCheckpoint:
    """Record of one upload in a store; each step is saved before the next one starts."""

    def __init__(self, store: UploadStore, record: UploadRecord) -> None:
        self.record = record
        self._store = store
        self._etags = dict(record.etags)
        self._requested = self._saved = 0
        self._lock = asyncio.Lock()

    async def record_start(self, upload_id: str, part_size: int) -> None:
        """Record that the multipart upload was started."""
        await self._save(evolve(self.record, upload_id=upload_id, part_size_bytes=part_size))

    async def record_part(self, number: int, etag: str) -> None:
        """Record a received part. Parts that arrive during a save share the next one."""
        self._etags[number] = etag
        self._requested += 1
        request = self._requested
        async with self._lock:
            if self._saved < request:
                covered = self._requested
                await self._save(evolve(self.record, etags=dict(self._etags)))
                self._saved = covered

    async def merge(self, upload_id: str, part_size: int, etags: Mapping[int, str]) -> None:
        """Record the state of the upload that another machine reports."""
        async with self._lock:
            known = evolve(self.record, etags=self._etags)
            merged = with_parts(known, upload_id, part_size, etags)
            self._etags = dict(merged.etags)
            await self._save(merged)

    async def _save(self, record: UploadRecord) -> None:
        await self._store.save(record)
        self.record = record

    async def delete(self) -> None:
        """Delete the record. Errors of the store are only logged: the upload is finished."""
        try:
            await self._store.forget(self.record.digest)
        except Exception:
            log.exception("the record of a finished upload could not be deleted")


def with_parts(
    record: UploadRecord, upload_id: str, part_size: int, etags: Mapping[int, str]
) -> UploadRecord:
    """Return a record with more acknowledged parts; those of another upload are dropped."""
    known = record.etags if upload_id == record.upload_id else {}
    return evolve(record, upload_id=upload_id, part_size_bytes=part_size, etags={**known, **etags})


def record_as_json(record: UploadRecord) -> dict[str, Any]:
    """Return the record as a JSON object, including credentials."""
    return {**_to_json(record), "etags": etags_as_json(record.etags)}


def etags_as_json(etags: Mapping[int, str]) -> dict[str, str]:
    """Return etags with part numbers as strings: JSON keys are strings."""
    return {str(number): etag for number, etag in etags.items()}


def record_from_json(data: object) -> UploadRecord:
    """Return the record that `record_as_json` encoded.

    Raises:
        ValueError: `data` is not a record.
    """
    if not isinstance(data, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - one type for every error
    etags = etags_from_json(data.get("etags"))
    rest = {name: value for name, value in data.items() if name != "etags"}
    return attrs.evolve(structure(rest, UploadRecord), etags=etags)


def etags_from_json(data: object) -> dict[int, str]:
    """Return the etags by part number.

    Raises:
        ValueError: `data` is not an object of etags.
    """
    if not isinstance(data, dict):
        raise ValueError("expected an object of etags")  # noqa: TRY004 - as above
    etags = {}
    for number, etag in data.items():
        if not (isinstance(number, str) and number.isdecimal() and int(number) > 0):
            raise ValueError("parts are numbered from 1")
        if not (isinstance(etag, str) and etag):
            raise ValueError(f"part {number} has no etag")
        etags[int(number)] = etag
    return etags


def _to_json(model: Any) -> dict[str, Any]:
    """Return a model's fields under their API names, without `extra` and fields that are None."""
    fields = {}
    for attribute in attrs.fields(type(model)):
        value = getattr(model, attribute.name)
        if value is None or attribute.name == "extra":
            continue
        if isinstance(value, datetime):
            value = value.isoformat()
        elif attrs.has(type(value)):
            value = _to_json(value)
        fields[camel(attribute.name)] = value
    return fields


#: First entry of a resume file, and the first bytes of one of any version.
HEADER = {"kind": "diffio_async uploads", "version": 1}
HEADER_PREFIX = encode_entries(HEADER).partition(b'"version"')[0]


def encode_update(record: UploadRecord, known: UploadRecord | None) -> dict[str, object]:
    """Return the entry that updates the `known` record; only new etags where possible."""
    if known is not None and evolve(known, etags=record.etags) == record:
        new = {n: etag for n, etag in record.etags.items() if known.etags.get(n) != etag}
        if not known.etags.keys() - record.etags.keys():
            return {"digest": record.digest, "etags": etags_as_json(new)}
    return {"record": record_as_json(record)}


def encode_delete(digest: str) -> dict[str, object]:
    """Return the entry that deletes a record."""
    return {"forgotten": digest}


def load_records(entries: Iterable[Any]) -> dict[str, UploadRecord]:
    """Return the records that the entries of a log describe.

    Raises:
        DamagedLog: An entry is invalid.
        _OtherVersion: Another version of the package wrote the log.
    """
    records: dict[str, UploadRecord] = {}
    for number, entry in enumerate(entries, 1):
        try:
            if number > 1:
                _apply(entry, records)
            elif entry["version"] != HEADER["version"]:
                raise _OtherVersion(entry["version"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DamagedLog(number) from None
    return records


class _OtherVersion(Exception):
    """The log was written in another version of the format, which is the argument."""


def _apply(fields: dict[str, object], records: dict[str, UploadRecord]) -> None:
    if "record" in fields:
        record = record_from_json(fields["record"])
        records[record.digest] = record
    elif "forgotten" in fields:
        records.pop(str(fields["forgotten"]), None)
    else:
        record = records[str(fields["digest"])]
        etags = {**record.etags, **etags_from_json(fields["etags"])}
        records[record.digest] = evolve(record, etags=etags)


class ResumeFile:
    """Store of the uploads in one file, which is locked while it is open.

    Each step is on the disk before the next one starts. The file is removed when it contains no
    record that can be resumed. It is read and written in threads.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._log = AppendLog(Path(path))
        self._records: dict[str, UploadRecord] = {}
        self._threads = TrackedExecutor()
        # A thread may still be writing after its caller was cancelled.
        self._lock = threading.Lock()

    @contextlib.asynccontextmanager
    async def opened(self, clock: ServerClock) -> AsyncIterator[ResumeFile]:
        """Open and lock the file, creating it if missing; close it after the body.

        `clock` decides which records have expired.

        Raises:
            ResumeFileError: It is a folder or unreadable, in use, damaged, of another version, or
                not a private resume file. The file is not changed.
        """
        running_loop()
        try:
            try:
                await self._threads.run_with_retries(self._open)
            except Exception as failure:
                raise self._open_error(failure) from failure
            yield self
        finally:
            # A thread may still be opening or writing the file after a cancellation.
            try:
                await self._threads.drain()
            finally:
                self._close(clock.estimate())

    def _open(self) -> None:
        try:
            self._log.open()
            self._records = load_records(self._log.read(HEADER_PREFIX))
        except BaseException:
            self._log.close()
            raise

    def _open_error(self, failure: Exception) -> ResumeFileError:
        match failure:
            case AlreadyInUse():
                problem = (
                    "is in use by another upload, of this process or another: wait for its end, or "
                    "name another file"
                )
            case ForeignLog():
                problem = "is not a resume file: name another file"
            case DamagedLog():
                problem = f"{failure}: remove it to start over, or name another file"
            case _OtherVersion(args=(version,)):
                problem = (
                    "was written by another version of diffio_async (its format is "
                    f"{version!r}, this version reads {HEADER['version']}): resume with that "
                    "version, or name another file"
                )
            case _:
                problem = f"cannot be opened: {reason_of(failure)}"
        return self._error(problem)

    async def load(self, digest: str) -> UploadRecord | None:
        """Return the record of a content, or None."""
        return self._records.get(digest)

    async def save(self, record: UploadRecord) -> None:
        """Save a record to the disk.

        Raises:
            ResumeFileError: The file cannot be written; earlier content is unchanged.
        """
        await self._threads.run(self._save, record)

    def _save(self, record: UploadRecord) -> None:
        with self._lock:
            self._append(encode_update(record, self._records.get(record.digest)))
            self._records[record.digest] = record

    async def forget(self, digest: str) -> None:
        """Delete a record if it exists."""
        await self._threads.run(self._forget, digest)

    def _forget(self, digest: str) -> None:
        with self._lock:
            if digest in self._records:
                self._append(encode_delete(digest))
                del self._records[digest]

    def _append(self, entry: dict[str, object]) -> None:
        if not self._log.is_open:
            raise self._error("is closed")
        try:
            self._log.append(*([HEADER] if self._log.is_empty else []), entry, sync=True)
        except OSError as failure:
            raise self._error(f"cannot be written: {reason_of(failure)}") from failure

    def _close(self, now: datetime | None) -> None:
        if not self._log.is_open:
            return
        if all(_is_expired(record, now) for record in self._records.values()):
            self._log.remove()
        else:
            self._log.close()

    def _error(self, problem: str) -> ResumeFileError:
        return ResumeFileError(f"the resume file {self._path!r} {problem}")


def _is_expired(record: UploadRecord, now: datetime | None) -> bool:
    return now is not None and record.expires_at is not None and record.expires_at <= now


@contextlib.asynccontextmanager
async def resume_store(
    resume: str | os.PathLike[str] | UploadStore | None, clock: ServerClock
) -> AsyncIterator[UploadStore | None]:
    """Yield the user's store, or the file at a path, which is open and locked in the body.

    `clock` decides which records of the file have expired.

    Raises:
        ConfigurationError: `resume` is neither a path nor a store.
        ResumeFileError: The file cannot be used, or is in use by another upload.
    """
    if resume is None:
        yield None
    elif not isinstance(resume, (str, os.PathLike)):
        if not all(callable(getattr(resume, name, None)) for name in ("load", "save", "forget")):
            raise ConfigurationError(
                "resume is the path of a file to keep the upload's state in, or a store with "
                f"load, save and forget; not a {type(resume).__name__}"
            )
        yield resume
    elif not (path := local_path(resume, "resume")):
        raise ConfigurationError("resume is an empty path: name a file to keep the state in")
    else:
        async with ResumeFile(path).opened(clock) as store:
            yield store
