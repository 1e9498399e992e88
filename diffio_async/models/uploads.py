"""Uploads: the offers of the two eras, and what the edge answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from diffio_async.models._plain import Plain


@frozen(kw_only=True)
class EdgeUpload(Plain):
    """The offer of a multipart upload at the edge (`upload` of `create_project`'s answer).

    Sizes are bytes. The token is the only credential of the edge.
    """

    edge_base_url: str
    upload_token: str = field(repr=False)
    part_size_bytes: int
    upload_session_id: str | None = None
    max_bytes: int | None = None
    object_key: str | None = None
    expires_at: datetime | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class CreatedProject(Plain):
    """`create_project`'s answer: the project, and one or both upload offers."""

    api_project_id: str
    object_path: str | None = None
    expires_at: datetime | None = None
    upload: EdgeUpload | None = None
    # The URL is a credential.
    upload_url: str | None = field(default=None, repr=False)
    upload_method: str | None = None
    bucket: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class UploadConfirmation(Plain):
    """`complete_project_upload`'s answer: the size that landed, in bytes."""

    api_project_id: str
    status: str = "uploaded"
    size_bytes: int | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class MultipartStarted(Plain):
    """The edge's `start`: the multipart upload, and the part size in bytes where it sets one."""

    upload_id: str
    part_size_bytes: int | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class PartAck(Plain):
    """The edge's answer to one part."""

    etag: str
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class EmptyResponse(Plain):
    """The edge's answer to `complete` and `abort`, which need say nothing."""

    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class UploadRecord(Plain):
    """What is needed to go on with an upload, in another process too.

    It pickles, and holds credentials (the offer's token, the signed URL): keep it where keys are
    kept.

    Attributes:
        digest: The SHA-256 of the whole content, in hex: no other content goes on with it.
        size: Bytes in all.
        file_name: The recording's name, as the project was created with.
        content_type: Its MIME type.
        api_project_id: The project.
        object_path: Where the service keeps the recording.
        expires_at: When the offer ends.
        offer: The multipart upload's offer, None where the bytes go by one signed PUT.
        upload_url: The signed URL, and `upload_method` its method.
        upload_id: The multipart upload, once it is started.
        part_size_bytes: Bytes in each of its parts but the last.
        etags: The parts that were acknowledged, by number (from 1).
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
    """Keeps the records of uploads under way, one for each content.

    Its methods run on the client's event loop and must not block it. What they raise ends the
    upload, which can be gone on with from what was kept before.
    """

    async def load(self, digest: str) -> UploadRecord | None:
        """The record of this content, None where there is none."""
        ...

    async def save(self, record: UploadRecord) -> None:
        """Keep the record in the place of the last one; durable when it returns."""
        ...

    async def forget(self, digest: str) -> None:
        """Drop the record, where there is one: the upload is finished, or its offer is void."""
        ...
