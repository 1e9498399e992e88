"""Receiver of webhooks for aiohttp servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from diffio_async.webhooks.receiver import (
    LINGER_SECONDS,
    MAX_BODY,
    SenderDisconnected,
    WebhookReceiver,
    WebhookSink,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def aiohttp_app(
    inbox: WebhookSink, *, path: str | None = None, max_body: int = MAX_BODY
) -> web.Application:
    """Return an application that receives webhooks, to run or to mount by `add_subapp`.

    Args:
        inbox: The inbox for the events. It is opened when the server starts, and closed with it
            if nothing else has it open.
        path: The path that receives; None receives at every path.
        max_body: Bytes; larger bodies are rejected unread.

    Raises:
        ConfigurationError: The inbox has no verifier.
    """
    receiver = WebhookReceiver(inbox, max_body=max_body)

    async def receive(request: web.Request) -> web.StreamResponse:
        return await _respond(receiver, request)

    async def inbox_context(_: web.Application) -> AsyncIterator[None]:
        async with inbox:
            yield

    app = web.Application()
    app.cleanup_ctx.append(inbox_context)
    # The empty path is the prefix itself if the application is mounted.
    for route in ("", "/{rest:.*}") if path is None else (path,):
        app.router.add_route("*", route, receive, expect_handler=_on_expect)
    return app


async def _on_expect(_: web.Request) -> None:
    """Send `100 Continue` later, when the body is first read."""


async def _respond(receiver: WebhookReceiver, request: web.Request) -> web.StreamResponse:
    try:
        result = await receiver.handle(request.method, request.headers, _chunks(request))
    except SenderDisconnected:
        # The sender has disconnected and does not receive this.
        return web.Response(status=400)
    response = web.Response(status=result.status, body=result.body, headers=result.headers)
    if not result.body_read:
        # aiohttp would read the rest for ten seconds. Unread, it blocks the sender, which has a
        # moment to read the response before the connection is closed.
        response.force_close()
        await response.prepare(request)
        await response.write_eof()
        await asyncio.sleep(LINGER_SECONDS)
        request.protocol.force_close()
    return response


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    try:
        async for chunk in content.iter_any():
            yield chunk
    except (OSError, web.RequestPayloadError) as error:
        raise SenderDisconnected from error
