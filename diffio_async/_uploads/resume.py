"""Resumable uploads, and the store behind the argument `resume`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from attrs import define

from diffio_async._http.error_context import attach_ids
from diffio_async._storage.local_paths import local_path
from diffio_async._uploads.multipart import SizeMismatch, UploadConfirmer, run_shielded
from diffio_async._uploads.resume_file import ResumeFile, UploadCheckpoint
from diffio_async.errors import ApiError, ConfigurationError, NotFound, NotReady, UploadFailed
from diffio_async.events import UploadRestarted, UploadResumed
from diffio_async.models.projects import CreatedProject, UploadRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from diffio_async._http.transport import ApiTransport, ServerClock
    from diffio_async._uploads.source import Source
    from diffio_async._uploads.uploader import ProjectSpec
    from diffio_async.models.projects import UploadStore
    from diffio_async.options import RequestOptions

#: Statuses of the edge for an expired token or an unknown multipart upload.
GONE_STATUSES = frozenset({401, 404})
#: Statuses of storage for an expired signed URL.
EXPIRED_STATUSES = frozenset({400, 401, 403, 404, 410})


class _CannotResume(Exception):
    """The recorded upload cannot be resumed."""


@define(eq=False)
class ResumableUpload:
    """One upload with a store.

    Attributes:
        spec: Request that creates the project.
        send: Sends the bytes to a project, and returns when they were received.
    """

    sender: ApiTransport
    source: Source
    store: UploadStore
    spec: ProjectSpec
    send: Callable[[CreatedProject, UploadCheckpoint], Awaitable[None]]
    options: RequestOptions | None

    async def run(self) -> UploadRecord:
        """Resume or start the upload; return its record, which is deleted from the store."""
        digest = await self.source.digest()
        record = await self.store.load(digest)
        if record is not None:
            try:
                with attach_ids(api_project_id=record.api_project_id):
                    return await self._resume(record)
            except _CannotResume as void:
                reason = str(void)
            # Emitted before the restart, so that observers see the reason first.
            self.sender.emit(UploadRestarted(api_project_id=record.api_project_id, reason=reason))
        record = await self._create_project(digest)
        with attach_ids(api_project_id=record.api_project_id):
            return await self._send_bytes(UploadCheckpoint(self.store, record))

    async def _create_project(self, digest: str) -> UploadRecord:
        """Create and record a project; a cancellation waits for both, or the id would be lost."""
        creating = asyncio.create_task(self._create_and_record(digest))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:

            async def wait_created() -> None:
                with contextlib.suppress(Exception):  # the exception being raised matters more
                    await creating

            await run_shielded(self.sender.closing, wait_created)
            raise

    async def _create_and_record(self, digest: str) -> UploadRecord:
        created = await self.sender.send(self.spec.call, self.options)
        record = UploadRecord(
            digest=digest,
            size=self.source.size,
            file_name=self.spec.file_name,
            content_type=self.spec.content_type,
            api_project_id=created.api_project_id,
            object_path=created.object_path,
            expires_at=_expiry_of(created),
            offer=created.upload,
            upload_url=None if created.upload is not None else created.upload_url,
            upload_method=None if created.upload is not None else created.upload_method,
        )
        if record.offer is not None or record.upload_url is not None:
            with attach_ids(api_project_id=created.api_project_id):
                await self.store.save(record)
        return record

    async def _send_bytes(self, checkpoint: UploadCheckpoint) -> UploadRecord:
        record = checkpoint.record
        try:
            await self.send(project_from_record(record), checkpoint)
        except SizeMismatch:
            await checkpoint.delete()
            raise
        await checkpoint.delete()
        return record

    async def _resume(self, record: UploadRecord) -> UploadRecord:
        """Resume the recorded upload.

        Raises:
            _CannotResume: The recorded upload cannot be resumed.
        """
        if record.size != self.source.size:
            raise _CannotResume(f"it was recorded with {record.size:,} bytes")
        checkpoint = UploadCheckpoint(self.store, record)
        # The response to an earlier `complete` may have been lost, and the project may belong to
        # another account. Uploads to a signed URL have no `complete`.
        if record.offer is not None and await self._is_received(record):
            await checkpoint.delete()
            return record
        # Compared with the server's clock. If that is unknown, the upload itself will fail.
        now = self.sender.server_clock.estimate()
        if now is not None and record.expires_at is not None and record.expires_at <= now:
            raise _CannotResume(
                f"its upload session expired at {record.expires_at:%Y-%m-%d %H:%M:%S %Z}"
            )
        self.sender.emit(
            UploadResumed(
                api_project_id=record.api_project_id,
                sent=_uploaded_bytes(record),
                total=record.size,
            )
        )
        try:
            return await self._send_bytes(checkpoint)
        except UploadFailed as failure:
            if not _is_gone(
                failure.__cause__, EXPIRED_STATUSES if record.offer is None else GONE_STATUSES
            ):
                raise
            raise _CannotResume(str(failure)) from failure

    async def _is_received(self, record: UploadRecord) -> bool:
        confirmer = UploadConfirmer(self.sender, record.api_project_id, self.source, self.options)
        try:
            await confirmer.confirm_once(retry_409=False)
        except NotReady:
            return False
        except (NotFound, SizeMismatch) as failure:
            raise _CannotResume(str(failure)) from failure
        return True


def project_from_record(record: UploadRecord) -> CreatedProject:
    """Return the response to `create_project` that was recorded."""
    return CreatedProject(
        api_project_id=record.api_project_id,
        object_path=record.object_path,
        expires_at=record.expires_at,
        upload=record.offer,
        upload_url=record.upload_url,
        upload_method=record.upload_method,
    )


def _expiry_of(created: CreatedProject) -> datetime | None:
    offer = created.upload
    return offer.expires_at if offer is not None and offer.expires_at else created.expires_at


def _uploaded_bytes(record: UploadRecord) -> int:
    part = record.part_size_bytes or 0
    return sum(min(part, record.size - (number - 1) * part) for number in record.etags)


def _is_gone(cause: BaseException | None, statuses: frozenset[int]) -> bool:
    """Return whether an upload host responded with one of these statuses; not the API."""
    return type(cause) is ApiError and cause.status in statuses


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
