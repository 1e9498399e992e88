"""The work of `diffio-async webhooks listen`: receive, show, keep, pass on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from contextlib import AsyncExitStack
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from attrs import frozen

from diffio_async._http.workers import run_workers
from diffio_async.cli.console import log_to_console
from diffio_async.cli.exit_codes import OK
from diffio_async.cli.webhooks.connections import Connections
from diffio_async.cli.webhooks.forward import Forwarder, NotForwarded
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.aiohttp_server import aiohttp_app
from diffio_async.webhooks.inbox import WebhookInbox
from diffio_async.webhooks.receiver import WebhookSink
from diffio_async.webhooks.verifier import WebhookVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

    from diffio_async.cli.webhooks.event_printer import EventPrinter
    from diffio_async.models.webhooks import WebhookEvent

#: Seconds in which an event that is not kept must be passed on: the sender waits for fifteen.
_WITHIN = 12.0
#: Attempts to pass on what is kept, the last about a day after the first, as the sender's own.
_ATTEMPTS = 36
#: Seconds until what a killed listener was passing on is passed on by the next; renewed by itself.
_LEASE = 5.0
_MAX_REMEMBERED = 10_000
_MAX_FORWARDS = 8

_headers: ContextVar[Mapping[str, str]] = ContextVar("_headers")


@frozen(kw_only=True)
class ListenRequest:
    """What the user asked for."""

    host: str
    port: int
    path: str
    inbox: str | None
    forward: str | None
    secrets: list[str]

    def check(self) -> None:
        """Find what is wrong before anything listens.

        Raises:
            ConfigurationError: The path cannot be one.
        """
        if not self.path.startswith("/") or set(self.path) & set("{}?#"):
            raise ConfigurationError("--path begins with / and is a path alone")


class _ListenSink(WebhookSink):
    """Shows events, and keeps them or passes them on before they are acknowledged."""

    def __init__(
        self,
        verifier: WebhookVerifier,
        shown: EventPrinter,
        inbox: WebhookInbox | None,
        forwarder: Forwarder | None,
    ) -> None:
        self.verifier = verifier
        self._shown, self._inbox, self._forwarder = shown, inbox, forwarder
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Keep it: in the inbox, or with whom it is passed on to."""
        message_id = event.message_id or ""
        if self._forwarder is not None:
            self._forwarder.remember(message_id, _headers.get())
        if self._inbox is not None:
            new = await self._inbox.store(event, body)
        else:
            if self._forwarder is not None:
                await self._pass_on(self._forwarder, message_id, body)
            new = self._first(message_id)
        self._shown.received(event, duplicate=not new)
        return new

    async def _pass_on(self, forwarder: Forwarder, message_id: str, body: bytes) -> None:
        try:
            status = await forwarder.send_soon(message_id, body, _WITHIN)
        except NotForwarded as failure:
            self._shown.held_back(message_id, str(failure))
            raise
        self._shown.forwarded(message_id, status)

    def _first(self, message_id: str) -> bool:
        new = message_id not in self._seen
        self._seen[message_id] = None
        self._seen.move_to_end(message_id)
        while len(self._seen) > _MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return new


async def listen(order: ListenRequest, shown: EventPrinter) -> int:
    """Receive until cancelled, or until nobody reads what is shown.

    Raises:
        ConfigurationError: A secret, the path or the URL cannot be right.
        DatabaseError: The inbox cannot be used.
        OSError: The address cannot be listened on.
    """
    order.check()
    log_to_console(logging.WARNING, traced=False)
    verifier = WebhookVerifier(*order.secrets)
    inbox = forwarder = None
    async with AsyncExitStack() as stack:
        if order.forward is not None:
            forwarder = await stack.enter_async_context(Forwarder(order.forward, order.secrets))
        if order.inbox is not None:
            opened = WebhookInbox(order.inbox, verifier=verifier, lease=_LEASE, attempts=_ATTEMPTS)
            inbox = await stack.enter_async_context(opened)
        sink = _ListenSink(verifier, shown, inbox, forwarder)
        url = await _serve(stack, sink, order, shown)
        shown.listening(url, order.forward)
        passing = None
        if inbox is not None and forwarder is not None:
            passing = asyncio.create_task(
                run_workers(partial(_forward_inbox, inbox, forwarder, shown), _MAX_FORWARDS)
            )
            stack.push_async_callback(_ended, passing)
        await _first_of(passing, asyncio.create_task(shown.gone.wait()))
    return OK


async def _serve(
    stack: AsyncExitStack, sink: WebhookSink, order: ListenRequest, shown: EventPrinter
) -> str:
    app, connections = aiohttp_app(sink, path=order.path), Connections()

    @web.middleware
    async def witness(request: web.Request, handler: Handler) -> web.StreamResponse:
        _headers.set(request.headers)
        async with connections.answering(request):
            answer = await handler(request)
        # What was not stored is told of where it was not.
        if answer.status >= 400 and answer.status != 503:  # noqa: PLR2004 - HTTP's own
            shown.rejected(answer.status, _reason(answer))
        return answer

    app.middlewares.append(witness)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None  # noqa: S101 - it was set up
    server = await asyncio.get_running_loop().create_server(
        connections.accepting(runner.server), order.host, order.port
    )
    stack.callback(server.close)
    stack.push_async_callback(_ended, asyncio.create_task(connections.run()))
    port = server.sockets[0].getsockname()[1]
    host = f"[{order.host}]" if ":" in order.host else order.host
    return f"http://{host}:{port}{order.path}"


def _reason(answer: web.StreamResponse) -> str:
    body = answer.body if isinstance(answer, web.Response) else None
    return str(json.loads(body)["error"]) if isinstance(body, bytes) else "not_found"


async def _first_of(passing: asyncio.Task[None] | None, gone: asyncio.Task[bool]) -> None:
    """Wait for one of them, and raise what ended it."""
    try:
        both = [gone] if passing is None else [gone, passing]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if passing is not None and passing.done():
        passing.result()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _forward_inbox(inbox: WebhookInbox, forwarder: Forwarder, shown: EventPrinter) -> None:
    """Pass on what is in the inbox, each once it is due; the inbox spaces the attempts."""
    async for delivery in inbox.deliveries():
        message_id = delivery.event.message_id or ""
        try:
            async with delivery:
                status = await forwarder.send(message_id, delivery.body)
        except NotForwarded as failure:
            shown.held_back(message_id, str(failure))
        else:
            shown.forwarded(message_id, status)
