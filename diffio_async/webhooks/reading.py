"""What a genuine body says: an event, whatever it holds."""

from __future__ import annotations

import json

from attrs import evolve

from diffio_async._wire.codec import decoded
from diffio_async.errors import ResponseInvalid, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent


def event_of(body: bytes, message_id: str) -> WebhookEvent:
    """The event in a body; what does not fit its field is kept in `extra`.

    Raises:
        WebhookRejected: It is no JSON, or no object.
    """
    try:
        return _read_event(body, message_id)
    except RecursionError:
        # Nested deeper than Python goes; how deep that is differs between reading and writing.
        raise WebhookRejected("the body is JSON too deep to read", reason="not_json") from None


def _read_event(body: bytes, message_id: str) -> WebhookEvent:
    try:
        content = json.loads(body)
    except ValueError:
        raise WebhookRejected("the body is not JSON", reason="not_json") from None
    if not isinstance(content, dict):
        raise WebhookRejected("the body is JSON, but not an object", reason="not_an_object")
    try:
        return evolve(_decoded(content), message_id=message_id)
    except ResponseInvalid:
        # Genuine, and of a shape yet to come: an error would have it delivered again for days.
        fitting = {name: value for name, value in content.items() if _fits(name, value)}
    odd = {name: value for name, value in content.items() if name not in fitting}
    event = _decoded(fitting)
    return evolve(event, message_id=message_id, extra={**event.extra, **odd})


def _fits(name: str, value: object) -> bool:
    try:
        _decoded({name: value})
    except ResponseInvalid:
        return False
    return True


def _decoded(content: dict[str, object]) -> WebhookEvent:
    body = json.dumps({"eventType": "", **content}).encode()
    return decoded(body, WebhookEvent, call="webhook", status=200)
