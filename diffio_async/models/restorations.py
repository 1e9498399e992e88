"""What the workflows answer with."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from diffio_async.models._plain import Plain
from diffio_async.models.generations import Download, Generation, GenerationProgress
from diffio_async.models.projects import Project


@frozen(kw_only=True)
class Isolation(Plain):
    """A recording that was uploaded and the generation started on it."""

    project: Project
    generation: Generation


@frozen(kw_only=True)
class Restoration(Plain):
    """A recording restored, from upload to download.

    Either `path` (where the result was written) or `content` (the result's bytes) is set.
    """

    project: Project
    generation: Generation
    progress: GenerationProgress
    download: Download
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
