"""Uploads: the offers of the two eras, and what the edge answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

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
class UploadedProject(Plain):
    """`complete_project_upload`'s answer: the size that landed, in bytes."""

    api_project_id: str
    status: str = "uploaded"
    size_bytes: int | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class StartedUpload(Plain):
    """The edge's `start`: the multipart upload, and the part size in bytes where it sets one."""

    upload_id: str
    part_size_bytes: int | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class PartReceipt(Plain):
    """The edge's answer to one part."""

    etag: str
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class AcknowledgedUpload(Plain):
    """The edge's answer to `complete` and `abort`, which need say nothing."""

    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)
