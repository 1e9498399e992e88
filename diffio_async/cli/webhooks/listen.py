"""`diffio-async webhooks listen`: receives events, prints, stores and forwards them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from attrs import frozen

from diffio_async._http.transfers import run_workers
from diffio_async.cli.console import OK, console, log_to_console
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

    from diffio_async.models.webhooks import WebhookEvent

_STYLES = {"generation.completed": "green", "generation.failed": "red"}
#: Seconds to forward an event that is not stored: the sender waits for fifteen.
_FORWARD_WITHIN = 12.0
#: Attempts to forward a stored event; the last is about a day after the first, like the sender's.
_FORWARD_ATTEMPTS = 36
#: Seconds until the next listener forwards what a killed one was forwarding; renewed while alive.
_LEASE_SECONDS = 5.0
_MAX_REMEMBERED_IDS = 10_000
_MAX_CONCURRENT_FORWARDS = 8
_BAD_REQUEST, _UNAVAILABLE = 400, 503

_request_headers: ContextVar[Mapping[str, str]] = ContextVar("_request_headers")


class EventPrinter:
    """Prints events as lines, in color on a terminal, or as JSON.

    `reader_gone` is set when the reader of stdout closed the pipe.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.reader_gone = asyncio.Event()

    def listening(self, url: str, forward: str | None) -> None:
        """Print the URL; as a line it goes to stderr, since stdout is for events."""
        if self._as_json:
            self._json({"event": "listening", "url": url, "forward": forward})
        else:
            to = f", forwarding to {forward}" if forward else ""
            console.note(f"Listening on {url}{to}, until Ctrl-C.")

    def received(self, event: WebhookEvent, *, duplicate: bool) -> None:
        """Print an event that was accepted."""
        if self._as_json:
            fields: dict[str, object] = {
                "event": "received",
                "message_id": event.message_id,
                "event_type": event.event_type,
                "generation_id": event.generation_id,
                "api_project_id": event.api_project_id,
                "status": event.status,
                "error": event.error,
                "duplicate": duplicate,
            }
            self._json(fields)
            return
        words = [event.event_type or "?", event.generation_id or "-", event.message_id or "-"]
        words += [f"error: {event.error}"] if event.error else []
        words += ["(duplicate)"] if duplicate else []
        now = datetime.now().astimezone()
        console.result(f"{now:%H:%M:%S} {' '.join(words)}", style=_STYLES.get(event.event_type))
        self._check_reader()

    def rejected(self, status: int, reason: str) -> None:
        """Print a rejected request as JSON; the log reports it as a line."""
        if self._as_json:
            self._json({"event": "rejected", "status": status, "reason": reason})

    def forwarded(self, message_id: str, status: int) -> None:
        """Print as JSON that the target accepted an event."""
        if self._as_json:
            self._json({"event": "forwarded", "message_id": message_id, "status": status})

    def not_forwarded(self, message_id: str, reason: str) -> None:
        """Print that the target did not accept an event, which will be retried."""
        if self._as_json:
            self._json({"event": "not_forwarded", "message_id": message_id, "reason": reason})
        else:
            console.note(f"{message_id} was not forwarded and will be retried: {reason}")

    def _json(self, fields: dict[str, object]) -> None:
        console.json(fields)
        self._check_reader()

    def _check_reader(self) -> None:
        if isinstance(console.out.failure, BrokenPipeError):
            # Stop listening: the sender keeps what is not acknowledged.
            self.reader_gone.set()


@frozen(kw_only=True)
class ListenRequest:
    """Arguments of `listen`."""

    host: str
    port: int
    path: str
    inbox: str | None
    forward: str | None
    secrets: list[str]

    def check(self) -> None:
        """Check the arguments before listening.

        Raises:
            ConfigurationError: The path is invalid.
        """
        if not self.path.startswith("/") or set(self.path) & set("{}?#"):
            raise ConfigurationError("--path must begin with / and have no query or fragment")


class _ListenSink(WebhookSink):
    """Sink that prints events, and stores or forwards them before they are acknowledged."""

    def __init__(
        self,
        verifier: WebhookVerifier,
        printer: EventPrinter,
        inbox: WebhookInbox | None,
        forwarder: Forwarder | None,
    ) -> None:
        self.verifier = verifier
        self._printer, self._inbox, self._forwarder = printer, inbox, forwarder
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Store an event in the inbox, or forward it. Return whether it is new."""
        message_id = event.message_id or ""
        if self._forwarder is not None:
            self._forwarder.remember(message_id, _request_headers.get())
        if self._inbox is not None:
            new = await self._inbox.store(event, body)
        else:
            if self._forwarder is not None:
                await self._forward(self._forwarder, message_id, body)
            new = self._is_new(message_id)
        self._printer.received(event, duplicate=not new)
        return new

    async def _forward(self, forwarder: Forwarder, message_id: str, body: bytes) -> None:
        try:
            status = await forwarder.send_with_retries(message_id, body, _FORWARD_WITHIN)
        except NotForwarded as failure:
            self._printer.not_forwarded(message_id, str(failure))
            raise
        self._printer.forwarded(message_id, status)

    def _is_new(self, message_id: str) -> bool:
        new = message_id not in self._seen
        self._seen[message_id] = None
        self._seen.move_to_end(message_id)
        while len(self._seen) > _MAX_REMEMBERED_IDS:
            self._seen.popitem(last=False)
        return new


async def listen(request: ListenRequest, printer: EventPrinter) -> int:
    """Receive events until cancelled, or until the reader of stdout is gone.

    Raises:
        ConfigurationError: A secret, the path or the URL is invalid.
        DatabaseError: The inbox cannot be used.
        OSError: The address cannot be listened on.
    """
    request.check()
    log_to_console(logging.WARNING, tracebacks=False)
    verifier = WebhookVerifier(*request.secrets)
    inbox = forwarder = None
    async with AsyncExitStack() as stack:
        if request.forward is not None:
            forwarder = await stack.enter_async_context(Forwarder(request.forward, request.secrets))
        if request.inbox is not None:
            inbox = await stack.enter_async_context(
                WebhookInbox(
                    request.inbox,
                    verifier=verifier,
                    lease=_LEASE_SECONDS,
                    attempts=_FORWARD_ATTEMPTS,
                )
            )
        sink = _ListenSink(verifier, printer, inbox, forwarder)
        url = await _serve(stack, sink, request, printer)
        printer.listening(url, request.forward)
        forwarding = None
        if inbox is not None and forwarder is not None:
            forward = partial(_forward_inbox, inbox, forwarder, printer)
            forwarding = asyncio.create_task(run_workers(forward, _MAX_CONCURRENT_FORWARDS))
            stack.push_async_callback(_cancel, forwarding)
        await _wait_first(forwarding, asyncio.create_task(printer.reader_gone.wait()))
    return OK


async def _serve(
    stack: AsyncExitStack, sink: WebhookSink, options: ListenRequest, printer: EventPrinter
) -> str:
    app, connections = aiohttp_app(sink, path=options.path), Connections()

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        _request_headers.set(request.headers)
        async with connections.handling(request):
            response = await handler(request)
        # A failure to store an event (503) is reported by the sink.
        if response.status >= _BAD_REQUEST and response.status != _UNAVAILABLE:
            printer.rejected(response.status, _rejection_reason(response))
        return response

    app.middlewares.append(observe)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None  # noqa: S101 - set by `setup`
    server = await asyncio.get_running_loop().create_server(
        connections.protocol_factory(runner.server), options.host, options.port
    )
    stack.callback(server.close)
    stack.push_async_callback(_cancel, asyncio.create_task(connections.run()))
    port = server.sockets[0].getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{port}{options.path}"


def _rejection_reason(response: web.StreamResponse) -> str:
    body = response.body if isinstance(response, web.Response) else None
    return str(json.loads(body)["error"]) if isinstance(body, bytes) else "not_found"


async def _wait_first(
    forwarding: asyncio.Task[None] | None, reader_gone: asyncio.Task[bool]
) -> None:
    """Wait until one of the tasks ends. Raise the exception of `forwarding`, if any."""
    try:
        tasks = [reader_gone] if forwarding is None else [reader_gone, forwarding]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        reader_gone.cancel()
    if forwarding is not None and forwarding.done():
        forwarding.result()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _forward_inbox(inbox: WebhookInbox, forwarder: Forwarder, printer: EventPrinter) -> None:
    """Forward the events of an inbox; the inbox schedules the attempts."""
    async for delivery in inbox.deliveries():
        message_id = delivery.event.message_id or ""
        try:
            async with delivery:
                status = await forwarder.send(message_id, delivery.body)
        except NotForwarded as failure:
            printer.not_forwarded(message_id, str(failure))
        else:
            printer.forwarded(message_id, status)
