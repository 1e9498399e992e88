"""Receive webhooks in an aiohttp server."""

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
    """An application that receives webhooks, to be run, or mounted by `add_subapp`.

    Args:
        inbox: Where events are kept; it is opened when the server starts, and closed with it
            where nobody else has it open.
        path: The one path that receives; None receives at each.
        max_body: Bytes; larger bodies are refused unread.

    Raises:
        ConfigurationError: The inbox has no verifier.
    """
    receiver = WebhookReceiver(inbox, max_body=max_body)

    async def receive(request: web.Request) -> web.StreamResponse:
        return await _received(receiver, request)

    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with inbox:
            yield

    app = web.Application()
    app.cleanup_ctx.append(opened)
    # The empty path is that of the prefix itself, where the application is mounted.
    for each in ("", "/{rest:.*}") if path is None else (path,):
        app.router.add_route("*", each, receive, expect_handler=_asked_first)
    return app


async def _asked_first(_: web.Request) -> None:
    """`Expect: 100-continue`: the sender is told to go on when the body is first read."""


async def _received(receiver: WebhookReceiver, request: web.Request) -> web.StreamResponse:
    try:
        reply = await receiver.handle(request.method, request.headers, _chunks(request))
    except SenderDisconnected:
        # Nobody reads this.
        return web.Response(status=400)
    response = web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    if not reply.read_whole:
        # aiohttp would read the rest for ten seconds. Unread, it stops the sender, which has a
        # moment to see the answer before the connection is cut.
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
    except (OSError, web.RequestPayloadError) as gone:
        raise SenderDisconnected from gone
