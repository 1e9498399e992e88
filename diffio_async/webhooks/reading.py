"""Read the event in a genuine body, whatever the body holds."""

from __future__ import annotations

from attrs import evolve

from diffio_async._wire.codec import from_json
from diffio_async._wire.contents import NotJson, json_of
from diffio_async.errors import WebhookRejected
from diffio_async.models.webhooks import WebhookEvent


def event_of(body: bytes, message_id: str) -> WebhookEvent:
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
