"""Deliveries of webhooks, verified in the guide's words."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from svix.webhooks import Webhook

from diffio_async.compat import DiffioApiError

if TYPE_CHECKING:
    from diffio_async.compat import DiffioClient

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()


def delivery(**fields: object) -> tuple[bytes, dict[str, Any]]:
    """A genuine delivery's body and headers."""
    body = json.dumps({"eventType": "generation.completed", **fields})
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, body)
    stamp = str(int(now.timestamp()))
    headers = {"Svix-Id": "msg_1", "Svix-Timestamp": stamp, "Svix-Signature": [signature]}
    return body.encode(), headers


def test_a_delivery_is_verified_and_read(client: DiffioClient) -> None:
    """Header names in any case; lists of values, as some frameworks have them."""
    body, headers = delivery(eventId="evt_1", transcription={"status": "available"}, newField=1)
    event = client.webhooks.verify_signature(payload=body, headers=headers, secret=SECRET)
    assert (event.eventType, event.eventId) == ("generation.completed", "evt_1")
    assert event.transcription is not None
    assert event.transcription.status == "available"
    assert event.extra == {"newField": 1}


def test_a_delivery_of_a_type_yet_to_come_is_no_error(client: DiffioClient) -> None:
    """The published package raises KeyError, and the sender disables the endpoint in the end."""
    body, headers = delivery(eventType="project.archived")
    event = client.webhooks.verify_signature(payload=body, headers=headers, secret=SECRET)
    assert (event.eventType, event.generationId) == ("project.archived", None)


def test_whatever_is_wrong_with_a_delivery_is_a_diffio_api_error(client: DiffioClient) -> None:
    body, headers = delivery()
    odd: Any = None
    verify = client.webhooks.verify_signature
    for wrong in (
        {"payload": body + b" ", "headers": headers, "secret": SECRET},
        {"payload": body, "headers": {}, "secret": SECRET},
        {"payload": body, "headers": odd, "secret": SECRET},
        {"payload": body, "headers": headers, "secret": ""},
        {"payload": odd, "headers": headers, "secret": SECRET},
    ):
        with pytest.raises(DiffioApiError):
            verify(**wrong)
