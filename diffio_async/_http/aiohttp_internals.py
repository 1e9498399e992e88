"""What aiohttp and asyncio do not document: idle connections, their sockets, and direct receiving.

Each function checks for the names that it uses, and does without where they are missing.
`take_over_connection` needs them for speed: aiohttp copies every byte four times after decryption
and allocates new memory each time, a third of the CPU time of a download. The other functions have
no alternative. `tests/http/test_aiohttp_internals.py` runs on the lowest and the newest aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import aiohttp

from diffio_async import _system
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yarl
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

#: Seconds that a connection may have been idle for a request that must not be repeated: servers
#: close connections that are idle for longer (commonly 2 to 75 s).
MAX_IDLE = 1.0
#: Bytes of a buffer. There are two: one is filled while the other is written.
_BUFFER = MIB
#: Bytes of a body whose connection is taken over; smaller ones are not worth it.
MIN_BODY = 4 * _BUFFER
#: Seconds after which a partly filled buffer is returned.
_CHECK_SECONDS = 0.1
_HANDLER_NAMES = ("read_timeout", "start_timeout", "set_response_params")


def close_idle_connections(connector: aiohttp.BaseConnector | None, url: yarl.URL) -> None:
    """Close connections of a URL's host that were idle for more than `MAX_IDLE` seconds."""
    oldest = time.monotonic() - MAX_IDLE
    for key, idle in getattr(connector, "_conns", {}).items():
        if (key.host, key.port) == (url.raw_host, url.port):
            for handler, since in idle:
                if since < oldest:
                    handler.close()


def has_input(connection: Connection) -> bool:
    """Return whether the peer of an idle connection has closed it or sent something on it.

    The next request would take that for its response; aiohttp does not check it. The event loop
    may have read it already, or not yet.
    """
    handler, transport = connection.protocol, connection.transport
    if handler is None or transport is None or handler.should_close or transport.is_closing():
        return True
    return _system.is_readable(transport.get_extra_info("socket").fileno())


def abort_connections(connector: aiohttp.BaseConnector | None) -> None:
    """Close the sockets of a connector whose loop was closed: `close` would need the loop."""
    pools = getattr(connector, "_conns", {}).values()
    protocols = [protocol for pool in pools for protocol, *_ in pool]
    for protocol in [*protocols, *getattr(connector, "_acquired", ())]:
        _abort(protocol.transport)


def _abort(transport: Any) -> None:
    """Do what asyncio's loop would do in its next iteration."""
    while (tls := getattr(transport, "_ssl_protocol", None)) is not None:
        with contextlib.suppress(RuntimeError):  # it is marked as closed, without a TLS shutdown
            transport.close()
        transport = getattr(tls, "_transport", None)
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(RuntimeError):
            lost(None)


def unread_bytes(content: aiohttp.StreamReader) -> bytes:
    """Return the bytes that arrived before a failure: aiohttp raises the failure first.

    Without them, the bytes are downloaded again.
    """
    held, skip = getattr(content, "_buffer", None), getattr(content, "_buffer_offset", 0)
    unread = b"".join(held)[skip:] if held else b""
    if held:
        held.clear()
    return unread


def start_stall_timeout(response: aiohttp.ClientResponse, seconds: float | None) -> None:
    """Limit the time between two chunks of the rest of a body, as `ClientTimeout.sock_read` does.

    With the latter, aiohttp sets a timer for each request and another for each chunk, which takes a
    twentieth of the CPU time of a call. Without these names, the total time-out remains.
    """
    handler = None if response.connection is None else response.connection.protocol
    if handler is not None and all(hasattr(handler, name) for name in _HANDLER_NAMES):
        handler.read_timeout = seconds
        handler.start_timeout()


def take_over_connection(
    response: aiohttp.ClientResponse, stall: float | None
) -> BodyReceiver | None:
    """Return a receiver for the rest of a body; None if aiohttp has to read it."""
    connection, content, size = response.connection, response.content, response.content_length
    if connection is None or size is None or "Transfer-Encoding" in response.headers:
        return None
    transport, handler = connection.transport, connection.protocol
    if handler is None or transport is None or transport.is_closing():
        return None
    if not all(hasattr(handler, name) for name in _HANDLER_NAMES):
        return None
    # If aiohttp paused reading, its parser holds bytes that cannot be reached.
    if not transport.is_reading() or content.exception() is not None:
        return None
    left = size - getattr(content, "total_bytes", size)
    return BodyReceiver(content, transport, handler, left, stall) if left >= MIN_BODY else None


class BodyReceiver(asyncio.BufferedProtocol):
    """Receives the rest of a body, and then returns the connection to aiohttp."""

    def __init__(
        self,
        content: aiohttp.StreamReader,
        transport: asyncio.Transport,
        handler: ResponseHandler,
        left: int,
        stall: float | None,
    ) -> None:
        self._content, self._transport, self._handler = content, transport, handler
        self._left, self._stall = left, stall
        self._loop = asyncio.get_running_loop()
        self._filling: memoryview | None = None
        self._filled = 0
        self._full: deque[tuple[memoryview, int]] = deque()
        self._spare: list[memoryview] = []
        self._given: memoryview | None = None
        self._paused = self._gone = self._surplus = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._since = 0.0
        self._first: bytes = content.read_nowait()
        # aiohttp's read time-out does not see these reads: disable it.
        handler.read_timeout = None
        handler.start_timeout()
        self._set_reading(paused=True)  # not every loop can change protocols while it reads
        transport.set_protocol(self)
        self._set_reading(paused=False)

    async def read(self) -> bytes | memoryview:
        """Return the next bytes, b"" at the end. They are valid until the next call.

        Bytes that arrived before a failure are returned before it is raised.

        Raises:
            TimeoutError: Nothing arrived within the stall time-out.
            aiohttp.ClientError: The connection ended early.
            OSError: The connection broke.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._given is not None:
            self._spare.append(self._given)
            self._given = None
        self._since = self._loop.time()
        while not self._full:
            if self._failure is not None:
                raise self._failure
            if not self._left:
                return b""
            await self._wait()
        self._given, size = self._full.popleft()
        if self._left:
            self._set_reading(paused=False)
        return self._given[:size]

    def rest(self) -> Iterator[memoryview]:
        """Yield the bytes that arrived and were not returned yet."""
        self._flush()
        while self._full:
            buffer, size = self._full.popleft()
            yield buffer[:size]

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        delay = _CHECK_SECONDS if self._stall is None else min(_CHECK_SECONDS, self._stall)
        timer = self._loop.call_later(delay, self._check_stall)
        try:
            await self._waiter
        finally:
            self._waiter = None
            timer.cancel()

    def _check_stall(self) -> None:
        """Return a partly filled buffer, or fail after the stall time-out."""
        if self._filled:
            self._flush()
        elif self._transport.is_closing():
            self._fail(aiohttp.ClientPayloadError("the connection was closed"))
        elif self._stall is not None and self._loop.time() - self._since >= self._stall:
            self._fail(TimeoutError())
        else:
            self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes."""
        if self._gone or not self._left:  # a connection that closes is read to its end
            return memoryview(bytearray(sizehint if sizehint > 0 else 65536))
        if self._filling is None:
            self._filling = self._spare.pop() if self._spare else memoryview(bytearray(_BUFFER + 1))
        end = self._filled + self._left
        # One byte after the body, so that a surplus that arrives with its end is noticed.
        return self._filling[self._filled : end + 1 if end <= _BUFFER else _BUFFER]

    def buffer_updated(self, nbytes: int) -> None:
        """Count the bytes that arrived."""
        if self._gone or not self._left:
            return
        self._surplus = nbytes > self._left
        nbytes = min(nbytes, self._left)
        self._filled += nbytes
        self._left -= nbytes
        if not self._left or self._filled == _BUFFER:
            self._flush()

    def _flush(self) -> None:
        if self._filling is not None and self._filled:
            self._full.append((self._filling, self._filled))
            self._filling, self._filled = None, 0
        if not self._left or self._full:
            self._set_reading(paused=True)
        self._wake()

    def _set_reading(self, *, paused: bool) -> None:
        if paused != self._paused and not self._transport.is_closing():
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Exception) -> None:
        if self._failure is None and self._left:
            self._failure = failure
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the body, and notify aiohttp."""
        self._handler.connection_lost(exc)
        self._fail(exc or aiohttp.ClientPayloadError("the connection ended early"))

    def detach(self) -> None:
        """Return the connection to aiohttp; abort it if not exactly the body was read."""
        if self._gone:
            return
        self._gone = True
        if self._left or self._surplus or self._transport.is_closing():
            self._transport.abort()
            return
        # The old parser would ignore a surplus that arrives later: it waits for the body.
        self._handler.set_response_params()
        self._transport.set_protocol(self._handler)
        self._set_reading(paused=False)
        self._content.feed_eof()
