"""Uploads of one client, by the method that the server offers: multipart or one signed PUT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from attrs import evolve, frozen

from diffio_async._http.error_context import attach_ids
from diffio_async._protocol.requests import ApiRequest, signed_url_request
from diffio_async._protocol.retry import RetrySafety
from diffio_async._storage.files import connections_per_host
from diffio_async._storage.threads import running_loop
from diffio_async._uploads.multipart import MultipartUpload
from diffio_async._uploads.open_source import too_large
from diffio_async._uploads.parts import (
    Part,
    UploadLimiter,
    UploadProgressReporter,
    limited_part_body,
)
from diffio_async._uploads.resume import ResumableUpload, project_from_record
from diffio_async._uploads.source import Source, display_name
from diffio_async.errors import (
    ClientClosed,
    DiffioError,
    InvalidResponse,
    UploadFailed,
)
from diffio_async.models.projects import CreatedProject, Project

if TYPE_CHECKING:
    from diffio_async._http.transport import ApiTransport
    from diffio_async._uploads.resume_file import UploadCheckpoint
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


#: Methods that an upload offer may name.
_UPLOAD_METHODS = frozenset({"PUT", "POST"})


class Uploader:
    """Uploads of one client; parts and signed PUTs share one concurrency limit per event loop."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender
        self._limiters: dict[asyncio.AbstractEventLoop, UploadLimiter] = {}
        self._content_locks: WeakValueDictionary[tuple[object, int, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    def __reduce__(self) -> tuple[type[Uploader], tuple[ApiTransport]]:
        """Pickle the constructor arguments."""
        return Uploader, (self._sender,)

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
            UploadFailed: As in `upload`.
            ResponseLost: The project may have been created; the request was not repeated.
            ApiError: The API refused to create it.
        """
        if store is None:
            created = await self._sender.send(spec.call, options)
            with attach_ids(api_project_id=created.api_project_id):
                await self.upload(
                    source,
                    created,
                    content_type=spec.content_type,
                    on_progress=on_progress,
                    options=options,
                )
            return spec.uploaded_project(created, source)

        async def send(created: CreatedProject, notes: UploadCheckpoint) -> None:
            await self.upload(
                source,
                created,
                content_type=notes.record.content_type,
                on_progress=on_progress,
                options=options,
                checkpoint=notes,
            )

        upload = ResumableUpload(self._sender, source, store, spec, send, options)
        # Equal content has one record, so its concurrent uploads are serialised.
        async with self._content_lock(store, await source.digest()):
            record = await upload.run()
        earlier = evolve(spec, file_name=record.file_name, content_type=record.content_type)
        return earlier.uploaded_project(project_from_record(record), source)

    def _content_lock(self, store: UploadStore, digest: str) -> asyncio.Lock:
        key = running_loop(), id(store), digest
        return self._content_locks.setdefault(key, asyncio.Lock())

    def _limiter(self) -> UploadLimiter:
        """Return the limiter of the running event loop."""
        loop = running_loop()
        if loop not in self._limiters:
            for ended in [known for known in self._limiters if known.is_closed()]:
                del self._limiters[ended]
            self._limiters[loop] = UploadLimiter(
                min(
                    self._sender.options.max_concurrent_parts,
                    connections_per_host(self._sender.options),
                )
            )
        return self._limiters[loop]

    async def upload(
        self,
        source: Source,
        created: CreatedProject,
        *,
        content_type: str,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
        checkpoint: UploadCheckpoint | None = None,
    ) -> None:
        """Send the source by the offered method; prefer multipart if both are offered.

        Raises:
            UploadFailed: Not all bytes could be sent, or the API did not confirm them;
                `__cause__` is the reason.
            InvalidSource: The source is over the limit of the offer, or changed during the upload.
        """
        progress = UploadProgressReporter(source.size, on_progress)
        try:
            with self._sender.closing.cancel_on_close():
                async with progress.reporting():
                    await self._upload(source, created, content_type, progress, options, checkpoint)
        except (UploadFailed, ClientClosed):
            raise
        except DiffioError as failure:
            raise UploadFailed(
                f"{display_name(source)} could not be uploaded: {failure}"
            ) from failure

    async def _upload(
        self,
        source: Source,
        created: CreatedProject,
        content_type: str,
        progress: UploadProgressReporter,
        options: RequestOptions | None,
        checkpoint: UploadCheckpoint | None,
    ) -> None:
        offer = created.upload
        if offer is not None:
            # A limit that no recording meets is no limit: the source is not to blame.
            if offer.max_bytes is not None and 0 < offer.max_bytes < source.size:
                raise too_large(source, offer.max_bytes)
            await MultipartUpload(
                self._sender, self._limiter(), created, offer, source, progress, options, checkpoint
            ).run()
        elif created.upload_url is not None:
            await self._signed_put(source, created, content_type, progress, options)
        else:
            raise InvalidResponse(
                "create_project was answered without an upload offer that can be used"
            )

    async def _signed_put(
        self,
        source: Source,
        created: CreatedProject,
        content_type: str,
        progress: UploadProgressReporter,
        options: RequestOptions | None,
    ) -> None:
        method = (created.upload_method or "PUT").upper()
        if method not in _UPLOAD_METHODS:
            raise InvalidResponse(
                f"the upload offer names the method {created.upload_method!r}: only PUT and POST "
                "upload"
            )
        request = signed_url_request(
            method,
            created.upload_url or "",
            {"Content-Type": content_type},
            base_url=self._sender.base_url,
        )
        body = limited_part_body(
            self._limiter(), progress, source, Part(1, 0, source.size), progress.part_callback(1)
        )
        resolved = self._sender.resolve(options)
        # An incomplete signed PUT has no effect, and a repeated one writes the same content.
        await self._sender.send_with_retries(
            "signed upload", request, RetrySafety.IDEMPOTENT, resolved, body=body
        )
        await source.verify()
