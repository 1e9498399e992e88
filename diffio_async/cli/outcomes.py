"""How one file ended, and the words for it: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from diffio_async.errors import DiffioError
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.generations import GenerationProgress
from diffio_async.models.restorations import Restoration

#: What a progress callback is told.
Fact = UploadProgress | GenerationProgress | DownloadProgress


@frozen(kw_only=True)
class Outcome:
    """One file, `seconds` after it was begun: restored, or not and why."""

    file: Path
    seconds: float
    restoration: Restoration | None = None
    error: DiffioError | None = None

    def line(self) -> str:
        """One line for people, and a second one where more is known."""
        if self.restoration is None:
            return f"{self.file}: {self.error}{_ids(self.error)}"
        gain = gained(self.restoration.progress)
        return f"{self.file} -> {self.restoration.path}" + (f"\n  {gain}" if gain else "")

    def json(self) -> dict[str, object]:
        """One object for programs."""
        facts: dict[str, object] = {"file": str(self.file), "seconds": round(self.seconds, 3)}
        if self.restoration is None:
            assert self.error is not None  # noqa: S101 - one of the two is set
            return {
                "event": "failed",
                **facts,
                "error": type(self.error).__name__,
                "message": str(self.error),
                "api_project_id": self.error.api_project_id,
                "generation_id": self.error.generation_id,
                "idempotency_key": self.error.idempotency_key,
            }
        return {
            "event": "restored",
            **facts,
            "path": str(self.restoration.path),
            "api_project_id": self.restoration.project.api_project_id,
            "generation_id": self.restoration.generation.generation_id,
            "model": self.restoration.generation.model_key,
            "download_type": self.restoration.download.download_type,
            # What the sandbox measured; the hosted service says nothing of the kind yet.
            "restoration": self.restoration.progress.extra.get("restoration"),
        }


def _ids(error: DiffioError | None) -> str:
    """What was paid for and can still be fetched, unless the message says so itself."""
    ids = {
        "project": error.api_project_id if error else None,
        "generation": error.generation_id if error else None,
    }
    unsaid = [f"{name} {value}" for name, value in ids.items() if value and value not in str(error)]
    return f" ({', '.join(unsaid)})" if unsaid else ""


def gained(progress: GenerationProgress) -> str | None:
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


def stage(fact: Fact) -> str:
    """What is being done, in a word or two."""
    if isinstance(fact, UploadProgress):
        return "uploading"
    if isinstance(fact, DownloadProgress):
        return "downloading"
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
