"""Progress and results of `restore` and `download`, as bars on a terminal, lines, or JSON."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from diffio_async._protocol.api_errors import DOWNLOAD_UNAVAILABLE
from diffio_async._text import (
    ProgressCounts,
    cells,
    fit_line,
    format_clock,
    progress_bar,
    shorten,
)
from diffio_async.cli.command import command_line, console, print_event
from diffio_async.errors import (
    DiffioError,
    GenerationFailed,
    NotFound,
    TranscriptUnavailable,
    WaitTimeout,
)
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.generations import Download, DownloadType, GenerationProgress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Values that progress callbacks receive.
Progress = UploadProgress | GenerationProgress | DownloadProgress

#: Arguments in the library's messages, and the command's options for them.
_OPTIONS = {
    "on_conflict='overwrite'": "--overwrite",
    "download_type='audio'": "--type audio",
    "pass ClientOptions(ssl=ssl.create_default_context(cafile=…))": "add --cacert FILE",
}
#: Minimum columns of a name while anything else can be shortened or left out.
_MIN_NAME = 12


def cli_message(error: DiffioError, *, continues: bool) -> str:
    """Return an error message with options in place of the library's arguments.

    `continues`: the generation keeps running without the command.
    """
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

    def line(self) -> str:
        """Return the command for people."""
        return f"  {'resume' if self.confirmed else 'retry'}: {self.command()}"

    def command(self) -> str:
        """Return the command for a shell."""
        words = ["download", self.generation_id, "--project", self.api_project_id]
        if self.download_type != "audio":
            words += ["--type", self.download_type]
        if self.output is not None:
            words += ["-o", self.output]
        return command_line(*words)

    def after_error(self, error: DiffioError) -> ResumeCommand | None:
        """Return the command that is still useful after `error`, or None."""
        code = getattr(error, "code", None)
        if isinstance(error, TranscriptUnavailable) or code == DOWNLOAD_UNAVAILABLE:
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


@frozen(kw_only=True)
class Succeeded:
    """The result is at `path` or `url` (None: on standard output) after `seconds` of work.

    `measured`: lines about what was measured of the recording and the result on this machine.
    """

    subject: Subject
    event: str
    seconds: float
    path: Path | None
    url: str | None = None
    progress: GenerationProgress
    download: Download
    model: str | None = None
    measured: Sequence[str] = ()
    succeeded: bool = True

    def lines(self) -> list[str]:
        """Return the path of the result, and the measured change and the warnings if any."""
        line = f"{self.subject} -> {self.path or self.url or 'standard output'}"
        warnings = [f"warning: {text}" for text in _warnings(self.progress)]
        measured = self.measured or filter(None, [_measured_change(self.progress)])
        return [line, *(f"  {text}" for text in (*measured, *warnings))]

    def json(self) -> dict[str, object]:
        """Return a `restored` or `downloaded` event."""
        return {
            "event": self.event,
            **self.subject.json(),
            "seconds": round(self.seconds, 3),
            **({"path": str(self.path)} if self.url is None else {"url": self.url}),
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
        """Return the reason, and the command that resumes or the ids that it does not contain."""
        reason = self._reason()
        if self.resume is not None:
            return [f"{self.subject}: {reason}", self.resume.line()]
        ids = {"project": self.error.api_project_id, "generation": self.error.generation_id}
        missing = [f"{name} {id_}" for name, id_ in ids.items() if id_ and id_ not in reason]
        return [f"{self.subject}: {reason}" + (f" ({', '.join(missing)})" if missing else "")]

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
    """The user stopped the command.

    `resume` is set if a generation is known to be started; it is paid for and keeps running.
    Otherwise `may_be_billed`: a generation was requested, and no response was received.
    """

    subject: Subject
    resume: ResumeCommand | None
    api_project_id: str | None = None
    idempotency_key: str | None = None
    may_be_billed: bool = False
    succeeded: bool = False

    def lines(self) -> list[str]:
        """Return what continues, may be running or is being aborted, and the command to run."""
        resume, project = self.resume, self.api_project_id
        if resume is not None:
            generation = f"generation {resume.generation_id} of {resume.api_project_id}"
            unconfirmed = f"the service has not confirmed {generation}"
            status = f"{generation} continues" if resume.confirmed else unconfirmed
            return [f"{self.subject}: interrupted; {status}", resume.line()]
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
        resume = self.resume
        key = self.idempotency_key if self.may_be_billed else None
        return {
            "event": "interrupted",
            **self.subject.json(),
            "api_project_id": resume.api_project_id if resume else self.api_project_id,
            "generation_id": resume.generation_id if resume else None,
            "idempotency_key": resume.idempotency_key if resume else key,
            "resume_command": self._command(),
        }

    def _command(self) -> str | None:
        if self.resume is not None:
            return self.resume.command()
        if not self.may_be_billed or self.api_project_id is None:
            return None
        return command_line("wait", "--project", self.api_project_id)


TaskResult = Succeeded | Failed | Interrupted


def _warnings(progress: GenerationProgress) -> list[str]:
    """Return what was not restored or not kept, if the server reports it (the sandbox does)."""
    measured = progress.extra.get("restoration")
    warnings = measured.get("warnings") if isinstance(measured, Mapping) else None
    return [str(text) for text in warnings] if isinstance(warnings, list) else []


def _measured_change(progress: GenerationProgress) -> str | None:
    """Return what a restoration changed, if the server measured it (the sandbox does)."""
    measured = progress.extra.get("restoration")
    if not isinstance(measured, Mapping):
        return None
    labels = {"speechToNoiseDb": "speech over noise", "noiseFloorDb": "noise floor"}
    parts: list[str] = []
    for name, label in labels.items():
        match measured.get(name):
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


def _progress_event(progress: Progress) -> dict[str, object]:
    """Return an `upload`, `progress` or `download` event."""
    if isinstance(progress, GenerationProgress):
        return {
            "event": "progress",
            "status": progress.status,
            "stage": describe_stage(progress),
            "percent": round(progress.percent, 1),
            "api_project_id": progress.api_project_id,
            "generation_id": progress.generation_id,
        }
    rate = {} if progress.rate is None else {"bytes_per_second": round(progress.rate)}
    if isinstance(progress, UploadProgress):
        return {"event": "upload", "sent": progress.sent, "total": progress.total, **rate}
    return {"event": "download", "received": progress.received, "total": progress.total, **rate}


@define
class _Row:
    """Bar of one file; upload, generation and download each fill it from zero."""

    stage: str
    percent: float
    started_at: float = field(factory=time.monotonic)

    def line(self, name: str, width: int) -> str:
        """Return the percentage, then the name, the stage, the time and a bar as they fit."""
        end = f" {self.percent:3.0f} %"
        free = width - cells(end)
        name = shorten(name, max(free - cells(self.stage) - 1, min(free, _MIN_NAME)))
        line = f"{name} {self.stage}" if cells(name) + 1 + cells(self.stage) <= free else name
        elapsed = f" {format_clock(time.monotonic() - self.started_at)}"
        if cells(line) + cells(end) + cells(elapsed) <= width:
            end += elapsed
        return line + progress_bar(self.percent, width - cells(line) - cells(end)) + end


class Reporter:
    """Displays the progress and the results of files.

    With `as_json`, each is an object on stdout. Otherwise successes are lines on stdout and
    failures on stderr, below which a terminal has a bar per active file. `to_stdout`: standard
    output receives the audio itself, so no line is printed on it.
    """

    def __init__(self, *, as_json: bool, to_stdout: bool = False) -> None:
        self._as_json, self._to_stdout = as_json, to_stdout
        self._rows: dict[Subject, _Row] = {}
        self._started_at = time.monotonic()
        self._count = self._succeeded = self._failed = 0

    def live(self) -> AbstractContextManager[None]:
        """Show the bars during the body, if stderr is a terminal."""
        return nullcontext() if self._as_json else console.live(self.lines)

    def expect(self, count: int) -> None:
        """Set the number of files, for the line of totals."""
        self._count = count

    def lines(self, width: int) -> list[str]:
        """Return the current bars, and the totals of several files."""
        lines = [row.line(subject.short, width) for subject, row in list(self._rows.items())]
        ended = self._succeeded + self._failed
        if self._count > 1:
            elapsed = time.monotonic() - self._started_at
            eta = elapsed / self._succeeded * (self._count - ended) if self._succeeded else None
            counts = ProgressCounts(ended, self._count, self._failed, eta)
            lines.append(fit_line(counts, [f"for {format_clock(elapsed)}"], width))
        return lines

    def on_progress(self, subject: Subject, progress: Progress) -> None:
        """Display progress."""
        if self._as_json:
            console.json({**subject.json(), **_progress_event(progress)}, optional=True)
            return
        row = self._rows.setdefault(subject, _Row("", 0.0))
        row.stage, row.percent = describe_stage(progress), progress.percent or 0.0

    def on_result(self, result: TaskResult) -> None:
        """Display a result in place of the bar of its file."""
        self._rows.pop(result.subject, None)
        self._succeeded += result.succeeded
        self._failed += not result.succeeded
        to_stderr = self._to_stdout or not result.succeeded
        print_event(result.json(), *result.lines(), as_json=self._as_json, to_stderr=to_stderr)
