"""Request bodies that are streamed from a source, and the bytes of them that were acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

import aiohttp
from attrs import define, field, frozen

from diffio_async.errors import DiffioError, ResponseLost, ResponseTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.abc import AbstractStreamWriter

if sys.platform == "linux":
    import fcntl
    import termios

#: Bytes that are read and written at once by default.
DEFAULT_CHUNK = 512 * 1024


@define(eq=False)
class InFlightPart:
    """Progress of one part, or of one whole body.

    Attributes:
        written: Bytes of this attempt that were written to the connection.
        unacked: Returns how many of them the peer has not acknowledged yet.
        max_acked: The largest number of acknowledged bytes so far.
    """

    written: int = 0
    unacked: Callable[[], int] = int
    max_acked: int = 0

    def acked_bytes(self) -> int:
        """Return the bytes of this attempt that the peer acknowledged."""
        self.max_acked = max(self.max_acked, self.written - self.unacked())
        return self.max_acked

    def reset(self) -> None:
        """Start another attempt, without progress."""
        self.written = self.max_acked = 0
        self.unacked = int


class BodySource(Protocol):
    """Bytes that can be read at any offset, as often as needed."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset`."""
        ...


@frozen
class StreamingBody:
    """Bytes `offset` to `offset + size` of a source, read in chunks.

    `on_written` is called with the bytes of this attempt that were written to the connection.
    """

    source: BodySource
    offset: int
    size: int
    on_written: Callable[[int], None]
    flight: InFlightPart = field(factory=InFlightPart)
    #: Returns the bytes that are read and written at once.
    chunk: Callable[[], int] = lambda: DEFAULT_CHUNK
    #: Held during each attempt, and not in the pauses between them.
    slot: Callable[[], AbstractAsyncContextManager[None]] = nullcontext

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, each time from the first."""
        self.on_written(0)
        done = 0
        while done < self.size:
            chunk = await self.source.read(self.offset + done, min(self.chunk(), self.size - done))
            done += len(chunk)
            # Set before they are written: the connection reports which are unacknowledged.
            self.flight.written = done
            yield chunk
            self.on_written(done)


class _Stopped(Exception):
    """Ends aiohttp's writer.

    It is not an OSError: aiohttp would write the body again.
    """


class StreamedPayload(aiohttp.Payload):
    """aiohttp's payload of a `StreamingBody`.

    Attributes:
        failure: The error of the source or the stall time-out; None if the network failed.
    """

    def __init__(
        self, body: StreamingBody, stall: float | None, on_sent: Callable[[], None]
    ) -> None:
        super().__init__(body, content_type="application/octet-stream")
        self._size = body.size
        self._body = body
        self._stall = stall
        self._on_sent = on_sent
        self._begun = False
        self.failure: DiffioError | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002
        """Raise: aiohttp calls it only to display a body."""
        raise TypeError("a streamed body has no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body once: aiohttp would repeat a PUT, which the retry loop does already."""
        if self._begun:
            self.failure = ResponseLost("the connection broke while the body was sent")
            raise _Stopped
        self._begun = True
        # Read here, because aiohttp has removed it when a cancellation arrives.
        transport = writer.transport
        if transport is not None:
            self._body.flight.unacked = partial(unacked_bytes, transport)
        try:
            async with contextlib.aclosing(self._body.chunks()) as chunks:
                async for chunk in chunks:
                    await self._push(writer, chunk)
        except DiffioError as failure:
            self.failure = failure
        except BaseException:
            # Otherwise a peer that does not read would keep the socket and its buffers.
            if transport is not None:
                transport.abort()
            raise
        if self.failure is not None:
            if transport is not None:
                transport.abort()
            raise _Stopped
        self._on_sent()

    async def _push(self, writer: AbstractStreamWriter, chunk: bytes) -> None:
        # aiohttp's read time-out starts after the last byte, so it does not detect this stall.
        cut = asyncio.timeout(self._stall)
        try:
            async with cut:
                await writer.write(chunk)
        except TimeoutError:
            if not cut.expired():
                raise
            raise ResponseTimeout(
                f"the host took no byte of the body for {self._stall:g} s"
            ) from None


def unacked_bytes(transport: asyncio.WriteTransport) -> int:
    """Return the bytes in the transport's buffer, plus the unacknowledged ones in the socket's.

    The latter only on Linux, which reports them: megabytes, on a fast machine and a slow line.
    """
    held = transport.get_write_buffer_size()
    if sys.platform == "linux":
        socket = transport.get_extra_info("socket")
        if socket is not None:
            try:
                queued = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
            except (OSError, ValueError):  # it is closed
                return held
            held += int(struct.unpack("i", queued)[0])
    return held
