"""Results of work on one file or generation, as lines for people and as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Protocol

from attrs import evolve, frozen

from diffio_async._text import shell_line
from diffio_async.errors import (
    DiffioError,
    GenerationFailed,
    NotFound,
    TranscriptUnavailable,
    WaitTimeout,
)
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.generations import Download, DownloadType, GenerationProgress

#: Values that progress callbacks receive.
Progress = UploadProgress | GenerationProgress | DownloadProgress

#: Error code of the API for a type that the generation was created without.
_DOWNLOAD_UNAVAILABLE = "downloadUnavailable"
#: Arguments in the library's messages, and the command's options for them.
_OPTIONS = {
    "on_conflict='overwrite'": "--overwrite",
    "download_type='audio'": "--type audio",
    "pass ClientOptions(ssl=ssl.create_default_context(cafile=…))": "add --cacert FILE",
}


def cli_message(error: DiffioError, *, continues: bool) -> str:
    """Return an error message with options in place of the library's arguments.

    `continues`: the generation keeps running without the command.
    """
    if getattr(error, "code", None) == _DOWNLOAD_UNAVAILABLE:
        return "this type is not available: download the audio instead (--type audio)"
    text = str(error)
    if isinstance(error, WaitTimeout):
        # The rest of the library's message is its own advice.
        text = re.split(r"[;:] ", text, maxsplit=1)[0]
        return f"{text}; it continues" if continues else f"{text}: allow more time with --timeout"
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    return text


@frozen(kw_only=True)
class ResumeCommand:
    """The `diffio-async download` command that downloads a generation's result later.

    `confirmed`: the service has reported the generation; without that, it may not exist.
    `output` is the target file or folder, None for the current folder; `audio_output` the same
    if the audio is downloaded in place of another type.
    """

    generation_id: str
    api_project_id: str
    download_type: DownloadType = "audio"
    output: str | None = None
    audio_output: str | None = None
    idempotency_key: str | None = None
    confirmed: bool = True

    def lines(self) -> list[str]:
        """Return the command for people."""
        return [f"  {'resume' if self.confirmed else 'retry'}: {self.command()}"]

    def command(self) -> str:
        """Return the command for a shell."""
        words = ["diffio-async", "download", self.generation_id, "--project", self.api_project_id]
        if self.download_type != "audio":
            words += ["--type", self.download_type]
        if self.output is not None:
            words += ["-o", self.output]
        return shell_line(words)

    def after_error(self, error: DiffioError) -> ResumeCommand | None:
        """Return the command that is still useful after `error`, None if there is none."""
        code = getattr(error, "code", None)
        if isinstance(error, TranscriptUnavailable) or code == _DOWNLOAD_UNAVAILABLE:
            if self.download_type == "audio":
                return None
            return evolve(self, download_type="audio", output=self.audio_output)
        # The generation ended without a result, or does not belong to this account.
        return None if isinstance(error, (GenerationFailed, NotFound)) else self


@frozen
class Subject:
    """The file, as the user named it, or the generation id. `field` is its name in JSON."""

    name: str
    field: str = "file"

    def __str__(self) -> str:
        return self.name or "''"

    @property
    def short(self) -> str:
        """The name without folders."""
        return PurePath(self.name).name or str(self)

    def json(self) -> dict[str, object]:
        """Return the field that identifies it."""
        return {self.field: self.name}


class TaskResult(Protocol):
    """Result of the work on one subject."""

    @property
    def subject(self) -> Subject:
        """The file or generation."""
        ...

    @property
    def succeeded(self) -> bool:
        """Whether the result was written."""
        ...

    def lines(self) -> list[str]:
        """Return one or two lines for people."""
        ...

    def json(self) -> dict[str, object]:
        """Return one object for programs."""
        ...


@frozen(kw_only=True)
class Succeeded:
    """The result is at `path` (None: it went to standard output) after `seconds` of work."""

    subject: Subject
    event: str
    seconds: float
    path: Path | None
    progress: GenerationProgress
    download: Download
    model: str | None = None
    succeeded: bool = True

    def lines(self) -> list[str]:
        """Return the path of the result, and the measured change if it is known."""
        gain = gain_summary(self.progress)
        return [
            f"{self.subject} -> {self.path or 'standard output'}",
            *([f"  {gain}"] if gain else []),
        ]

    def json(self) -> dict[str, object]:
        """Return a `restored` or `downloaded` event."""
        return {
            "event": self.event,
            **self.subject.json(),
            "seconds": round(self.seconds, 3),
            "path": str(self.path),
            "api_project_id": self.download.api_project_id,
            "generation_id": self.download.generation_id,
            **({} if self.model is None else {"model": self.model}),
            "download_type": self.download.download_type,
            # Only the sandbox measures this so far.
            "restoration": self.progress.extra.get("restoration"),
        }


@frozen(kw_only=True)
class Failed:
    """There is no result. `resume` is set if the generation can still be downloaded."""

    subject: Subject
    error: DiffioError
    seconds: float = 0.0
    resume: ResumeCommand | None = None
    succeeded: bool = False

    def lines(self) -> list[str]:
        """Return the reason, and the command that resumes."""
        reason = self._reason()
        if self.resume is None:
            return [f"{self.subject}: {reason}{_missing_ids(self.error, reason)}"]
        return [f"{self.subject}: {reason}", *self.resume.lines()]

    def _reason(self) -> str:
        continues = self.resume is not None and self.resume.confirmed
        return cli_message(self.error, continues=continues)

    def json(self) -> dict[str, object]:
        """Return a `failed` event."""
        return {
            "event": "failed",
            **self.subject.json(),
            "seconds": round(self.seconds, 3),
            "error": type(self.error).__name__,
            "message": self._reason(),
            "api_project_id": self.error.api_project_id,
            "generation_id": self.error.generation_id,
            "idempotency_key": self.error.idempotency_key,
            "resume_command": self.resume.command() if self.resume else None,
        }


@frozen(kw_only=True)
class Interrupted:
    """The user stopped the command; the generation is paid for and keeps running."""

    subject: Subject
    resume: ResumeCommand
    succeeded: bool = False

    def lines(self) -> list[str]:
        """Return the generation that continues, and the command that resumes."""
        generation = f"generation {self.resume.generation_id} of {self.resume.api_project_id}"
        status = (
            f"{generation} continues"
            if self.resume.confirmed
            else f"the service has not confirmed {generation}"
        )
        return [f"{self.subject}: interrupted; {status}", *self.resume.lines()]

    def json(self) -> dict[str, object]:
        """Return an `interrupted` event."""
        return {
            "event": "interrupted",
            **self.subject.json(),
            "api_project_id": self.resume.api_project_id,
            "generation_id": self.resume.generation_id,
            "idempotency_key": self.resume.idempotency_key,
            "resume_command": self.resume.command(),
        }


@frozen(kw_only=True)
class InterruptedEarly:
    """The user stopped the command before a generation was known to be started.

    `may_be_billed`: a generation was requested, and no response was received.
    """

    subject: Subject
    api_project_id: str | None
    idempotency_key: str | None
    may_be_billed: bool
    succeeded: bool = False

    def lines(self) -> list[str]:
        """Return what may be running or is being aborted, and the command that finds out."""
        project = self.api_project_id
        if self.may_be_billed:
            return [
                f"{self.subject}: interrupted while a generation of {project} was being started; "
                "it may run and be billed",
                f"  wait for it: {self._command()}",
            ]
        state = "" if project is None else f"; the upload of {project} is being aborted"
        return [f"{self.subject}: interrupted{state}"]

    def json(self) -> dict[str, object]:
        """Return an `interrupted` event."""
        return {
            "event": "interrupted",
            **self.subject.json(),
            "api_project_id": self.api_project_id,
            "generation_id": None,
            "idempotency_key": self.idempotency_key if self.may_be_billed else None,
            "resume_command": self._command(),
        }

    def _command(self) -> str | None:
        if not self.may_be_billed or self.api_project_id is None:
            return None
        return shell_line(["diffio-async", "wait", "--project", self.api_project_id])


def _missing_ids(error: DiffioError, text: str) -> str:
    """Return the ids of the created project and generation that `text` does not contain."""
    ids = {"project": error.api_project_id, "generation": error.generation_id}
    missing = [f"{name} {value}" for name, value in ids.items() if value and value not in text]
    return f" ({', '.join(missing)})" if missing else ""


def gain_summary(progress: GenerationProgress) -> str | None:
    """Return what a restoration changed, if the server measured it (the sandbox does)."""
    measured = progress.extra.get("restoration")
    if not isinstance(measured, Mapping):
        return None
    parts: list[str] = []
    for field, label in (
        ("speechToNoiseDb", "speech over noise"),
        ("noiseFloorDb", "noise floor"),
    ):
        match measured.get(field):
            case {"before": int() | float() as before, "after": int() | float() as after}:
                parts.append(f"{label} {before:.1f} -> {after:.1f} dB ({after - before:+.1f})")
            case _:
                pass
    engine = measured.get("engine")
    if parts and isinstance(engine, str):
        parts[-1] += f", by {engine}"
    return "; ".join(parts) or None


def describe_stage(progress: Progress) -> str:
    """Return the current stage in a few words."""
    if isinstance(progress, UploadProgress):
        return f"uploading {_transferred(progress.sent, progress.total, progress.rate)}"
    if isinstance(progress, DownloadProgress):
        return f"downloading {_transferred(progress.received, progress.total, progress.rate)}"
    if progress.complete or progress.failed:
        return progress.status
    queue = progress.queue
    if progress.status == "queued" and queue is not None and queue.position is not None:
        return f"queued ({queue.position})"
    for stage, label in (
        (progress.pre_processing, "preparing"),
        (progress.inference, "restoring"),
        (progress.restored_video, "making the video"),
    ):
        if stage is not None and 0 < (stage.progress or 0) < 100:  # noqa: PLR2004 - percent
            return label
    return progress.status


def _transferred(done: int, total: int | None, rate: float | None) -> str:
    """Return `12.3 of 90.0 MB, 4.5 MB/s`; the total and the rate only if they are known."""
    of = "" if total is None else f" of {total / 1e6:.1f}"
    speed = "" if rate is None else f", {rate / 1e6:.1f} MB/s"
    return f"{done / 1e6:.1f}{of} MB{speed}"
