"""Projects, and the uploads of their recordings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from diffio_async.models.json_values import ApiModel, Plain


@frozen(kw_only=True)
class Project(Plain):
    """A project whose recording is uploaded.

    Attributes:
        api_project_id: The id, which generations need.
        status: `uploaded`, as the API reports it.
        file_name: Name of the recording.
        content_type: MIME type of the recording.
        size_bytes: Number of bytes sent.
        object_path: Path of the recording in the service's storage.
        expires_at: End of the upload offer, None if the API did not report it.
    """

    api_project_id: str
    status: str
    file_name: str
    content_type: str
    size_bytes: int
    object_path: str | None = None
    expires_at: datetime | None = None


@frozen(kw_only=True)
class ProjectSummary(ApiModel):
    """One row of `projects.list()`.

    Attributes:
        api_project_id: The id.
        status: `uploading`, `uploaded`, or a status added later.
        original_file_name: Name of the recording.
        content_type: MIME type of the recording.
        has_video: Whether the recording has a video track.
        generation_count: Number of generations started for it.
        created_at: When it was created.
        updated_at: When it last changed.
    """

    api_project_id: str
    status: str | None = None
    original_file_name: str | None = None
    content_type: str | None = None
    has_video: bool | None = None
    generation_count: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True)
class ProjectList(ApiModel):
    """Response of `list_projects`."""

    projects: tuple[ProjectSummary, ...]


@frozen(kw_only=True)
class EdgeUpload(ApiModel):
    """Offer of a multipart upload to the edge host, in the response of `create_project`.

    Attributes:
        edge_base_url: Base URL of the edge host.
        upload_token: The only credential of the edge host.
        part_size_bytes: Size of each part but the last.
        upload_session_id: Id of the session.
        max_bytes: Maximum size of the recording.
        object_key: Path of the recording in the service's storage.
        expires_at: When the offer ends.
    """

    edge_base_url: str
    upload_token: str = field(repr=False)
    part_size_bytes: int
    upload_session_id: str | None = None
    max_bytes: int | None = None
    object_key: str | None = None
    expires_at: datetime | None = None


@frozen(kw_only=True)
class CreatedProject(ApiModel):
    """Response of `create_project`: the project, and one or both of the upload offers.

    Attributes:
        api_project_id: The id.
        object_path: Path of the recording in the service's storage.
        expires_at: When the offers end.
        upload: Offer of a multipart upload, preferred if both are offered.
        upload_url: Signed URL for an upload in one request. The URL is a credential.
        upload_method: HTTP method for `upload_url`.
        bucket: Storage bucket behind `upload_url`.
    """

    api_project_id: str
    object_path: str | None = None
    expires_at: datetime | None = None
    upload: EdgeUpload | None = None
    upload_url: str | None = field(default=None, repr=False)
    upload_method: str | None = None
    bucket: str | None = None


@frozen(kw_only=True)
class UploadConfirmation(ApiModel):
    """Response of `complete_project_upload`.

    Attributes:
        api_project_id: The project.
        status: `uploaded`, or a status added later.
        size_bytes: Bytes that arrived.
    """

    api_project_id: str
    status: str = "uploaded"
    size_bytes: int | None = None


@frozen(kw_only=True)
class MultipartStarted(ApiModel):
    """Response of the edge host to `start`; `part_size_bytes`, if set, overrides the offer's."""

    upload_id: str
    part_size_bytes: int | None = None


@frozen(kw_only=True)
class PartAck(ApiModel):
    """Response of the edge host to one part."""

    etag: str


@frozen(kw_only=True)
class EmptyResponse(ApiModel):
    """Response of the edge host to `complete` and `abort`, which may be empty."""


@frozen(kw_only=True)
class UploadRecord(Plain):
    """State of an upload from which it can be resumed, also by another process.

    It pickles, and contains credentials (the token of the offer, the signed URL): protect it like
    an API key.

    Attributes:
        digest: SHA-256 of the content, in hex. An upload of other content does not resume it.
        size: Size of the content in bytes.
        file_name: Name of the recording that the project was created with.
        content_type: Its MIME type.
        api_project_id: The project.
        object_path: Path of the recording in the service's storage.
        expires_at: When the offer ends.
        offer: Offer of the multipart upload, None if the bytes are sent to `upload_url`.
        upload_url: The signed URL.
        upload_method: HTTP method for `upload_url`.
        upload_id: Id of the multipart upload, once it is started.
        part_size_bytes: Size of each of its parts but the last.
        etags: Etags of the acknowledged parts by number, from 1.
    """

    digest: str
    size: int
    file_name: str
    content_type: str
    api_project_id: str
    object_path: str | None = None
    expires_at: datetime | None = None
    offer: EdgeUpload | None = None
    upload_url: str | None = field(default=None, repr=False)
    upload_method: str | None = None
    upload_id: str | None = None
    part_size_bytes: int | None = None
    etags: Mapping[int, str] = field(factory=dict, hash=False)


@runtime_checkable
class UploadStore(Protocol):
    """Store of the records of unfinished uploads, one for each content.

    The methods run on the event loop of the client and must not block it. An exception of theirs
    ends the upload, which can be resumed from the last record that was saved.
    """

    async def load(self, digest: str) -> UploadRecord | None:
        """Return the record of this content, None if it does not exist."""
        ...

    async def save(self, record: UploadRecord) -> None:
        """Store the record durably, in place of the last one of this content."""
        ...

    async def forget(self, digest: str) -> None:
        """Delete the record, if it exists: the upload is finished, or its offer has ended."""
        ...
