"""Generations: the jobs that restore a project's recording, and what they leave."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from diffio_async.models._plain import Plain
from diffio_async.models.handles import handle_of
from diffio_async.models.scalars import number
from diffio_async.models.scalars import reason as reason_of

#: What can be downloaded; `mp3` is the guide's other name for `audio`.
DownloadType = Literal["audio", "video", "transcript", "mp3"]

#: The statuses that end a generation; any other word means that it is still running.
COMPLETE = "complete"
FAILED = frozenset({"failed", "error", "cancelled", "canceled", "expired"})

#: The model used where none is named: the one every plan is served.
DEFAULT_MODEL = "diffio-4.6-flash"


@frozen(kw_only=True)
class Generation(Plain):
    """`create generation`'s answer.

    `idempotent_replay` is true where the key had been used: this is that earlier generation.
    """

    generation_id: str
    api_project_id: str
    status: str
    model_key: str | None = None
    idempotent_replay: bool | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)

    @property
    def handle(self) -> str:
        """Its ids as one small string without secrets: `attach` and every wait take it."""
        return handle_of(self.generation_id, self.api_project_id)


@frozen(kw_only=True)
class GenerationSummary(Plain):
    """One row of `projects.list_generations()`; `progress` is 0 to 100."""

    generation_id: str
    status: str | None = None
    model_key: str | None = None
    progress: float | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class GenerationList(Plain):
    """`list_project_generations`' answer."""

    generations: tuple[GenerationSummary, ...]
    api_project_id: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class StageProgress(Plain):
    """One stage of a generation; `progress` is 0 to 100. 100 does not mean the job is complete."""

    job_id: str | None = None
    job_state: str | None = None
    status: str | None = None
    progress: float | None = None
    status_message: str | None = None
    error: str | None = None
    error_details: object = field(default=None, hash=False)
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class QueuePosition(Plain):
    """Where a queued generation stands; 1 or 0 is next, as the server counts."""

    position: int | None = None
    message: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class TranscriptionState(Plain):
    """`pending`, `available`, `unavailable`, or a word yet to come."""

    status: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class GenerationProgress(Plain):
    """`get_generation_progress`' answer. Only `status` says whether the generation has ended."""

    generation_id: str
    api_project_id: str
    status: str
    has_video: bool | None = None
    pre_processing: StageProgress | None = None
    inference: StageProgress | None = None
    restored_video: StageProgress | None = None
    error: str | None = None
    error_details: object = field(default=None, hash=False)
    transcription: TranscriptionState | None = None
    stage: str | None = None
    stage_progress: object = field(default=None, hash=False)
    queue: QueuePosition | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)

    @property
    def complete(self) -> bool:
        """The result can be downloaded."""
        return self.status == COMPLETE

    @property
    def failed(self) -> bool:
        """The generation ended without a result."""
        return self.status in FAILED

    @property
    def reason(self) -> str | None:
        """Why it failed, in the service's words: an error, its code, or that of a stage."""
        stages = (self.pre_processing, self.inference, self.restored_video)
        for each in (self, *stages):
            if each is not None:
                said = (each.error, each.extra.get("error"), each.error_details)
                found = next(filter(None, map(reason_of, said)), None)
                if found is not None:
                    return found
        return None

    @property
    def percent(self) -> float:
        """0 to 100: the mean of the stages the server named, 100 only when complete."""
        if self.complete:
            return 100.0
        named = [
            stage.progress or 0.0
            for stage in (self.pre_processing, self.inference, self.restored_video)
            if stage is not None
        ]
        if not named:
            # What a listing tells of the whole.
            named = [number(self.extra.get("progress")) or 0.0]
        return min(99.0, max(0.0, sum(named) / len(named)))

    @property
    def handle(self) -> str:
        """As `Generation.handle`."""
        return handle_of(self.generation_id, self.api_project_id)


@frozen(kw_only=True)
class Download(Plain):
    """`get_generation_download`' answer: a signed link that expires and needs no credential."""

    generation_id: str
    api_project_id: str
    # Whoever has the URL has the recording.
    download_url: str = field(repr=False)
    download_type: str | None = None
    file_name: str | None = None
    storage_path: str | None = None
    mime_type: str | None = None
    bucket: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class DownloadResult(Plain):
    """A result that was downloaded: either `path` or `content` is set; `size` is in bytes."""

    download: Download
    size: int
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
