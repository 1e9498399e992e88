"""Projects: the recordings that were uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from diffio_async.models._plain import Plain


@frozen(kw_only=True)
class Project(Plain):
    """A project whose recording is uploaded.

    `size_bytes` is what was sent; `expires_at` is when the upload offer ends, where it was told.
    """

    api_project_id: str
    status: str
    file_name: str
    content_type: str
    size_bytes: int
    object_path: str | None = None
    expires_at: datetime | None = None


@frozen(kw_only=True)
class ProjectSummary(Plain):
    """One row of `projects.list()`. `status` is `uploading`, `uploaded`, or a word yet to come."""

    api_project_id: str
    status: str | None = None
    original_file_name: str | None = None
    content_type: str | None = None
    has_video: bool | None = None
    generation_count: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class ProjectList(Plain):
    """`list_projects`' answer."""

    projects: tuple[ProjectSummary, ...]
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)
