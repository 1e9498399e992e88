"""Events of deliveries: parsing, status, order, and conversion to progress."""

from __future__ import annotations

from attrs import evolve

from diffio_async._protocol.codec import NotJson, from_json, json_of
from diffio_async.errors import WebhookRejected
from diffio_async.models.generations import COMPLETE, FAILED, GenerationProgress
from diffio_async.models.webhooks import WebhookEvent


def parse_event(body: bytes, message_id: str) -> WebhookEvent:
    """Return the event in a body; values of an unexpected type are kept in `extra`.

    The delivery is genuine. An error because of an unknown format would have it delivered again for
    days.

    Raises:
        WebhookRejected: The body is not JSON, or not an object.
    """
    try:
        content = json_of(body)
    except NotJson as failure:
        raise WebhookRejected(f"the body is not JSON: {failure}", reason="not_json") from None
    if not isinstance(content, dict):
        raise WebhookRejected("the body is JSON, but not an object", reason="not_an_object")
    return evolve(from_json(content, WebhookEvent), message_id=message_id)


_QUEUED, _RUNNING, _ENDED = range(3)
#: Statuses of generations by the type of the event.
_STATUS_OF = {"generation.completed": COMPLETE, "generation.failed": "error"}


def status_of(event: WebhookEvent) -> str:
    """Return the status of the generation: terminal if the status or the type of the event is."""
    status = event.status or ""
    if status == COMPLETE or status in FAILED:
        return status
    return _STATUS_OF.get(event.event_type) or status or event.event_type.rpartition(".")[2]


def event_rank(event: WebhookEvent) -> int:
    """Return the order of the status: queued, running (or unknown), ended."""
    status = status_of(event)
    if status == COMPLETE or status in FAILED:
        return _ENDED
    return _QUEUED if status == "queued" else _RUNNING


def progress_from_event(event: WebhookEvent, api_project_id: str = "") -> GenerationProgress | None:
    """Return the event as progress, None if it is not about a generation.

    Args:
        event: The event.
        api_project_id: The project, if the event does not contain it.
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
