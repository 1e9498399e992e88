"""How the work on one thing ended, and the words for it: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Protocol

from attrs import frozen

from diffio_async._text import shell_line
from diffio_async.cli.resume_command import ResumeCommand, cli_message
from diffio_async.errors import DiffioError
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.generations import Download, GenerationProgress

#: What a progress callback is told.
Fact = UploadProgress | GenerationProgress | DownloadProgress


@frozen
class Subject:
    """What is worked on: a file as the user named it, or a generation's id.

    `field` is what JSON calls it.
    """

    name: str
    field: str = "file"

    def __str__(self) -> str:
        return self.name or "''"

    @property
    def short(self) -> str:
        """Its name without folders."""
        return PurePath(self.name).name or str(self)

    def json(self) -> dict[str, object]:
        """The field that names it."""
        return {self.field: self.name}


class TaskResult(Protocol):
    """How it ended."""

    @property
    def subject(self) -> Subject:
        """What was worked on."""
        ...

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        ...

    def lines(self) -> list[str]:
        """One line for people, and a second one where more is known."""
        ...

    def json(self) -> dict[str, object]:
        """One object for programs."""
        ...


@frozen(kw_only=True)
class Succeeded:
    """The result is at `path`, `seconds` after the work was begun; `model` where it is known.

    Without a path it went to standard output.
    """

    subject: Subject
    event: str
    seconds: float
    path: Path | None
    progress: GenerationProgress
    download: Download
    model: str | None = None
    done: bool = True

    def lines(self) -> list[str]:
        """Where it is, and what was gained where that is known."""
        gain = gain_summary(self.progress)
        return [
            f"{self.subject} -> {self.path or 'standard output'}",
            *([f"  {gain}"] if gain else []),
        ]

    def json(self) -> dict[str, object]:
        """`restored` or `downloaded`."""
        return {
            "event": self.event,
            **self.subject.json(),
            "seconds": round(self.seconds, 3),
            "path": str(self.path),
            "api_project_id": self.download.api_project_id,
            "generation_id": self.download.generation_id,
            **({} if self.model is None else {"model": self.model}),
            "download_type": self.download.download_type,
            # What the sandbox measured; the hosted service says nothing of the kind yet.
            "restoration": self.progress.extra.get("restoration"),
        }


@frozen(kw_only=True)
class Failed:
    """There is no result, and why; `resume` where the generation can still be fetched."""

    subject: Subject
    error: DiffioError
    seconds: float = 0.0
    resume: ResumeCommand | None = None
    done: bool = False

    def lines(self) -> list[str]:
        """The reason, and how to go on."""
        reason = self._reason()
        if self.resume is None:
            return [f"{self.subject}: {reason}{_ids(self.error, reason)}"]
        return [f"{self.subject}: {reason}", *self.resume.lines()]

    def _reason(self) -> str:
        return cli_message(self.error, goes_on=self.resume is not None and self.resume.seen)

    def json(self) -> dict[str, object]:
        """`failed`."""
        return {
            "event": "failed",
            **self.subject.json(),
            "seconds": round(self.seconds, 3),
            "error": type(self.error).__name__,
            "message": self._reason(),
            "api_project_id": self.error.api_project_id,
            "generation_id": self.error.generation_id,
            "idempotency_key": self.error.idempotency_key,
            "pick_up": self.resume.command() if self.resume else None,
        }


@frozen(kw_only=True)
class Interrupted:
    """The user ended the command; the generation, which is paid for, goes on without it."""

    subject: Subject
    resume: ResumeCommand
    done: bool = False

    def lines(self) -> list[str]:
        """What goes on, and how to fetch it."""
        what = f"generation {self.resume.generation_id} of {self.resume.api_project_id}"
        how = f"{what} goes on" if self.resume.seen else f"nothing was heard of {what}"
        return [f"{self.subject}: interrupted; {how}", *self.resume.lines()]

    def json(self) -> dict[str, object]:
        """`interrupted`."""
        return {
            "event": "interrupted",
            **self.subject.json(),
            "api_project_id": self.resume.api_project_id,
            "generation_id": self.resume.generation_id,
            "idempotency_key": self.resume.idempotency_key,
            "pick_up": self.resume.command(),
        }


@frozen(kw_only=True)
class InterruptedEarly:
    """The user ended the command before a generation was known to be started.

    `may_be_billed`: the generation was requested, and its response was not received.
    """

    subject: Subject
    api_project_id: str | None
    idempotency_key: str | None
    may_be_billed: bool
    done: bool = False

    def lines(self) -> list[str]:
        """What may run or is being undone, and how to find out."""
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
        """`interrupted`."""
        return {
            "event": "interrupted",
            **self.subject.json(),
            "api_project_id": self.api_project_id,
            "generation_id": None,
            "idempotency_key": self.idempotency_key if self.may_be_billed else None,
            "pick_up": self._command(),
        }

    def _command(self) -> str | None:
        if not self.may_be_billed or self.api_project_id is None:
            return None
        return shell_line(["diffio-async", "wait", "--project", self.api_project_id])


def _ids(error: DiffioError, text: str) -> str:
    """What was made before it failed, unless the message says so itself."""
    ids = {"project": error.api_project_id, "generation": error.generation_id}
    unsaid = [f"{name} {value}" for name, value in ids.items() if value and value not in text]
    return f" ({', '.join(unsaid)})" if unsaid else ""


def gain_summary(progress: GenerationProgress) -> str | None:
    """What a restoration changed, where the server measured it (the sandbox does)."""
    measured = progress.extra.get("restoration")
    if not isinstance(measured, Mapping):
        return None
    parts: list[str] = []
    for field, words in (
        ("speechToNoiseDb", "speech over noise"),
        ("noiseFloorDb", "noise floor"),
    ):
        match measured.get(field):
            case {"before": int() | float() as before, "after": int() | float() as after}:
                parts.append(f"{words} {before:.1f} -> {after:.1f} dB ({after - before:+.1f})")
            case _:
                pass
    engine = measured.get("engine")
    if parts and isinstance(engine, str):
        parts[-1] += f", by {engine}"
    return "; ".join(parts) or None


def _amount(done: int, total: int | None, rate: float | None) -> str:
    """`12.3 of 90.0 MB, 4.5 MB/s`: the total and the rate where they are known."""
    of = "" if total is None else f" of {total / 1e6:.1f}"
    speed = "" if rate is None else f", {rate / 1e6:.1f} MB/s"
    return f"{done / 1e6:.1f}{of} MB{speed}"


def describe_stage(fact: Fact) -> str:
    """What is being done, in a word or two."""
    if isinstance(fact, UploadProgress):
        return f"uploading {_amount(fact.sent, fact.total, fact.rate)}"
    if isinstance(fact, DownloadProgress):
        return f"downloading {_amount(fact.received, fact.total, fact.rate)}"
    if fact.complete or fact.failed:
        return fact.status
    if fact.status == "queued" and fact.queue is not None and fact.queue.position is not None:
        return f"queued ({fact.queue.position})"
    for current, words in (
        (fact.pre_processing, "preparing"),
        (fact.inference, "restoring"),
        (fact.restored_video, "making the video"),
    ):
        if current is not None and 0 < (current.progress or 0) < 100:  # noqa: PLR2004 - percent
            return words
    return fact.status
