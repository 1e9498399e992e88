"""A source to the service, the way the server offered: in parts, or by one signed PUT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from attrs import evolve, frozen

from diffio_async._http.error_context import attach_ids
from diffio_async._protocol.endpoints import ApiRequest
from diffio_async._protocol.requests import signed_url_request
from diffio_async._protocol.retry import RetrySafety
from diffio_async._storage.descriptors import connections_per_host
from diffio_async._storage.loops import running_loop
from diffio_async._uploads.limiter import UploadLimiter, limited_part_body, without_time_budget
from diffio_async._uploads.multipart import MultipartUpload, Part
from diffio_async._uploads.open_source import too_large
from diffio_async._uploads.progress import UploadProgressReporter
from diffio_async._uploads.resume import ResumableUpload, project_from_record
from diffio_async._uploads.source import Source, display_name
from diffio_async.errors import (
    ClientClosed,
    DiffioError,
    InvalidResponse,
    UploadFailed,
)
from diffio_async.models.projects import Project
from diffio_async.models.uploads import CreatedProject

if TYPE_CHECKING:
    from diffio_async._http.transport import ApiTransport
    from diffio_async._uploads.checkpoint import UploadCheckpoint
    from diffio_async.events import UploadProgress
    from diffio_async.models.uploads import UploadStore
    from diffio_async.options import RequestOptions
    from diffio_async.types import Callback


@frozen
class ProjectSpec:
    """What a project is asked for with."""

    call: ApiRequest[CreatedProject]
    file_name: str
    content_type: str

    def uploaded(self, created: CreatedProject, source: Source) -> Project:
        """The project, its recording in it."""
        return Project(
            api_project_id=created.api_project_id,
            status="uploaded",
            file_name=self.file_name,
            content_type=self.content_type,
            size_bytes=source.size,
            object_path=created.object_path,
            expires_at=created.expires_at,
        )


#: The methods that a server may have a recording sent with.
_UPLOADING = frozenset({"PUT", "POST"})


class Uploader:
    """Uploads for one client: all its parts, and whole files by signed PUT, share one limit."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender
        self._air: dict[asyncio.AbstractEventLoop, UploadLimiter] = {}
        self._content_locks: WeakValueDictionary[tuple[object, int, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    def __reduce__(self) -> tuple[type[Uploader], tuple[ApiTransport]]:
        """Pickle what it was made from."""
        return Uploader, (self._sender,)

    async def create(
        self,
        source: Source,
        new: ProjectSpec,
        *,
        store: UploadStore | None,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
    ) -> Project:
        """Make a project and upload its recording; with a store an earlier try is gone on with.

        Raises:
            UploadFailed: As `upload` does.
            ResponseLost: The project may have been created, and was not asked for a second time.
            ApiError: The API refused to create it.
        """
        if store is None:
            created = await self._sender.send(new.call, options)
            with attach_ids(api_project_id=created.api_project_id):
                await self.upload(
                    source,
                    created,
                    content_type=new.content_type,
                    on_progress=on_progress,
                    options=options,
                )
            return new.uploaded(created, source)

        async def send(created: CreatedProject, notes: UploadCheckpoint) -> None:
            await self.upload(
                source,
                created,
                content_type=notes.record.content_type,
                on_progress=on_progress,
                options=options,
                notes=notes,
            )

        resuming = ResumableUpload(self._sender, source, store, new, send, options)
        # One content has one record: the same content twice at once goes one after the other.
        async with self._content_lock(store, await source.digest()):
            record = await resuming.run()
        earlier = evolve(new, file_name=record.file_name, content_type=record.content_type)
        return earlier.uploaded(project_from_record(record), source)

    def _content_lock(self, store: UploadStore, digest: str) -> asyncio.Lock:
        key = running_loop(), id(store), digest
        return self._content_locks.setdefault(key, asyncio.Lock())

    def _limiter(self) -> UploadLimiter:
        """The running loop's places in the air."""
        loop = running_loop()
        if loop not in self._air:
            for ended in [known for known in self._air if known.is_closed()]:
                del self._air[ended]
            self._air[loop] = UploadLimiter(
                min(
                    self._sender.options.max_concurrent_parts,
                    connections_per_host(self._sender.options),
                )
            )
        return self._air[loop]

    async def upload(
        self,
        source: Source,
        created: CreatedProject,
        *,
        content_type: str,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
        notes: UploadCheckpoint | None = None,
    ) -> None:
        """Send the source the way the server offered; where it offered both, to the edge.

        Raises:
            UploadFailed: The bytes could not be sent whole, or the API did not confirm them;
                `__cause__` says why.
            InvalidSource: The source is over the offer's limit, or changed on the way.
        """
        tally = UploadProgressReporter(source.size, on_progress)
        try:
            with self._sender.closing.cancel_on_close():
                async with tally.reporting():
                    await self._upload(source, created, content_type, tally, options, notes)
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
        tally: UploadProgressReporter,
        options: RequestOptions | None,
        notes: UploadCheckpoint | None,
    ) -> None:
        offer = created.upload
        if offer is not None:
            # A limit that no recording meets is no limit: the source is not to blame.
            if offer.max_bytes is not None and 0 < offer.max_bytes < source.size:
                raise too_large(source, offer.max_bytes)
            await MultipartUpload(
                self._sender, self._limiter(), created, offer, source, tally, options, notes
            ).run()
        elif created.upload_url is not None:
            await self._signed_put(source, created, content_type, tally, options)
        else:
            raise InvalidResponse(
                "create_project was answered without an upload offer that can be used"
            )

    async def _signed_put(
        self,
        source: Source,
        created: CreatedProject,
        content_type: str,
        tally: UploadProgressReporter,
        options: RequestOptions | None,
    ) -> None:
        method = (created.upload_method or "PUT").upper()
        if method not in _UPLOADING:
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
            self._limiter(), tally, source, Part(1, 0, source.size), tally.part_callback(1)
        )
        under = self._sender.resolve(without_time_budget(self._sender.options, options))
        # Until the last byte is in, a signed PUT changes nothing; after it, the same again.
        await self._sender.send_with_retries(
            "signed upload", request, RetrySafety.IDEMPOTENT, under, body=body
        )
        await source.verify()
