"""Receivers of webhooks: the core without a web framework, and an ASGI application.

The application runs alone, or mounted in Starlette, FastAPI or Litestar.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    MutableMapping,
)
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from diffio_async._reporting import log
from diffio_async._validators import positive_int
from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.verifier import WebhookVerifier

#: Maximum size of a body in bytes; an event has about one thousand.
MAX_BODY = 1024 * 1024
#: Maximum seconds to receive a body: the sender gives up after fifteen.
BODY_SECONDS = 15.0
#: Seconds that a connection stays open after a body was rejected unread, so that the sender can
#: read the response.
LINGER_SECONDS = 0.5
#: Seconds between two warnings for one reason; those between are logged at level DEBUG.
WARN_SECONDS = 60.0


class WebhookSink(ABC):
    """Destination of verified events: a `WebhookInbox`, or a subclass of your own.

    A receiver enters it when its server starts and exits it when the server stops, if the server
    reports both.

    Attributes:
        verifier: Verifies deliveries; None if the sink is not used by a receiver.
    """

    verifier: WebhookVerifier | None

    @abstractmethod
    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Store an event durably; return False if the id of the delivery is known already.

        If an exception is raised, the response is 503 and the event is delivered again later.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return


@frozen
class ReceiverResponse:
    """HTTP response; `body_read` is false if the connection cannot be used for another request."""

    status: int
    content: Mapping[str, str]
    body_read: bool = True

    @property
    def body(self) -> bytes:
        """The body, in JSON."""
        return json.dumps(dict(self.content)).encode()

    @property
    def headers(self) -> dict[str, str]:
        """The headers without `Connection`, which the server sets."""
        more = {405: {"Allow": "POST"}, 503: {"Retry-After": "5"}}.get(self.status, {})
        return {"Content-Type": "application/json", "Cache-Control": "no-store", **more}


class SenderDisconnected(Exception):
    """The sender disconnected before its request was complete."""


class WebhookReceiver:
    """Verifies and stores deliveries; the response is 2xx only if the event is stored."""

    def __init__(self, sink: WebhookSink, *, max_body: int = MAX_BODY) -> None:
        """Create a receiver of bodies of at most `max_body` bytes for a sink.

        Raises:
            ConfigurationError: The sink has no verifier, or the limit is below 1.
        """
        if sink.verifier is None:
            raise ConfigurationError(
                "to receive, an inbox needs its verifier: "
                "WebhookInbox(path, verifier=WebhookVerifier('whsec_…'))"
            )
        positive_int.check("max_body", max_body)
        self.sink = sink
        self._max_body = max_body
        self._quiet_until: dict[str, float] = {}

    async def handle(
        self, method: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes]
    ) -> ReceiverResponse:
        """Return the response to a request.

        Args:
            method: The method in capitals.
            headers: The headers; names in any case.
            chunks: The raw body; not read if the request is rejected by its headers.

        Raises:
            SenderDisconnected: Raised by `chunks`.
        """
        rejection = self._check_headers(
            method, {name.lower(): value for name, value in headers.items()}
        )
        if rejection is not None:
            return rejection
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > self._max_body:
                        return _rejection(413, "too_large", body_read=False)
        except TimeoutError:
            return _rejection(408, "too_slow", body_read=False)
        return await self._store(bytes(body), headers)

    def _check_headers(self, method: str, headers: Mapping[str, str]) -> ReceiverResponse | None:
        if method != "POST":
            return _rejection(405, "method_not_allowed")
        length = headers.get("content-length", "")
        # The length is checked before the conversion, which is slow for thousands of digits.
        if length.isdecimal() and (len(length) > 16 or int(length) > self._max_body):  # noqa: PLR2004
            return _rejection(413, "too_large", body_read=False)
        kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            return _rejection(415, "not_json_content", body_read=bool(length))
        if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            # The signature is of the body as it is transmitted, and events are not compressed.
            return _rejection(415, "compressed", body_read=bool(length))
        return None

    async def _store(self, body: bytes, headers: Mapping[str, str]) -> ReceiverResponse:
        # Read each time: the verifier of the sink may be replaced when secrets are rotated.
        verifier = self.sink.verifier
        if verifier is None:
            return _rejection(503, "no_verifier")
        try:
            event = verifier.verify(body, headers)
        except WebhookRejected as rejected:
            self._log_rejection(rejected)
            return _rejection(400, rejected.code)
        try:
            new = await self.sink.store(event, body)
        except Exception:
            # A 2xx response would lose the event.
            log.exception(
                "event %s could not be stored; the sender delivers it again", event.message_id
            )
            return _rejection(503, "not_stored")
        return ReceiverResponse(200, {"status": "stored" if new else "duplicate"})

    def _log_rejection(self, rejected: WebhookRejected) -> None:
        """Log a rejection; warnings are limited, because anyone can send invalid deliveries."""
        now = time.monotonic()
        warn = now >= self._quiet_until.get(rejected.code, 0.0)
        if warn:
            self._quiet_until[rejected.code] = now + WARN_SECONDS
        level = logging.WARNING if warn else logging.DEBUG
        log.log(level, "a webhook delivery was rejected (%s): %s", rejected.code, rejected)


def _rejection(status: int, reason: str, *, body_read: bool = True) -> ReceiverResponse:
    return ReceiverResponse(status, {"error": reason}, body_read)


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
