"""What an event says of its generation, and which of several says the most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async.models.generations import COMPLETE, FAILED, GenerationProgress

if TYPE_CHECKING:
    from diffio_async.models.webhooks import WebhookEvent

_QUEUED, _RUNNING, _ENDED = range(3)
#: The status that a type of event stands for, in the words of a generation's progress.
_STATUS_OF = {"generation.completed": COMPLETE, "generation.failed": "error"}


def status_of(event: WebhookEvent) -> str:
    """The generation's status. An end is an end, whichever of status and type tells it."""
    told = event.status or ""
    if told == COMPLETE or told in FAILED:
        return told
    return _STATUS_OF.get(event.event_type) or told or event.event_type.rpartition(".")[2]


def rank(event: WebhookEvent) -> int:
    """How far along the event's status is: ends are above all, words yet to come are running."""
    status = status_of(event)
    if status == COMPLETE or status in FAILED:
        return _ENDED
    return _QUEUED if status == "queued" else _RUNNING


def progress_of(event: WebhookEvent, api_project_id: str = "") -> GenerationProgress | None:
    """The event as progress; None where it is of no generation.

    Args:
        event: The event.
        api_project_id: The project, where the event does not name it.
    """
    if event.generation_id is None:
        return None
    return GenerationProgress(
        generation_id=event.generation_id,
        api_project_id=event.api_project_id or api_project_id,
        status=status_of(event),
        has_video=event.has_video,
        error=event.error,
        error_details=event.error_details,
        transcription=event.transcription,
        extra={name: event.extra[name] for name in ("error",) if name in event.extra},
    )
