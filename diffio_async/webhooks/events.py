"""What an event says of its generation, and which of several says the most."""

from __future__ import annotations

from attrs import evolve

from diffio_async._protocol.api_errors import NotJson, json_of
from diffio_async._protocol.codec import from_json
from diffio_async.errors import WebhookRejected
from diffio_async.models.generations import COMPLETE, FAILED, GenerationProgress
from diffio_async.models.webhooks import WebhookEvent


def parse_event(body: bytes, message_id: str) -> WebhookEvent:
    """The event in a body; what does not fit its field is kept in `extra`.

    It is genuine: an error because of a shape yet to come would have it delivered again for days.

    Raises:
        WebhookRejected: It is not JSON, or not an object.
    """
    try:
        content = json_of(body)
    except NotJson as failure:
        raise WebhookRejected(f"the body is not JSON: {failure}", reason="not_json") from None
    if not isinstance(content, dict):
        raise WebhookRejected("the body is JSON, but not an object", reason="not_an_object")
    return evolve(from_json(content, WebhookEvent), message_id=message_id)


_QUEUED, _RUNNING, _ENDED = range(3)
#: The status that a type of event stands for, in the words of a generation's progress.
_STATUS_OF = {"generation.completed": COMPLETE, "generation.failed": "error"}


def status_of(event: WebhookEvent) -> str:
    """The generation's status. An end is an end, whichever of status and type tells it."""
    told = event.status or ""
    if told == COMPLETE or told in FAILED:
        return told
    return _STATUS_OF.get(event.event_type) or told or event.event_type.rpartition(".")[2]


def event_rank(event: WebhookEvent) -> int:
    """How far along the event's status is: ends are above all, words yet to come are running."""
    status = status_of(event)
    if status == COMPLETE or status in FAILED:
        return _ENDED
    return _QUEUED if status == "queued" else _RUNNING


def progress_from_event(event: WebhookEvent, api_project_id: str = "") -> GenerationProgress | None:
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
