"""Uploads of one client: they share one concurrency limit, and resume from a store."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

from attrs import define, evolve, frozen

from diffio_async._protocol.endpoints import create_project
from diffio_async._protocol.requests import ApiRequest
from diffio_async._reporting import attach_ids
from diffio_async._storage.files import connections_per_host
from diffio_async._storage.loops import remove_closed_loops, running_loop
from diffio_async._uploads.parts import UploadLimiter
from diffio_async._uploads.resume_file import UploadCheckpoint
from diffio_async._uploads.upload import SizeMismatch, Upload, run_shielded
from diffio_async.errors import ApiError, NotFound, NotReady, UploadFailed
from diffio_async.events import UploadRestarted, UploadResumed
from diffio_async.models.projects import CreatedProject, Project, UploadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from diffio_async._http.transport import ApiTransport
    from diffio_async._uploads.source import Source
    from diffio_async.events import UploadProgress
    from diffio_async.models.projects import UploadStore
    from diffio_async.options import RequestOptions
    from diffio_async.types import Callback


@frozen
class ProjectSpec:
    """Request that creates a project, with the metadata of its recording."""

    call: ApiRequest[CreatedProject]
    file_name: str
    content_type: str

    @classmethod
    def create(
        cls,
        *,
        file_name: str,
        content_type: str,
        size: int,
        file_format: str | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Self:
        """Return the specification of a project for a recording of `size` bytes.

        Raises:
            ConfigurationError: An argument is invalid.
        """
        call = create_project(
            file_name=file_name,
            content_type=content_type,
            content_length=size,
            file_format=file_format,
            params=params,
        )
        return cls(call, file_name, content_type)

    def uploaded_project(self, created: CreatedProject, source: Source) -> Project:
        """Return the project after its recording was uploaded."""
        return Project(
            api_project_id=created.api_project_id,
            status="uploaded",
            file_name=self.file_name,
            content_type=self.content_type,
            size_bytes=source.size,
            object_path=created.object_path,
            expires_at=created.expires_at,
        )


class Uploader:
    """Uploads of one client; parts and signed PUTs share one concurrency limit per event loop."""

    def __init__(self, sender: ApiTransport) -> None:
        self.sender = sender
        self._limiters: dict[asyncio.AbstractEventLoop, UploadLimiter] = {}
        self._content_locks: WeakValueDictionary[tuple[object, int, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    def __reduce__(self) -> tuple[type[Uploader], tuple[ApiTransport]]:
        """Pickle the constructor arguments."""
        return Uploader, (self.sender,)

    async def create(
        self,
        source: Source,
        spec: ProjectSpec,
        *,
        store: UploadStore | None,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
    ) -> Project:
        """Create a project and upload its recording; with a store, resume an earlier upload.

        Raises:
            UploadFailed: Not all bytes could be sent, or the API did not confirm them.
            ResponseLost: The project may have been created; the request was not repeated.
            ApiError: The API refused to create it.
        """
        upload = Upload(self.sender, self.limiter(), source, on_progress, options)
        if store is None:
            created = await self.sender.send(spec.call, options)
            with attach_ids(api_project_id=created.api_project_id):
                await upload.send(created, spec.content_type)
            return spec.uploaded_project(created, source)
        # Equal content has one record, so its concurrent uploads are serialised.
        async with self._content_lock(store, await source.digest()):
            record = await ResumableUpload(upload, store, spec).run()
        earlier = evolve(spec, file_name=record.file_name, content_type=record.content_type)
        return earlier.uploaded_project(project_from_record(record), source)

    def _content_lock(self, store: UploadStore, digest: str) -> asyncio.Lock:
        key = running_loop(), id(store), digest
        return self._content_locks.setdefault(key, asyncio.Lock())

    def limiter(self) -> UploadLimiter:
        """Return the limiter of the running event loop."""
        loop = running_loop()
        if loop not in self._limiters:
            remove_closed_loops(self._limiters)
            self._limiters[loop] = UploadLimiter(
                min(
                    self.sender.options.max_concurrent_parts,
                    connections_per_host(self.sender.options),
                )
            )
        return self._limiters[loop]


#: Statuses of the edge for an expired token or an unknown multipart upload.
GONE_STATUSES = frozenset({401, 404})
#: Statuses of storage for an expired signed URL.
EXPIRED_STATUSES = frozenset({400, 401, 403, 404, 410})


class _CannotResume(Exception):
    """The recorded upload cannot be resumed."""


@define(eq=False)
class ResumableUpload:
    """One upload with a store; `spec` creates its project."""

    upload: Upload
    store: UploadStore
    spec: ProjectSpec

    async def run(self) -> UploadRecord:
        """Resume or start the upload; return its record, which is deleted from the store."""
        digest = await self.upload.source.digest()
        record = await self.store.load(digest)
        if record is not None:
            try:
                with attach_ids(api_project_id=record.api_project_id):
                    return await self._resume(record)
            except _CannotResume as void:
                reason = str(void)
            # Emitted before the restart, so that observers see the reason first.
            self.upload.sender.emit(
                UploadRestarted(api_project_id=record.api_project_id, reason=reason)
            )
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

            await run_shielded(self.upload.sender.closing, wait_created)
            raise

    async def _create_and_record(self, digest: str) -> UploadRecord:
        created = await self.upload.call(self.spec.call)
        record = UploadRecord(
            digest=digest,
            size=self.upload.source.size,
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
            await self.upload.send(project_from_record(record), record.content_type, checkpoint)
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
        if record.size != self.upload.source.size:
            raise _CannotResume(f"it was recorded with {record.size:,} bytes")
        checkpoint = UploadCheckpoint(self.store, record)
        # The response to an earlier `complete` may have been lost, and the project may belong to
        # another account. Uploads to a signed URL have no `complete`.
        if record.offer is not None and await self._is_received(record):
            await checkpoint.delete()
            return record
        # Compared with the server's clock. If that is unknown, the upload itself will fail.
        now = self.upload.sender.server_clock.estimate()
        if now is not None and record.expires_at is not None and record.expires_at <= now:
            raise _CannotResume(
                f"its upload session expired at {record.expires_at:%Y-%m-%d %H:%M:%S %Z}"
            )
        self.upload.sender.emit(
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
        try:
            await self.upload.confirm_once(record.api_project_id, retry_409=False)
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
