"""Helpers of the webhook tests: signed deliveries, and a sink in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from diffio_async import WebhookEvent, WebhookInbox, WebhookVerifier
from diffio_async.sandbox.webhooks import signature_headers
from diffio_async.webhooks import WebhookSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VERIFIER = WebhookVerifier(SECRET)


def body_of(event_type: str = "generation.completed", **more: Any) -> bytes:
    """Return the body of a delivery."""
    return json.dumps({"eventType": event_type, "generationId": "gen_1", **more}).encode()


def headers_of(
    body: bytes, message_id: str = "msg_1", *, secret: str = SECRET, at: float | None = None
) -> dict[str, str]:
    """Return the headers of a delivery that is signed now, or `at` a second of the epoch."""
    stamp = int(time.time() if at is None else at)
    return {
        "Content-Type": "application/json",
        **signature_headers(secret, message_id, stamp, body.decode()),
    }


class MemorySink(WebhookSink):
    """Sink that keeps events in memory."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.verifier = VERIFIER
        self.failure = failure
        self.kept: dict[str, tuple[WebhookEvent, bytes]] = {}
        self.lifecycle: list[str] = []

    async def __aenter__(self) -> Self:
        self.lifecycle.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lifecycle.append("closed")

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Keep the event, or raise the configured failure."""
        if self.failure is not None:
            raise self.failure
        assert event.message_id is not None
        new = event.message_id not in self.kept
        self.kept.setdefault(event.message_id, (event, body))
        return new


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a loopback port, and yield its URL."""
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class Clock:
    """Clock in seconds since the epoch; tests advance it by `ahead`."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.time() + self.ahead


async def stored(
    inbox: WebhookInbox, message_id: str, event_type: str = "generation.completed", **more: Any
) -> bool:
    """Store an event as a receiver does, and return whether it was new."""
    body = body_of(event_type, **more)
    return await inbox.store(VERIFIER.verify(body, headers_of(body, message_id)), body)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
