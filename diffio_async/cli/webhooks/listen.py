"""`diffio-async webhooks listen`: receives events, prints, stores and forwards them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from attrs import define, field, frozen

from diffio_async._storage.threads import run_workers
from diffio_async.cli import OK
from diffio_async.cli.command import console, log_to_console, print_event
from diffio_async.cli.webhooks.forward import Forwarder, NotForwarded
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.aiohttp_server import aiohttp_app
from diffio_async.webhooks.inbox import WebhookInbox
from diffio_async.webhooks.receiver import WebhookSink
from diffio_async.webhooks.verifier import WebhookVerifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from aiohttp.typedefs import Handler, Middleware

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


class _EventPrinter:
    """Prints events as lines, in color on a terminal, or as JSON.

    `reader_gone` is set when the reader of stdout closed the pipe.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.reader_gone = asyncio.Event()

    def listening(self, url: str, forward: str | None) -> None:
        """Print the URL; as a line it goes to stderr, since stdout is for events."""
        to = f", forwarding to {forward}" if forward else ""
        line = f"Listening on {url}{to}, until Ctrl-C."
        self._print({"event": "listening", "url": url, "forward": forward}, line)

    def received(self, event: WebhookEvent, *, duplicate: bool) -> None:
        """Print an event that was accepted."""
        words = [event.event_type or "?", event.generation_id or "-", event.message_id or "-"]
        words += [f"error: {event.error}"] if event.error else []
        words += ["(duplicate)"] if duplicate else []
        line = f"{datetime.now().astimezone():%H:%M:%S} {' '.join(words)}"
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
        self._print(fields, line, to_stderr=False, style=_STYLES.get(event.event_type))

    def rejected(self, status: int, reason: str) -> None:
        """Print a rejected request as JSON; the log reports it as a line."""
        self._print({"event": "rejected", "status": status, "reason": reason})

    def forwarded(self, message_id: str, status: int) -> None:
        """Print as JSON that the target accepted an event."""
        self._print({"event": "forwarded", "message_id": message_id, "status": status})

    def not_forwarded(self, message_id: str, reason: str) -> None:
        """Print that the target did not accept an event, which will be retried."""
        line = f"{message_id} was not forwarded and will be retried: {reason}"
        self._print({"event": "not_forwarded", "message_id": message_id, "reason": reason}, line)

    def _print(
        self,
        fields: dict[str, object],
        *lines: str,
        to_stderr: bool = True,
        style: str | None = None,
    ) -> None:
        print_event(fields, *lines, as_json=self._as_json, to_stderr=to_stderr, style=style)
        if isinstance(console.out.failure, BrokenPipeError):
            # Stop listening: the sender keeps what is not acknowledged.
            self.reader_gone.set()


class _ListenSink(WebhookSink):
    """Sink that prints events, and stores or forwards them before they are acknowledged."""

    def __init__(
        self,
        verifier: WebhookVerifier,
        printer: _EventPrinter,
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


async def listen(
    host: str,
    port: int,
    path: str,
    *,
    inbox_file: str | None,
    forward_url: str | None,
    secrets: Sequence[str],
    as_json: bool,
) -> int:
    """Receive events until cancelled, or until the reader of stdout is gone."""
    if not path.startswith("/") or set(path) & set("{}?#"):
        raise ConfigurationError("--path must begin with / and have no query or fragment")
    log_to_console(logging.WARNING, tracebacks=False)
    printer = _EventPrinter(as_json=as_json)
    verifier = WebhookVerifier(*secrets)
    inbox = forwarder = None
    async with AsyncExitStack() as stack:
        if forward_url is not None:
            forwarder = await stack.enter_async_context(Forwarder(forward_url, secrets))
        if inbox_file is not None:
            inbox = await stack.enter_async_context(
                WebhookInbox(
                    inbox_file,
                    verifier=verifier,
                    lease=_LEASE_SECONDS,
                    attempts=_FORWARD_ATTEMPTS,
                )
            )
        sink = _ListenSink(verifier, printer, inbox, forwarder)
        app, connections = aiohttp_app(sink, path=path), Connections()
        app.middlewares.append(_observer(connections, printer))
        port = await _serve(stack, app, connections, host, port)
        shown_host = f"[{host}]" if ":" in host else host
        printer.listening(f"http://{shown_host}:{port}{path}", forward_url)
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(printer.reader_gone.wait())]
        if inbox is not None and forwarder is not None:
            forward = partial(_forward_inbox, inbox, forwarder, printer)
            tasks.append(asyncio.create_task(run_workers(forward, _MAX_CONCURRENT_FORWARDS)))
        for task in tasks:
            stack.push_async_callback(_cancel, task)
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    return OK


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _observer(connections: Connections, printer: _EventPrinter) -> Middleware:
    """Return a middleware that limits a request's time and prints its rejection."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        _request_headers.set(request.headers)
        async with connections.handling(request):
            response = await handler(request)
        # A failure to store an event (503) is reported by the sink.
        if response.status >= _BAD_REQUEST and response.status != _UNAVAILABLE:
            body = response.body if isinstance(response, web.Response) else None
            reason = json.loads(body)["error"] if isinstance(body, bytes) else "not_found"
            printer.rejected(response.status, str(reason))
        return response

    return observe


async def _serve(
    stack: AsyncExitStack, app: web.Application, connections: Connections, host: str, port: int
) -> int:
    """Start a server, which `stack` stops. Return its port."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None  # noqa: S101 - set by `setup`
    server = await asyncio.get_running_loop().create_server(
        connections.protocol_factory(runner.server), host, port
    )
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1])


async def _forward_inbox(inbox: WebhookInbox, forwarder: Forwarder, printer: _EventPrinter) -> None:
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


@frozen(kw_only=True)
class Limits:
    """Time limits of a connection, in seconds, and the maximum number of connections.

    Attributes:
        headers: From the opening of a connection to the end of the first request's headers.
        idle: From a response to the end of the next request's headers.
        body: From a request's headers to the end of its body.
        connections: Maximum open; of more, the one that has been idle longest is closed.
    """

    headers: float = 10.0
    idle: float = 60.0
    body: float = 20.0
    connections: int = 200


@define(eq=False)
class _Connection(asyncio.Protocol):
    """Protocol that forwards to the server's own, and can be closed at any time."""

    owner: Connections
    inner: asyncio.Protocol
    transport: asyncio.Transport | None = None
    #: Start of the current wait for the client, and the timer that ends it.
    wait_started_at: float = 0.0
    timer: asyncio.TimerHandle | None = None
    #: The request that is being handled.
    request: web.BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - true for TCP servers
        self.transport = transport
        self.inner.connection_made(transport)
        self.owner.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.remove(self)
        if self.timer is not None:
            self.timer.cancel()
        self.inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def start_wait(self, max_wait: float, request: web.BaseRequest | None = None) -> None:
        """Start a wait for the client of at most `max_wait` seconds."""
        loop = asyncio.get_running_loop()
        if self.timer is not None:
            self.timer.cancel()
        self.request, self.wait_started_at = request, loop.time()
        self.timer = loop.call_later(max_wait, self._end_wait)

    def _end_wait(self) -> None:
        if self.waiting:
            self.abort()

    @property
    def waiting(self) -> bool:
        """Whether the client has to send data; a handler limits its own time."""
        return self.request is None or not self.request.content.is_eof()

    def abort(self) -> None:
        """Close the connection now and drop unsent data."""
        if self.transport is not None:
            self.transport.abort()


@define(eq=False)
class Connections:
    """The open connections of one server."""

    limits: Limits = field(factory=Limits)
    _open: dict[asyncio.BaseTransport, _Connection] = field(factory=dict, init=False)

    def protocol_factory(
        self, server: Callable[[], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        """Return a protocol factory that wraps the server's."""
        return lambda: _Connection(self, server())

    def add(self, connection: _Connection) -> None:
        """Add a connection. If there are too many, close the one that has waited longest."""
        connection.start_wait(self.limits.headers)
        if connection.transport is not None:
            self._open[connection.transport] = connection
        if len(self._open) > self.limits.connections:
            waiting = [each for each in self._open.values() if each.waiting]
            longest = min(waiting, key=lambda each: each.wait_started_at, default=connection)
            # Removed now, since `connection_lost` is called later: the next call aborts another.
            self.remove(longest)
            longest.abort()

    def remove(self, connection: _Connection) -> None:
        """Remove a connection."""
        if connection.transport is not None:
            self._open.pop(connection.transport, None)

    @asynccontextmanager
    async def handling(self, request: web.BaseRequest) -> AsyncIterator[None]:
        """Apply the limits of a request during the body, which handles it."""
        transport = request.transport
        connection = None if transport is None else self._open.get(transport)
        if connection is not None:
            connection.start_wait(self.limits.body, request)
        try:
            yield
        finally:
            if connection is not None and connection.transport in self._open:
                connection.start_wait(self.limits.idle)
