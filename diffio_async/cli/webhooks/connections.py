"""Connections of a public server: bounded in number, and in how long they may take."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web


@frozen(kw_only=True)
class Limits:
    """What one connection may take, in seconds, and how many there may be.

    Attributes:
        headers: From the opening of a connection to the end of the first request's headers.
        idle: From a response to the end of the next request's headers.
        body: From a request's headers to the end of its body.
        connections: Open at once; above that the one that has been idle longest is closed.
        sweep: Between two looks at all of them.
    """

    headers: float = 10.0
    idle: float = 60.0
    body: float = 20.0
    connections: int = 200
    sweep: float = 1.0


@define(eq=False)
class _Connection(asyncio.Protocol):
    """Hands all to the server's own protocol, and can be closed whatever that waits for."""

    all: Connections
    inner: asyncio.Protocol
    transport: asyncio.Transport | None = None
    #: When the current wait began, and how many seconds it may take.
    since: float = 0.0
    within: float = 0.0
    #: The request that is being answered.
    request: web.BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server's are
        self.transport = transport
        self.inner.connection_made(transport)
        self.all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.all.closed(self)
        self.inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def waits(self, seconds: float, request: web.BaseRequest | None = None) -> None:
        """Note what the connection waits for from now on."""
        self.request, self.within = request, seconds
        self.since = asyncio.get_running_loop().time()

    @property
    def waiting(self) -> bool:
        """Whether the client has to send something; a handler limits its own time."""
        return self.request is None or not self.request.content.is_eof()

    def cut(self) -> None:
        """Close it now, without waiting for what is unsent."""
        if self.transport is not None:
            self.transport.abort()


@define(eq=False)
class Connections:
    """The open connections of one server."""

    limits: Limits = field(factory=Limits)
    _open: dict[asyncio.BaseTransport, _Connection] = field(factory=dict, init=False)

    def accepting(self, server: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of each new connection."""
        return lambda: _Connection(self, server())

    def opened(self, connection: _Connection) -> None:
        """Count a new connection; of too many the one that has waited longest is closed."""
        connection.waits(self.limits.headers)
        if connection.transport is not None:
            self._open[connection.transport] = connection
        if len(self._open) > self.limits.connections:
            waiting = [each for each in self._open.values() if each.waiting]
            longest = min(waiting, key=lambda each: each.since, default=connection)
            # Before its end arrives, so that the next one to be closed is another one.
            self.closed(longest)
            longest.cut()

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        if connection.transport is not None:
            self._open.pop(connection.transport, None)

    @asynccontextmanager
    async def answering(self, request: web.BaseRequest) -> AsyncIterator[None]:
        """Run the body as the answer to a request."""
        transport = request.transport
        connection = None if transport is None else self._open.get(transport)
        if connection is not None:
            connection.waits(self.limits.body, request)
        try:
            yield
        finally:
            if connection is not None:
                connection.waits(self.limits.idle)

    async def run(self) -> None:
        """Close what takes too long, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self.limits.sweep)
            for connection in [*self._open.values()]:
                if connection.waiting and clock() - connection.since > connection.within:
                    connection.cut()
