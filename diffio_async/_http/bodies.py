"""Bodies: requests that are streamed from a source, and bounded decoding of responses."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import aiohttp
from attrs import define, field, frozen

from diffio_async import _system
from diffio_async.errors import DiffioError, ResponseLost, ResponseTimeout
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from aiohttp.abc import AbstractStreamWriter

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

    The latter only where the system reports them.
    """
    held = transport.get_write_buffer_size()
    socket = transport.get_extra_info("socket")
    if socket is not None:
        with contextlib.suppress(OSError, ValueError):  # it is closed
            held += _system.unsent_bytes(socket.fileno())
    return held


#: The first bytes of a gzip stream.
GZIP = b"\x1f\x8b"
_DECODED = frozenset({"gzip", "x-gzip", "deflate"})
#: Real codings. Whatever else is in the header (`aws-chunked`, `UTF-8`, `none`) changes no byte.
_CODINGS = _DECODED | {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
_MAX_CODINGS = 3
#: Bytes of decoded content that are yielded at once.
_PIECE = MIB
#: A body that grows by more than this, beyond so many bytes, is a decompression bomb.
_GROWTH, _HARMLESS = 100, 64 * MIB


class Undecodable(ValueError):
    """The content cannot be decoded."""


def codings_of(header: str) -> tuple[str, ...]:
    """Return the codings in a `Content-Encoding` header, in the order they were applied."""
    names = (each.strip().lower() for each in header.split(","))
    return tuple(name for name in names if name in _CODINGS)


class Decoder:
    """Decodes a body piece by piece."""

    def __init__(self, codings: tuple[str, ...]) -> None:
        """Create a decoder of content with these codings.

        Raises:
            Undecodable: One of them is not supported.
        """
        unknown = next((each for each in codings if each not in _DECODED), None)
        if unknown is not None or len(codings) > _MAX_CODINGS:
            raise Undecodable(
                f"it is in an encoding that was not requested ({unknown or 'of many layers'})"
            )
        self._layers = [_Inflater(coding) for coding in reversed(codings)]
        self._taken = self._given = 0

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decode the next bytes, a MiB at a time.

        Raises:
            Undecodable: The bytes are invalid, or grow beyond the limit.
        """
        self._taken += len(data)
        pieces: Iterator[bytes] = iter((bytes(data),))
        for layer in self._layers:
            pieces = layer.inflate(pieces)
        for piece in pieces:
            self._given += len(piece)
            if self._given > max(_HARMLESS, _GROWTH * self._taken):
                raise Undecodable(f"it grows to more than {_GROWTH} times its size when decoded")
            yield piece

    @property
    def complete(self) -> bool:
        """Return whether each coding is complete."""
        return all(layer.complete for layer in self._layers)


def decoded(body: bytes, codings: tuple[str, ...], limit: int) -> bytes:
    """Return a whole body, decoded.

    Raises:
        Undecodable: It is invalid, or has more than `limit` bytes.
    """
    if len(body) <= limit:
        if not codings:
            return body
        found = bytearray()
        for piece in Decoder(codings).decode(body):
            found += piece
            if len(found) > limit:
                break
        else:
            return bytes(found)
    raise Undecodable(f"it has more than {limit:,} bytes")


class _Inflater:
    """One gzip or deflate coding. Content that is labelled gzip but is not gzip is unchanged."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding != "deflate"
        self._head = b""
        self._stream: Any = None
        self._plain = self._ended = False

    @property
    def complete(self) -> bool:
        return self._plain or self._ended

    def inflate(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self._inflated(piece)

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream is None and not self._plain:
                data, self._head = self._head + data, b""
                if len(data) < len(GZIP):
                    self._head = data
                    return
                self._begin(data)
            if self._stream is None:
                if self._plain:
                    yield data
                return  # bytes after the end are not content
            try:
                piece = self._stream.decompress(data, _PIECE)
                while piece:
                    yield piece
                    piece = self._stream.decompress(self._stream.unconsumed_tail, _PIECE)
            except zlib.error as failure:
                raise Undecodable(f"it does not decode ({failure})") from None
            data = b""
            if self._stream.eof:
                data, self._stream, self._ended = self._stream.unused_data, None, True

    def _begin(self, data: bytes) -> None:
        """Start decoding at the first bytes; a gzip body may have several members."""
        if self._gzip:
            if data.startswith(GZIP):
                self._stream, self._ended = zlib.decompressobj(wbits=31), False
            else:
                self._plain = not self._ended
        elif not self._ended:
            # `deflate` should have the header of zlib, but often lacks it.
            headed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0  # noqa: PLR2004
            self._stream = zlib.decompressobj(wbits=15 if headed else -15)
