"""Receiver of webhooks for ASGI servers: alone, or mounted in Starlette, FastAPI or Litestar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from diffio_async._logging import log
from diffio_async.webhooks.receiver import (
    LINGER_SECONDS,
    MAX_BODY,
    ReceiverResponse,
    SenderDisconnected,
    WebhookReceiver,
    WebhookSink,
)

# The types of ASGI by the names that frameworks use.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def asgi_app(
    inbox: WebhookSink, *, path: str | None = None, max_body: int = MAX_BODY
) -> AsgiReceiver:
    """Return an ASGI application that receives webhooks.

    Args:
        inbox: The inbox for the events. A server's main application opens it when the server
            starts; a mounted one opens it with the first delivery if it is not open.
        path: The path that receives; None receives at every path.
        max_body: Bytes; larger bodies are rejected unread.

    Raises:
        ConfigurationError: The inbox has no verifier.
    """
    return AsgiReceiver(WebhookReceiver(inbox, max_body=max_body), path)


class AsgiReceiver:
    """ASGI application; an object, because Starlette's `Route` treats functions differently."""

    def __init__(self, receiver: WebhookReceiver, path: str | None) -> None:
        self._receiver = receiver
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan of the server."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            raise NotImplementedError(f"an ASGI connection of type {scope['type']!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._path is not None and scope["path"] != self._path:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        try:
            result = await self._receiver.handle(scope["method"], headers, _chunks(receive))
        except SenderDisconnected:
            return
        await _send_response(send, result, closing=scope.get("http_version") in {"1.0", "1.1"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await stack.enter_async_context(self._receiver.sink)
            except Exception as failure:
                log.exception("the webhook inbox could not be opened")
                await send({"type": "lifespan.startup.failed", "message": str(failure)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise SenderDisconnected
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _send_response(send: Send, result: ReceiverResponse, *, closing: bool) -> None:
    body = result.body
    headers = {**result.headers, "Content-Length": str(len(body))}
    if closing and not result.body_read:
        headers["Connection"] = "close"
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": result.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": not result.body_read})
    if not result.body_read:
        # The sender has a moment to read the response before the connection is closed.
        await asyncio.sleep(LINGER_SECONDS)
        await send({"type": "http.response.body", "body": b""})
