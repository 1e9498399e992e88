"""The store that an argument `resume` means."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from attrs import define, frozen

from diffio_async._http.error_context import attach_ids
from diffio_async._storage.local_paths import local_path
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._uploads.checkpoint import UploadCheckpoint
from diffio_async._uploads.confirmation import SizeMismatch, UploadConfirmer
from diffio_async._uploads.multipart import run_shielded
from diffio_async._uploads.resume_file import ResumeFile
from diffio_async.errors import ApiError, ConfigurationError, NotFound, NotReady, UploadFailed
from diffio_async.events import UploadRestarted, UploadResumed
from diffio_async.models.uploads import CreatedProject, UploadRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from diffio_async._http.server_clock import ServerClock
    from diffio_async._http.transport import ApiTransport
    from diffio_async._uploads.source import Source
    from diffio_async._uploads.uploader import ProjectSpec
    from diffio_async.models.uploads import UploadStore
    from diffio_async.options import RequestOptions

#: What the edge answers where a token or a multipart upload is no more.
GONE_STATUSES = frozenset({401, 404})
#: What storage answers where a signed URL is no more.
EXPIRED = frozenset({400, 401, 403, 404, 410})


class _CannotResume(Exception):
    """The earlier try cannot be gone on with."""


@define(eq=False)
class ResumableUpload:
    """One upload with a store.

    `new` asks for a project; `send` sends the bytes to it, and returns when they landed.
    """

    sender: ApiTransport
    source: Source
    store: UploadStore
    new: ProjectSpec
    send: Callable[[CreatedProject, UploadCheckpoint], Awaitable[None]]
    options: RequestOptions | None

    async def run(self) -> UploadRecord:
        """The record of the upload that landed, which is not kept any more."""
        digest = await self.source.digest()
        record = await self.store.load(digest)
        if record is not None:
            try:
                with attach_ids(api_project_id=record.api_project_id):
                    return await self._resume(record)
            except _CannotResume as void:
                reason = str(void)
            # It is told before anything is done about it.
            self.sender.emit(UploadRestarted(api_project_id=record.api_project_id, reason=reason))
        record = await self._create_project(digest)
        with attach_ids(api_project_id=record.api_project_id):
            return await self._sent(UploadCheckpoint(self.store, record))

    async def _create_project(self, digest: str) -> UploadRecord:
        """A project, on record; an interruption waits for both, or it would be lost."""
        making = asyncio.create_task(self._new(digest))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:

            async def made() -> None:
                with contextlib.suppress(Exception):  # what is being raised already matters more
                    await making

            await run_shielded(self.sender.closing, made)
            raise

    async def _new(self, digest: str) -> UploadRecord:
        created = await self.sender.send(self.new.call, self.options)
        record = UploadRecord(
            digest=digest,
            size=self.source.size,
            file_name=self.new.file_name,
            content_type=self.new.content_type,
            api_project_id=created.api_project_id,
            object_path=created.object_path,
            expires_at=_end_of(created),
            offer=created.upload,
            upload_url=None if created.upload is not None else created.upload_url,
            upload_method=None if created.upload is not None else created.upload_method,
        )
        if record.offer is not None or record.upload_url is not None:
            with attach_ids(api_project_id=created.api_project_id):
                await self.store.save(record)
        return record

    async def _sent(self, notes: UploadCheckpoint) -> UploadRecord:
        record = notes.record
        try:
            await self.send(project_from_record(record), notes)
        except SizeMismatch:
            await notes.delete()
            raise
        await notes.delete()
        return record

    async def _resume(self, record: UploadRecord) -> UploadRecord:
        """Go on.

        Raises:
            _Void: Nothing is there to go on with.
        """
        if record.size != self.source.size:
            raise _CannotResume(f"it was recorded with {record.size:,} bytes")
        notes = UploadCheckpoint(self.store, record)
        # What became of a `complete` whose answer was lost is the first question; and whether the
        # project is this account's the second. Signed uploads have no such end.
        if record.offer is not None and await self._landed(record):
            await notes.delete()
            return record
        # Judged by the server's clock. Before that is known, the upload itself finds out.
        now = self.sender.server_clock.estimate()
        if now is not None and record.expires_at is not None and record.expires_at <= now:
            raise _CannotResume(
                f"its upload session expired at {record.expires_at:%Y-%m-%d %H:%M:%S %Z}"
            )
        self.sender.emit(
            UploadResumed(
                api_project_id=record.api_project_id,
                sent=_bytes_of(record),
                total=record.size,
            )
        )
        try:
            return await self._sent(notes)
        except UploadFailed as failure:
            if not _gone(failure.__cause__, EXPIRED if record.offer is None else GONE_STATUSES):
                raise
            raise _CannotResume(str(failure)) from failure

    async def _landed(self, record: UploadRecord) -> bool:
        settling = UploadConfirmer(self.sender, record.api_project_id, self.source, self.options)
        try:
            await settling.confirm_once(patiently=False)
        except NotReady:
            return False
        except (NotFound, SizeMismatch) as failure:
            raise _CannotResume(str(failure)) from failure
        return True


def project_from_record(record: UploadRecord) -> CreatedProject:
    """What the API had answered."""
    return CreatedProject(
        api_project_id=record.api_project_id,
        object_path=record.object_path,
        expires_at=record.expires_at,
        upload=record.offer,
        upload_url=record.upload_url,
        upload_method=record.upload_method,
    )


def _end_of(created: CreatedProject) -> datetime | None:
    offer = created.upload
    return offer.expires_at if offer is not None and offer.expires_at else created.expires_at


def _bytes_of(record: UploadRecord) -> int:
    part = record.part_size_bytes or 0
    return sum(min(part, record.size - (number - 1) * part) for number in record.etags)


def _gone(cause: BaseException | None, statuses: frozenset[int]) -> bool:
    """Whether an upload host said so; what the API says has classes of its own."""
    return type(cause) is ApiError and cause.status in statuses


@contextlib.asynccontextmanager
async def resume_store(
    resume: str | os.PathLike[str] | UploadStore | None, clock: ServerClock
) -> AsyncIterator[UploadStore | None]:
    """A store of the user's as it is; a path's file is open, and locked, meanwhile.

    `clock` says which records of the file have expired.

    Raises:
        ConfigurationError: It is neither a path nor a store.
        ResumeFileError: The file cannot be used, or another upload uses it.
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
        store = ThreadedStore(ResumeFile(path), TrackedExecutor())
        try:
            try:
                await store.threads.patiently(store.file.open)
            except (OSError, MemoryError) as failure:
                raise store.file.not_opened(failure) from failure
            yield store
        finally:
            # A thread may still be opening or writing it, though nobody waits for that any more.
            try:
                await store.threads.drain()
            finally:
                store.file.close(clock.estimate())


@frozen
class ThreadedStore:
    """The file as a store: it blocks in threads."""

    file: ResumeFile
    threads: TrackedExecutor

    async def load(self, digest: str) -> UploadRecord | None:
        return self.file.records.get(digest)

    async def save(self, record: UploadRecord) -> None:
        await self.threads.run(self.file.save, record)

    async def forget(self, digest: str) -> None:
        await self.threads.run(self.file.forget, digest)
