"""What the guide leaves to its reader, put behind its blocks: a delivery comes, and is handled.

`app`, `handle_event`, `info` and the rest are the guide's own.
"""

# ruff: noqa: F821, T201
# mypy: ignore-errors
# pyright: basic, reportUndefinedVariable=false

import asyncio
import datetime
import json

from svix.webhooks import Webhook

from diffio_async.compat import GenerationWebhookEvent


async def deliver(body: bytes, headers: dict[str, str]) -> int:
    """The status with which the guide's app answers a POST."""
    path = "/webhooks/diffio"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "client": None,
        "server": None,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]


def signed(body: str) -> dict[str, str]:
    """The headers of a genuine delivery."""
    now = datetime.datetime.now(datetime.UTC)
    signature = Webhook(os.environ["DIFFIO_WEBHOOK_SECRET"]).sign("msg_1", now, body)
    stamp = str(int(now.timestamp()))
    return {"svix-id": "msg_1", "svix-timestamp": stamp, "svix-signature": signature}


body = json.dumps(
    {
        "eventType": "generation.completed",
        "eventId": "evt_1",
        "status": "complete",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "apiKeyId": "key_1",
        "apiProjectId": info["apiProjectId"],
        "generationId": info["generationId"],
    }
)
handle_event(GenerationWebhookEvent.from_dict(json.loads(body)))
print(
    "RESULT "
    + json.dumps(
        {
            "genuine": asyncio.run(deliver(body.encode(), signed(body))),
            "forged": asyncio.run(deliver(body.encode() + b" ", signed(body))),
            "stage": info["stage"],
            "status": progress.status,
            "model": generation.modelKey,
            "scopes": created_key.scopes,
            "bytes": len(audio_bytes),
        }
    )
)
