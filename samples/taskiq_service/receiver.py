"""Receive webhooks, each of which becomes a task: `python receiver.py [PORT]`."""

import os
import sys
from collections.abc import AsyncIterator

from aiohttp import web
from tasks import broker, fetch

from diffio_async import WebhookVerifier
from diffio_async.webhooks import aiohttp_app
from diffio_async.webhooks.taskiq import TaskiqSink


async def connect(_: web.Application) -> AsyncIterator[None]:
    """Connect the broker while the server runs."""
    await broker.startup()
    yield
    await broker.shutdown()


# The response is 200 once the broker has the task; otherwise the event is delivered again.
sink = TaskiqSink(fetch, verifier=WebhookVerifier(*os.environ["DIFFIO_WEBHOOK_SECRET"].split()))
app = web.Application()
app.cleanup_ctx.append(connect)
app.add_subapp("/webhooks/diffio", aiohttp_app(sink))

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
