"""Large bodies received directly into buffers, over a connection taken over from aiohttp.

aiohttp copies every byte four times after decryption and allocates new memory each time: half of
the CPU time of a download. Whoever takes over the connection must also detect stalls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import aiohttp

from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.client_proto import ResponseHandler

#: Bytes of a buffer. There are two: one is filled while the other is written.
_BUFFER = MIB
#: Bytes: less is not worth it.
_MIN_BODY = 4 * _BUFFER
#: Seconds after which what came is handed on, though it fills no buffer.
_CHECK_SECONDS = 0.1


def take_over_connection(
    response: aiohttp.ClientResponse, stall: float | None
) -> BodyReceiver | None:
    """Return a receiver for the rest of a body; None where aiohttp has to read it."""
    connection, size = response.connection, response.content_length
    if connection is None or size is None or "Transfer-Encoding" in response.headers:
        return None
    transport, handler = connection.transport, connection.protocol
    if not isinstance(transport, asyncio.Transport) or handler is None or transport.is_closing():
        return None
    # Where aiohttp paused reading, its parser holds bytes that cannot be reached.
    if not transport.is_reading() or response.content.exception() is not None:
        return None
    left = size - response.content.total_bytes
    return (
        BodyReceiver(response.content, transport, handler, left, stall)
        if left >= _MIN_BODY
        else None
    )


class BodyReceiver(asyncio.BufferedProtocol):
    """Receives the rest of a body; then aiohttp has the connection again."""

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
        self._paused = self._gone = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._since = 0.0
        self._first: bytes = content.read_nowait()
        # Its clock would not see us read.
        handler.read_timeout = None
        handler.start_timeout()
        self._set_reading(paused=True)  # not every loop changes protocols while it reads
        transport.set_protocol(self)
        self._set_reading(paused=False)

    async def read(self) -> bytes | memoryview:
        """Return the next bytes, b"" at the end. They are valid until the next call.

        Bytes that arrived before a failure are returned before it is raised.

        Raises:
            TimeoutError: Nothing came for the stall's seconds.
            aiohttp.ClientError: The connection ended early.
            OSError: It broke.
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
        tick = _CHECK_SECONDS if self._stall is None else min(_CHECK_SECONDS, self._stall)
        timer = self._loop.call_later(tick, self._check_stall)
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
            self._filling = self._spare.pop() if self._spare else memoryview(bytearray(_BUFFER))
        return self._filling[self._filled : self._filled + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        """Count the bytes that arrived."""
        if self._gone or not self._left:
            return
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

    def pause_writing(self) -> None:
        """Do nothing: nothing is written."""

    def resume_writing(self) -> None:
        """Do nothing: nothing is written."""

    def detach(self) -> None:
        """Return the connection to aiohttp; abort it where the body was not read to its end."""
        if self._gone:
            return
        self._gone = True
        if self._left or self._transport.is_closing():
            self._transport.abort()
            return
        self._transport.set_protocol(self._handler)
        self._set_reading(paused=False)
        self._content.feed_eof()
