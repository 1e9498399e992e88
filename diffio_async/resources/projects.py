"""Projects: upload recordings, list them and what was made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from diffio_async._http.error_context import attach_ids
from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints
from diffio_async._protocol.media_types import content_type_of
from diffio_async._protocol.urls import validate_headers
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.resume_file import resume_store
from diffio_async._uploads.uploader import ProjectSpec, Uploader
from diffio_async.events import UploadProgress
from diffio_async.models.generations import GenerationSummary
from diffio_async.models.json_values import ListResponse
from diffio_async.models.projects import Project, ProjectSummary, UploadConfirmation, UploadStore
from diffio_async.options import RequestOptions
from diffio_async.types import Callback, SourceLike

#: What a source without a name is called.
UNNAMED = "recording"


class AsyncProjects:
    """The projects of the account the key belongs to."""

    def __init__(self, sender: ApiTransport, uploader: Uploader) -> None:
        self._sender = sender
        self._uploader = uploader

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
            source: A path, bytes, a binary file object (read from where it stands), an upload that
                a web framework received, or an async iterator of bytes. What can be read only once
                (iterators, pipes, `GzipFile`s) is kept in a temporary file until it is sent.
            file_name: The recording's name; the source's own where None.
            content_type: Its MIME type; the source's own where None, or guessed from the name.
            file_format: A short label such as `wav`.
            params: Your own words about the project, kept with it.
            resume: A file, or a store, that keeps what is needed to go on: the next call with the
                same content and the same `resume`, in another process too, sends what is missing
                to the same project, under the name and words that was made with. A failed upload
                is then left open at the service, until its session ends.
            on_progress: Told of bytes handed to the connection; fewer when a part is sent again.
            options: Options of this call.

        Raises:
            InvalidSource: Before anything is sent: the source is missing, a folder, unreadable or
                too large. On the way: it changed.
            UploadFailed: The bytes could not be sent; `api_project_id` names the project.
            ResumeFileError: The `resume` file is in use, damaged, or cannot be written.
            ResponseLost: The project may have been created, and was not asked for a second time.
            ApiError: The API refused to create it.
        """
        limit = self._sender.options.max_upload_bytes
        if content_type:
            # It becomes a header of the signed upload, when the project is there already.
            validate_headers({"Content-Type": content_type})
        # What is wrong with the words is said before a source is read that can be read but once.
        endpoints.create_project(
            file_name=file_name or "",
            content_type="",
            content_length=0,
            file_format=file_format,
            params=params,
        )
        async with (
            resume_store(resume, self._sender.server_clock) as store,
            open_source(source, max_bytes=limit) as found,
        ):
            name = _checked_file_name(file_name or found.name or UNNAMED)
            kind = content_type or found.content_type or content_type_of(name)
            call = endpoints.create_project(
                file_name=name,
                content_type=kind,
                content_length=found.size,
                file_format=file_format,
                params=params,
            )
            return await self._uploader.create(
                found,
                ProjectSpec(call, name, kind),
                store=store,
                on_progress=on_progress,
                options=options,
            )

    async def complete_upload(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> UploadConfirmation:
        """Tell the API that an upload is finished; `create` does so itself. Safe to repeat.

        Raises:
            NotReady: The bytes have not landed (409).
        """
        with attach_ids(api_project_id=api_project_id):
            return await self._sender.send(
                endpoints.complete_project_upload(api_project_id), options
            )

    async def list(self, *, options: RequestOptions | None = None) -> ListResponse[ProjectSummary]:
        """Every project of the account; other fields of the response are in `extra`."""
        found = await self._sender.send(endpoints.list_projects(), options)
        return ListResponse(found.projects, found.extra)

    async def list_generations(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> ListResponse[GenerationSummary]:
        """Every generation of a project, with its status.

        Raises:
            NotFound: The account has no such project.
        """
        call = endpoints.list_project_generations(api_project_id)
        with attach_ids(api_project_id=api_project_id):
            found = await self._sender.send(call, options)
            return ListResponse(found.generations, found.extra)


def _checked_file_name(name: str) -> str:
    """A file's name may hold bytes that are not UTF-8; JSON cannot."""
    return name.encode("utf-8", "replace").decode()
