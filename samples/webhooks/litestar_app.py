"""Litestar: `DIFFIO_WEBHOOK_SECRET=whsec_… uvicorn litestar_app:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, asgi

from diffio_async import WebhookEvent, WebhookInbox, WebhookVerifier
from diffio_async.webhooks import asgi_app

inbox = WebhookInbox(
    os.environ.get("DIFFIO_INBOX", "diffio-inbox.db"),
    verifier=WebhookVerifier(*os.environ["DIFFIO_WEBHOOK_SECRET"].split()),
)


@inbox.on("generation.completed", "generation.failed")
async def ended(event: WebhookEvent) -> None:
    """Handle an event, at least once for each; the response to the sender does not wait for it."""
    print(event.event_type, event.generation_id, event.error or "", flush=True)


@asynccontextmanager
async def lifespan(_: Litestar) -> AsyncIterator[None]:
    """The inbox is open, and its handlers run, while the server does."""
    async with inbox.running():
        yield


receiver = asgi("/webhooks/diffio", copy_scope=True)(asgi_app(inbox))
app = Litestar(route_handlers=[receiver], lifespan=[lifespan])
