"""Webhook endpoints: configuration, and test events."""

from typing import Any
from urllib.parse import urlsplit

from diffio_async.sandbox.context import ApiCall
from diffio_async.sandbox.records import Endpoint, new_id
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.settings import is_loopback
from diffio_async.sandbox.state import ROOT_KEY_ID
from diffio_async.sandbox.webhooks import EVENT_TYPES, MODES, new_secret


async def configure(call: ApiCall) -> dict[str, Any]:
    """Create or update the webhook endpoint of a key and mode."""
    key = call.other_key()
    mode = call.fields.choice("mode", MODES)
    url = call.fields.text("url", max_length=2048)
    _require_safe_url(url, allow_http=call.context.settings.allow_remote_webhooks)
    event_types = call.fields.choices("eventTypes", EVENT_TYPES, min_items=1)
    endpoint = call.context.deliveries.endpoint(key.id, mode)
    if endpoint is None:
        root = key.id == ROOT_KEY_ID
        endpoint = Endpoint(
            id=new_id("ep"),
            key_id=key.id,
            mode=mode,
            url=url,
            event_types=event_types,
            secret=call.context.settings.webhook_secret if root else new_secret(),
            updated_by=call.key.id,
        )
    endpoint.url, endpoint.event_types, endpoint.updated_by = url, event_types, call.key.id
    call.state.save(endpoint)
    return {
        "webhook": {
            "apiKeyId": key.id,
            "mode": mode,
            "svixEnv": f"sandbox-{mode}",
            "endpointId": endpoint.id,
            "eventTypes": event_types,
            "url": url,
            "signing": "svix",
            "updatedByKeyId": call.key.id,
        }
    }


async def send_test_event(call: ApiCall) -> dict[str, Any]:
    """Deliver a test event, signed like a real one."""
    key = call.other_key()
    event_type = call.fields.choice("eventType", EVENT_TYPES)
    mode = call.fields.choice("mode", MODES)
    sample = call.fields.mapping("samplePayload") or {}
    endpoint = call.context.deliveries.endpoint(key.id, mode)
    if endpoint is None:
        raise HttpError(404, f"no {mode} webhook is configured for this API key")
    if event_type not in endpoint.event_types:
        raise HttpError(400, f"the {mode} webhook is not subscribed to {event_type}")
    status = event_type.partition(".")[2].replace("completed", "complete")
    data = {
        "apiProjectId": "proj_test",
        "generationId": "gen_test",
        "status": status.replace("failed", "error"),
        "hasVideo": False,
        "modelKey": "diffio-4.6-flash",
        "error": "a test failure" if status == "failed" else None,
        "errorDetails": None,
        **sample,
    }
    message_id, event_id = call.context.deliveries.send(endpoint, event_type, data)
    return {
        "svixMessageId": message_id,
        "eventId": event_id,
        "eventType": event_type,
        "mode": mode,
        "apiKeyId": key.id,
    }


def _require_safe_url(url: str, *, allow_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise HttpError(400, "url is not a valid URL") from None
    # A receiver under development listens on loopback, where plain HTTP is safe.
    is_local = parts.scheme == "http" and (
        allow_http or is_loopback(host) or host.endswith(".localhost")
    )
    if not host or port == 0 or not (parts.scheme == "https" or is_local):
        raise HttpError(400, "url must begin with https:// (http:// is allowed for loopback only)")
