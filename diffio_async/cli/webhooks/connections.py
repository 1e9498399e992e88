"""Limits for the connections of a public server: their number, and the time to send requests."""

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
    """Time limits of a connection, in seconds, and the maximum number of connections.

    Attributes:
        headers: From the opening of a connection to the end of the first request's headers.
        idle: From a response to the end of the next request's headers.
        body: From a request's headers to the end of its body.
        connections: Maximum open; of more, the one that has been idle longest is closed.
        sweep: Interval between two checks of all connections.
    """

    headers: float = 10.0
    idle: float = 60.0
    body: float = 20.0
    connections: int = 200
    sweep: float = 1.0


@define(eq=False)
class _Connection(asyncio.Protocol):
    """Protocol that forwards to the server's own, and can be closed at any time."""

    owner: Connections
    inner: asyncio.Protocol
    transport: asyncio.Transport | None = None
    #: Start of the current wait for the client, and its maximum in seconds.
    wait_started_at: float = 0.0
    max_wait: float = 0.0
    #: The request that is being handled.
    request: web.BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - true for TCP servers
        self.transport = transport
        self.inner.connection_made(transport)
        self.owner.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.remove(self)
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
        self.request, self.max_wait = request, max_wait
        self.wait_started_at = asyncio.get_running_loop().time()

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
            if connection is not None:
                connection.start_wait(self.limits.idle)

    async def run(self) -> None:
        """Close connections that exceed their limit, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self.limits.sweep)
            for connection in [*self._open.values()]:
                waited = clock() - connection.wait_started_at
                if connection.waiting and waited > connection.max_wait:
                    connection.abort()
