"""Webhooks: the endpoint, the test event, and what is delivered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from attrs import field, frozen

from diffio_async.models._plain import Plain
from diffio_async.models.generations import TranscriptionState

WebhookMode = Literal["test", "live"]
#: The events there are today; the service may add more, so a delivered type is any string.
WebhookEventType = Literal[
    "generation.queued", "generation.processing", "generation.failed", "generation.completed"
]


@frozen(kw_only=True)
class WebhookEndpoint(Plain):
    """Where events are delivered; each API key has its own endpoint and signing secret."""

    url: str | None = None
    mode: str | None = None
    event_types: tuple[str, ...] = ()
    endpoint_id: str | None = None
    api_key_id: str | None = None
    svix_env: str | None = None
    signing: str | None = None
    updated_by_key_id: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class ConfiguredWebhook(Plain):
    """`webhooks/configure`'s answer."""

    webhook: WebhookEndpoint
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class SentTestEvent(Plain):
    """`webhooks/send_test_event`'s answer."""

    svix_message_id: str
    event_id: str | None = None
    event_type: str | None = None
    mode: str | None = None
    api_key_id: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class WebhookEvent(Plain):
    """One delivered event. Types and fields that come later are accepted as well.

    `event_type` is empty where the event has none.

    `message_id` is the delivery's `svix-id`: the same for every delivery of one message.
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
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


InboxState = Literal["waiting", "taken", "handled", "dead"]


@frozen(kw_only=True)
class InboxEntry(Plain):
    """One delivery in an inbox.

    Attributes:
        message_id: The delivery's `svix-id`.
        event_type: Such as `generation.completed`.
        generation_id: The generation it is of, if any.
        state: `waiting` for a consumer (until `due_at`, where that is ahead), `taken` by one whose
            lease ends at `due_at`, `handled` at `due_at`, or `dead` since then: tried too often.
        attempts: How often it was tried.
        received_at: When it first came.
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
