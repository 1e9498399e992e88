"""A body streamed by aiohttp: once, with a stall time-out, and with its own failures kept apart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

import aiohttp
from attrs import define, field, frozen

from diffio_async._http.socket_queue import unacked_bytes
from diffio_async.errors import DiffioError, ResponseLost, ResponseTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.abc import AbstractStreamWriter


class _Stopped(Exception):
    """Ends aiohttp's writer; private to this file.

    No OSError: aiohttp would take that for the network's, and write the body again.
    """


class StreamedPayload(aiohttp.Payload):
    """A `StreamingBody` as aiohttp wants it.

    Attributes:
        failure: What ended the writing from our side, None where the network did.
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
        """Refuse: aiohttp calls it only to show a body."""
        raise TypeError("a streamed body has no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body. aiohttp sends a PUT again by itself; our own retry loop does that."""
        if self._begun:
            self.failure = ResponseLost("the connection broke while the body was sent")
            raise _Stopped
        self._begun = True
        # Taken now: at a cancellation aiohttp has already let go of it.
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
            # A peer that does not read would keep the socket, buffers and all.
            if transport is not None:
                transport.abort()
            raise
        if self.failure is not None:
            if transport is not None:
                transport.abort()
            raise _Stopped
        self._on_sent()

    async def _push(self, writer: AbstractStreamWriter, chunk: bytes) -> None:
        # aiohttp's read time-out starts after the last byte: a stalled upload is ours to see.
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


#: Bytes that are read and written at once by default.
DEFAULT_CHUNK = 512 * 1024


@define(eq=False)
class InFlightPart:
    """One part, or one whole body, on its way.

    Attributes:
        written: Bytes of this attempt that were handed to the connection.
        unacked: How many of them the connection reports as not acknowledged yet.
        max_acked: How many had got through when that was last asked.
    """

    written: int = 0
    unacked: Callable[[], int] = int
    max_acked: int = 0

    def acked_bytes(self) -> int:
        """Bytes of this attempt that got through."""
        self.max_acked = max(self.max_acked, self.written - self.unacked())
        return self.max_acked

    def reset(self) -> None:
        """Another attempt: nothing of it is through."""
        self.written = self.max_acked = 0
        self.unacked = int


class BodySource(Protocol):
    """Bytes that can be read at any offset, as often as needed."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset`."""
        ...


@frozen
class StreamingBody:
    """Bytes `offset` to `offset + size` of a source, never held whole.

    `on_written` is told how many bytes of this attempt went to the connection so far, and so is
    the `flight`.
    """

    source: BodySource
    offset: int
    size: int
    on_written: Callable[[int], None]
    flight: InFlightPart = field(factory=InFlightPart)
    #: Bytes that are read and written in one go.
    chunk: Callable[[], int] = lambda: DEFAULT_CHUNK
    #: Held during each attempt, and not in the pauses between them.
    slot: Callable[[], AbstractAsyncContextManager[None]] = nullcontext

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, from the first again each time."""
        self.on_written(0)
        done = 0
        while done < self.size:
            chunk = await self.source.read(self.offset + done, min(self.chunk(), self.size - done))
            done += len(chunk)
            # Now, though it is only being written: what is not through is told by the connection.
            self.flight.written = done
            yield chunk
            self.on_written(done)
