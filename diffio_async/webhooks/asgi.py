"""Receive webhooks in any ASGI server: alone, or mounted in Starlette, FastAPI or Litestar."""

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

# ASGI's own types, as every framework spells them.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def asgi_app(
    inbox: WebhookSink, *, path: str | None = None, max_body: int = MAX_BODY
) -> AsgiReceiver:
    """An ASGI application that receives webhooks.

    Args:
        inbox: Where events are kept. As an application of its own this opens it when the server
            starts; mounted, it is opened by the first delivery where nobody opened it before.
        path: The one path that receives; None receives at each.
        max_body: Bytes; larger bodies are refused unread.

    Raises:
        ConfigurationError: The inbox has no verifier.
    """
    return AsgiReceiver(WebhookReceiver(inbox, max_body=max_body), path)


class AsgiReceiver:
    """The application. An object, not a function, so that Starlette's `Route` takes it as it is."""

    def __init__(self, receiver: WebhookReceiver, path: str | None) -> None:
        self._receiver = receiver
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's start and end."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
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
            reply = await self._receiver.handle(scope["method"], headers, _chunks(receive))
        except SenderDisconnected:
            return
        await _answer(send, reply, closing=scope.get("http_version") in {"1.0", "1.1"})

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as open_while_served:
            await receive()
            try:
                await open_while_served.enter_async_context(self._receiver.sink)
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


async def _answer(send: Send, reply: ReceiverResponse, *, closing: bool) -> None:
    body = reply.body
    headers = {**reply.headers, "Content-Length": str(len(body))}
    if closing and not reply.read_whole:
        headers["Connection"] = "close"
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": not reply.read_whole})
    if not reply.read_whole:
        # Whoever still sends has a moment to see the answer before the connection is cut.
        await asyncio.sleep(LINGER_SECONDS)
        await send({"type": "http.response.body", "body": b""})
