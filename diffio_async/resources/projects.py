"""Projects: upload recordings, list them and their generations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints
from diffio_async._protocol.media_types import content_type_of
from diffio_async._protocol.urls import validate_headers
from diffio_async._reporting import attach_ids
from diffio_async.events import UploadProgress
from diffio_async.models.generations import GenerationSummary
from diffio_async.models.json_values import ListResponse
from diffio_async.models.projects import Project, ProjectSummary, UploadConfirmation, UploadStore
from diffio_async.options import RequestOptions
from diffio_async.types import Callback, SourceLike

if TYPE_CHECKING:
    from diffio_async._uploads.uploader import Uploader

#: Name of a source without one.
UNNAMED = "recording"


class AsyncProjects:
    """Projects of the account."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    @cached_property
    def _uploader(self) -> Uploader:
        from diffio_async._uploads.uploader import Uploader

        return Uploader(self._sender)

    async def create(
        self,
        source: SourceLike,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        file_format: str | None = None,
        params: Mapping[str, object] | None = None,
        resume: str | os.PathLike[str] | UploadStore | None = None,
        on_progress: Callback[UploadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> Project:
        """Create a project and upload its recording.

        Args:
            source: A path, a URL as text (`s3://bucket/key`), bytes, a binary file object (read
                from its position), an upload received by a web framework, or an async iterator of
                bytes. Objects and sources that can be read only once (iterators, pipes,
                `GzipFile`s) are first copied to a temporary file.
            file_name: Name of the recording. If None, the name of the source.
            content_type: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            file_format: A short label such as `wav`.
            params: Metadata of the project, as a JSON object.
            resume: A file, or a store, for the state of the upload. The next call with the same
                content and the same `resume`, also in another process, sends the missing bytes to
                the same project, whose name and metadata do not change. A failed upload is then
                not aborted: it can be resumed until its session ends.
            on_progress: Receives the number of bytes passed to the connection, which decreases when
                a part is sent again.
            options: Options of this call.

        Raises:
            InvalidSource: Before anything is sent: the source is missing, a folder, unreadable or
                too large. Later: it changed.
            UploadFailed: The bytes could not be sent; `api_project_id` is the project.
            ResumeFileError: The `resume` file is in use, damaged, or not writable.
            ResponseLost: The project may have been created; the request is not repeated.
            ApiError: The API responded with an error.
        """
        # Loaded with the first upload, not with the client.
        from diffio_async._uploads.open_source import open_source
        from diffio_async._uploads.resume_file import resume_store
        from diffio_async._uploads.uploader import ProjectSpec

        limit = self._sender.options.max_upload_bytes
        if content_type:
            # It becomes a header of the upload, which starts after the project is created.
            validate_headers({"Content-Type": content_type})
        # Validates the arguments before the source is read, which may be possible only once.
        endpoints.create_project(
            file_name=file_name or "",
            content_type="",
            content_length=0,
            file_format=file_format,
            params=params,
        )
        with self._sender.operation("upload") as operation:
            async with (
                resume_store(resume, self._sender.server_clock) as store,
                open_source(source, max_bytes=limit) as found,
            ):
                name = _checked_file_name(file_name or found.name or UNNAMED)
                kind = content_type or found.content_type or content_type_of(name)
                spec = ProjectSpec.create(
                    file_name=name,
                    content_type=kind,
                    size=found.size,
                    file_format=file_format,
                    params=params,
                )
                project = await self._uploader.create(
                    found,
                    spec,
                    store=store,
                    on_progress=on_progress,
                    options=options,
                )
                operation.api_project_id, operation.size = (
                    project.api_project_id,
                    project.size_bytes,
                )
        return project

    async def complete_upload(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> UploadConfirmation:
        """Confirm to the API that an upload is finished; `create` does so itself. Idempotent.

        Args:
            api_project_id: The project.
            options: Options of this call.

        Raises:
            NotReady: The bytes have not arrived (409, `UploadIncomplete`).
        """
        with attach_ids(api_project_id=api_project_id):
            return await self._sender.send(
                endpoints.complete_project_upload(api_project_id), options
            )

    async def list(self, *, options: RequestOptions | None = None) -> ListResponse[ProjectSummary]:
        """Return all projects of the account; other fields of the response are in `extra`.

        Args:
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope `projects:read`.
        """
        found = await self._sender.send(endpoints.list_projects(), options)
        return ListResponse(found.projects, found.extra)

    async def list_generations(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> ListResponse[GenerationSummary]:
        """Return all generations of a project, with their status.

        Args:
            api_project_id: The project.
            options: Options of this call.

        Raises:
            NotFound: The account has no such project.
        """
        call = endpoints.list_project_generations(api_project_id)
        with attach_ids(api_project_id=api_project_id):
            found = await self._sender.send(call, options)
            return ListResponse(found.generations, found.extra)


def _checked_file_name(name: str) -> str:
    """Replace bytes of a file name that are not UTF-8, which JSON cannot represent."""
    return name.encode("utf-8", "replace").decode()
