"""FastAPI: `DIFFIO_WEBHOOK_SECRET=whsec_… uvicorn fastapi_app:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

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
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The inbox is open, and its handlers run, while the server does."""
    async with inbox.running():
        yield


# A route, not a mount: that would redirect /webhooks/diffio to /webhooks/diffio/.
app = FastAPI(lifespan=lifespan, routes=[Route("/webhooks/diffio", asgi_app(inbox))])
