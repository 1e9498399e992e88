"""aiohttp: `DIFFIO_WEBHOOK_SECRET=whsec_… python aiohttp_server.py [PORT]`."""

import os
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from diffio_async import WebhookEvent, WebhookInbox, WebhookVerifier
from diffio_async.webhooks import aiohttp_app

inbox = WebhookInbox(
    os.environ.get("DIFFIO_INBOX", "diffio-inbox.db"),
    verifier=WebhookVerifier(*os.environ["DIFFIO_WEBHOOK_SECRET"].split()),
)


@inbox.on("generation.completed", "generation.failed")
async def ended(event: WebhookEvent) -> None:
    """Handle an event, at least once for each; the response to the sender does not wait for it."""
    print(event.event_type, event.generation_id, event.error or "", flush=True)


async def handlers(_: web.Application) -> AsyncIterator[None]:
    """The inbox is open, and its handlers run, while the server does."""
    async with inbox.running():
        yield


app = web.Application()
app.cleanup_ctx.append(handlers)
app.add_subapp("/webhooks/diffio", aiohttp_app(inbox))

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
