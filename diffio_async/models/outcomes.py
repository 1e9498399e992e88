"""How the wait for one generation of many ended."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from diffio_async.errors import DiffioError
from diffio_async.models._plain import Plain
from diffio_async.models.generations import Download, Generation, GenerationProgress
from diffio_async.models.handles import handle_of
from diffio_async.models.projects import Project


@frozen(kw_only=True)
class Outcome(Plain):
    """How the wait for one generation ended; `error` is None where it is complete.

    Attributes:
        generation_id: The generation.
        api_project_id: Its project, where that is known.
        status: The last status that was told, None where none was.
        progress: The last progress that was told, None where none was.
        error: `GenerationFailed`, `WaitTimeout`, `NotFound`, …
    """

    generation_id: str
    api_project_id: str | None = None
    status: str | None = None
    progress: GenerationProgress | None = None
    error: DiffioError | None = None

    @property
    def ok(self) -> bool:
        """The generation is complete: its result can be downloaded."""
        return self.error is None

    @property
    def handle(self) -> str | None:
        """What to wait on it by, here or elsewhere; None where its project is not known."""
        if self.api_project_id is None:
            return None
        return handle_of(self.generation_id, self.api_project_id)


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
