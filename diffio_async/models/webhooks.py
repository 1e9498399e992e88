"""Webhooks: endpoints, delivered events, and entries of an inbox."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from attrs import field, frozen

from diffio_async.models.generations import (
    COMPLETE,
    FAILED,
    GenerationProgress,
    TranscriptionState,
)
from diffio_async.models.json_values import ApiModel, Plain

#: Mode of an endpoint.
WebhookMode = Literal["test", "live"]
#: Types of events by the API reference. The service may add more: `event_type` is any string.
WebhookEventType = Literal[
    "generation.queued", "generation.processing", "generation.failed", "generation.completed"
]
#: State of an entry; see `InboxEntry`.
InboxState = Literal["waiting", "leased", "handled", "dead"]


@frozen(kw_only=True)
class WebhookEndpoint(ApiModel):
    """Where events are delivered. Each API key has its own endpoint and signing secret.

    Attributes:
        url: The URL that receives events.
        mode: `test` or `live`.
        event_types: Types of the events that are delivered.
        endpoint_id: Id of the endpoint.
        api_key_id: The API key it belongs to.
        svix_env: Environment at Svix, the service that delivers.
        signing: Signature scheme, `svix`.
        updated_by_key_id: The API key that last changed it.
    """

    url: str | None = None
    mode: str | None = None
    event_types: tuple[str, ...] = ()
    endpoint_id: str | None = None
    api_key_id: str | None = None
    svix_env: str | None = None
    signing: str | None = None
    updated_by_key_id: str | None = None


@frozen(kw_only=True)
class ConfiguredWebhook(ApiModel):
    """Response of `webhooks/configure`."""

    webhook: WebhookEndpoint


@frozen(kw_only=True)
class SentTestEvent(ApiModel):
    """Response of `webhooks/send_test_event`.

    Attributes:
        svix_message_id: The `svix-id` of the delivery.
        event_id: Id of the event.
        event_type: Such as `generation.completed`.
        mode: `test` or `live`.
        api_key_id: Id of the API key whose endpoint receives it.
    """

    svix_message_id: str
    event_id: str | None = None
    event_type: str | None = None
    mode: str | None = None
    api_key_id: str | None = None


@frozen(kw_only=True)
class WebhookEvent(ApiModel):
    """A delivered event. Unknown types and fields are accepted.

    Attributes:
        event_type: The type, such as `generation.completed`; empty if the event has none.
        message_id: The `svix-id` of the delivery, which is the same when it is repeated.
        event_id: Id of the event.
        created_at: When the event happened.
        api_key_id: The API key whose endpoint received it.
        api_project_id: The project.
        generation_id: The generation.
        status: `queued`, `processing`, `complete`, `error`, or a status added later.
        has_video: Whether the recording has a video track.
        model_key: The model.
        error: Why the generation failed.
        error_details: Details of the failure, in a shape that the API defines.
        transcription: State of the transcript.
    """

    event_type: str = ""
    message_id: str | None = None
    event_id: str | None = None
    created_at: datetime | None = None
    api_key_id: str | None = None
    api_project_id: str | None = None
    generation_id: str | None = None
    status: str | None = None
    has_video: bool | None = None
    model_key: str | None = None
    error: str | None = None
    error_details: object = field(default=None, hash=False)
    transcription: TranscriptionState | None = None


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


def progress_from_event(event: WebhookEvent) -> GenerationProgress | None:
    """Return the event as progress, None if it is not about a generation."""
    if event.generation_id is None:
        return None
    return GenerationProgress(
        generation_id=event.generation_id,
        api_project_id=event.api_project_id or "",
        status=status_of(event),
        has_video=event.has_video,
        error=event.error,
        error_details=event.error_details,
        transcription=event.transcription,
        extra={name: event.extra[name] for name in ("error",) if name in event.extra},
    )


@frozen(kw_only=True)
class InboxEntry(Plain):
    """One delivery in an inbox.

    Attributes:
        message_id: The `svix-id` of the delivery.
        event_type: The type, such as `generation.completed`.
        generation_id: The generation, if the event is about one.
        state: `waiting` for a consumer (until `due_at`, if that is in the future), `leased` by one
            until `due_at`, `handled` at `due_at`, or `dead` since then: all attempts failed.
        attempts: Number of attempts.
        received_at: When it was first received.
        due_at: See `state`.
        error: Why the last attempt failed.
    """

    message_id: str
    event_type: str
    generation_id: str | None
    state: InboxState
    attempts: int
    received_at: datetime
    due_at: datetime
    error: str | None = None
