"""Generations: the jobs that restore recordings, their handles, and how waiting for them ended."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from diffio_async._error_base import ConfigurationError, DiffioError
from diffio_async._validators import displayed
from diffio_async.models import json_values
from diffio_async.models.json_values import ApiModel, Plain, notebook_html
from diffio_async.models.projects import Project

#: Types of results. `mp3` is another name for `audio`, as in the API guide.
DownloadType = Literal["audio", "video", "transcript", "mp3"]

#: Statuses that end a generation. With any other status it is queued or running.
COMPLETE = "complete"
FAILED = frozenset({"failed", "error", "cancelled", "canceled", "expired"})

#: The default model, which the hosted service offers in every plan.
DEFAULT_MODEL = "diffio-4.6-flash"


@frozen(kw_only=True)
class Generation(ApiModel):
    """Response to the creation of a generation.

    Attributes:
        generation_id: The id.
        api_project_id: The project.
        status: The status, at first `queued`.
        model_key: The model.
        idempotent_replay: True if the idempotency key was used before: this is that generation.
    """

    generation_id: str
    api_project_id: str
    status: str
    model_key: str | None = None
    idempotent_replay: bool | None = None

    @property
    def handle(self) -> str:
        """Both ids as one short string without secrets, for `attach` and for all waits."""
        return handle_of(self.generation_id, self.api_project_id)


@frozen(kw_only=True)
class GenerationSummary(ApiModel):
    """One row of `projects.list_generations()`.

    Attributes:
        generation_id: The id.
        status: The status.
        model_key: The model.
        progress: Percentage, 0 to 100.
        created_at: When it was created.
        updated_at: When it last changed.
    """

    generation_id: str
    status: str | None = None
    model_key: str | None = None
    progress: float | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True)
class GenerationList(ApiModel):
    """Response of `list_project_generations`."""

    generations: tuple[GenerationSummary, ...]
    api_project_id: str | None = None


@frozen(kw_only=True)
class StageProgress(ApiModel):
    """One stage of a generation.

    Attributes:
        job_id: Id of the job of this stage.
        job_state: State of that job, as the API reports it.
        status: Such as `pending`, `processing`, `complete`, or a status added later.
        progress: Percentage of the stage, 0 to 100. 100 does not mean that it is complete.
        status_message: Text for people.
        error: Why the stage failed.
        error_details: Details, in a shape that the API defines.
    """

    job_id: str | None = None
    job_state: str | None = None
    status: str | None = None
    progress: float | None = None
    status_message: str | None = None
    error: str | None = None
    error_details: object = field(default=None, hash=False)


@frozen(kw_only=True)
class QueuePosition(ApiModel):
    """Position of a queued generation.

    Attributes:
        position: Position as the API counts; 1 or 0 is next.
        message: Text for people.
    """

    position: int | None = None
    message: str | None = None


@frozen(kw_only=True)
class TranscriptionState(ApiModel):
    """State of a transcript.

    Attributes:
        status: `pending`, `available`, `unavailable`, or a status added later.
    """

    status: str | None = None


@frozen(kw_only=True)
class GenerationProgress(ApiModel):
    """Progress of a generation. Only `status` shows whether it has ended.

    Attributes:
        generation_id: The id.
        api_project_id: The project.
        status: `queued`, `processing`, `complete`, `failed`, `error`, or a status added later.
        has_video: Whether the recording has a video track.
        pre_processing: First stage.
        inference: Second stage.
        restored_video: Last stage of recordings with video.
        error: Why it failed.
        error_details: Details of the failure, in a shape that the API defines.
        transcription: State of the transcript.
        stage: Name of the current stage.
        stage_progress: Progress of the current stage, in a shape that the API defines.
        queue: Position in the queue.
    """

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

    @property
    def complete(self) -> bool:
        """Whether the result can be downloaded."""
        return self.status == COMPLETE

    @property
    def failed(self) -> bool:
        """Whether the generation ended without a result."""
        return self.status in FAILED

    @property
    def reason(self) -> str | None:
        """Why it failed, as the API reports it: its error, or that of a stage; None if unknown."""
        reports: list[GenerationProgress | StageProgress] = [self, *self._stages]
        for each in reports:
            candidates = (each.error, each.extra.get("error"), each.error_details)
            found = next(filter(None, map(json_values.reason, candidates)), None)
            if found is not None:
                return found
        return None

    @property
    def percent(self) -> float:
        """Percentage, 0 to 100: the mean of the reported stages; 100 only when complete."""
        if self.complete:
            return 100.0
        percentages = [stage.progress or 0.0 for stage in self._stages] or [
            # From a listing, which has no stages.
            json_values.number(self.extra.get("progress")) or 0.0
        ]
        return min(99.0, max(0.0, sum(percentages) / len(percentages)))

    @property
    def handle(self) -> str:
        """Both ids as one short string without secrets, for `attach` and for all waits."""
        return handle_of(self.generation_id, self.api_project_id)

    @property
    def _stages(self) -> list[StageProgress]:
        stages = (self.pre_processing, self.inference, self.restored_video)
        return [stage for stage in stages if stage is not None]


@frozen(kw_only=True)
class Download(ApiModel):
    """Signed link to a result, which expires after some hours and needs no credential.

    Attributes:
        generation_id: The generation.
        api_project_id: The project.
        download_url: The link. Anyone who has it can download the result.
        download_type: `audio`, `video` or `transcript`.
        file_name: Suggested name of the file.
        storage_path: Path of the result in the service's storage.
        mime_type: MIME type of the result.
        bucket: Storage bucket of the result.
    """

    generation_id: str
    api_project_id: str
    download_url: str = field(repr=False)
    download_type: str | None = None
    file_name: str | None = None
    storage_path: str | None = None
    mime_type: str | None = None
    bucket: str | None = None


@frozen(kw_only=True)
class DownloadResult(Plain):
    """A downloaded result.

    Attributes:
        download: The link it was downloaded from.
        size: Size in bytes.
        path: The file, None if the result is elsewhere.
        content: The bytes, None if the result is in a file or an object.
        url: The object (`s3://bucket/key`), None if the result is elsewhere.
    """

    download: Download
    size: int
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    url: str | None = None


@frozen(kw_only=True)
class Outcome(Plain):
    """How waiting for one generation ended.

    Attributes:
        generation_id: The generation.
        api_project_id: Its project, None if unknown.
        status: The last status received, if any.
        progress: The last progress received, if any.
        error: None if the generation is complete, otherwise `GenerationFailed`, `WaitTimeout`,
            `NotFound` or another error.
    """

    generation_id: str
    api_project_id: str | None = None
    status: str | None = None
    progress: GenerationProgress | None = None
    error: DiffioError | None = None

    @property
    def ok(self) -> bool:
        """Whether the generation is complete, so that its result can be downloaded."""
        return self.error is None

    @property
    def handle(self) -> str | None:
        """Both ids as one short string for `attach` and all waits; None without a project."""
        if self.api_project_id is None:
            return None
        return handle_of(self.generation_id, self.api_project_id)


@frozen(kw_only=True)
class Isolation(Plain):
    """Result of `isolate`.

    Attributes:
        project: The uploaded recording.
        generation: The generation that was started for it.
    """

    project: Project
    generation: Generation


@frozen(kw_only=True)
class Restoration(Plain):
    """A restored recording.

    Attributes:
        project: The uploaded recording.
        generation: The generation.
        progress: Its last progress.
        download: The link to the result.
        path: The file with the result, None if the result is elsewhere.
        content: The bytes of the result, None if the result is in a file or an object.
        source: The recording, if it was given as a path.
        url: The object with the result (`s3://bucket/key`), None if the result is elsewhere.
    """

    project: Project
    generation: Generation
    progress: GenerationProgress
    download: Download
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    source: Path | None = None
    url: str | None = None

    def _repr_html_(self) -> str | None:
        return notebook_html(self)


#: Prefix of every handle; the number is the version of the format.
_HANDLE_PREFIX = "dgh1."
#: Maximum characters of a handle, and of an invalid one in a message.
_MAX_HANDLE, _MAX_SHOWN = 10_000, 200
_RESERVED = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPED = r"((?:[A-Za-z0-9_-]|~[0-9a-f]{2})+)"
_HANDLE = re.compile(rf"{re.escape(_HANDLE_PREFIX)}{_ESCAPED}\.{_ESCAPED}")


def handle_of(generation_id: str, api_project_id: str) -> str:
    """Return the handle of a generation: both ids, without secrets, in characters for URLs."""
    return f"{_HANDLE_PREFIX}{_escape(generation_id)}.{_escape(api_project_id)}"


def ids_of(handle: str) -> tuple[str, str]:
    """Return the ids of the generation and of the project in a handle.

    Raises:
        ConfigurationError: It is not a handle, or is incomplete.
    """
    checked: object = handle
    if not isinstance(checked, str):
        raise ConfigurationError(f"a generation's handle is a string, not {displayed(checked)}")
    found = _HANDLE.fullmatch(handle.strip()) if len(handle) <= _MAX_HANDLE else None
    if found is None:
        raise ConfigurationError(
            f"{handle[:_MAX_SHOWN]!r} is not a generation's handle: pass the complete value of "
            "`generation.handle`"
        )
    return _unescape(found[1]), _unescape(found[2])


def ids_in(item: object, api_project_id: str | None = None) -> tuple[str, str | None]:
    """Return the ids of the generation and of the project in an id, a handle, or a model.

    Args:
        item: An id, a handle, or an object with a `generation_id`.
        api_project_id: The project, if the item has none.

    Raises:
        ConfigurationError: The item has no generation id.
    """
    if isinstance(item, str):
        if item.strip().startswith(_HANDLE_PREFIX):
            return ids_of(item)
        generation_id: object = item
    else:
        generation_id = getattr(item, "generation_id", None)
        own = getattr(item, "api_project_id", None)
        api_project_id = own if isinstance(own, str) and own else api_project_id
    if not isinstance(generation_id, str) or not generation_id.strip():
        raise ConfigurationError(
            f"{displayed(item)} is not a generation: pass its id, its handle, or a model with its "
            "id"
        )
    project: object = api_project_id
    if project is not None and not isinstance(project, str):
        raise ConfigurationError(f"api_project_id must be a string, not {displayed(project)}")
    return generation_id, api_project_id


def _escape(identifier: str) -> str:
    return _RESERVED.sub(
        lambda found: b"~%02x" % found[0][0], identifier.encode("utf-8", "replace")
    ).decode()


def _unescape(part: str) -> str:
    escaped = re.sub(r"~([0-9a-f]{2})", r"\\x\1", part)
    raw = escaped.encode().decode("unicode_escape").encode("latin-1")
    return raw.decode("utf-8", "replace")
