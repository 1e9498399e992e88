"""One HTTP request and its response, in progress."""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Self, TypeVar

import aiohttp
import yarl
from attrs import frozen

from diffio_async._http.body_receiver import BodyReceiver, take_over_connection
from diffio_async._http.error_mapping import map_exception
from diffio_async._http.request_body import StreamedPayload, StreamingBody
from diffio_async._http.sessions import Connection, SessionEntry, Sessions, current_connection
from diffio_async._http.shutdown import CLOSED
from diffio_async._protocol.codec import encodable
from diffio_async._protocol.codings import GZIP, Decoder, Undecodable, codings_of
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.requests import Request
from diffio_async.errors import (
    ClientClosed,
    DiffioError,
    InvalidResponse,
    ResponseLost,
    ResponseTimeout,
)
from diffio_async.options import Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from types import TracebackType

T = TypeVar("T")

#: How many times the read time-out the headers of a response, or a small body, may take.
_HEADERS_FACTOR = 2
_ENCODING = "Content-Encoding"


@frozen(kw_only=True)
class Attempt:
    """A request to be made once, in `total` seconds if that is a number.

    `new_connection` requires a connection of its own: on a reused one, a request that the server
    never received cannot be distinguished from one that it accepted.
    """

    request: Request
    timeouts: Timeouts
    total: float | None = None
    body: StreamingBody | None = None
    new_connection: bool = False


class Exchange:
    """One attempt in progress. `map_exception` maps every exception of aiohttp."""

    def __init__(self, sessions: Sessions, attempt: Attempt) -> None:
        self._sessions = sessions
        self._attempt = attempt
        self._payload: StreamedPayload | None = None
        self._kept: SessionEntry | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._receiver: BodyReceiver | None = None
        self._on_sent: Callable[[], None] = lambda: None
        self.connection = Connection(attempt.timeouts.connect)
        self.status = 0

    async def __aenter__(self) -> Self:
        if self._attempt.total is None:
            response = await self._opened_in_time()
        else:
            response = await self._map_errors(self._opened())
        self._response, self.status = response, response.status
        # At once: on a fast link aiohttp's own buffers are full by the next turn.
        self._receiver = take_over_connection(response, self._attempt.timeouts.read)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._response is not None and self._kept is not None:
            self._kept.reading.discard(self._response)
            if self._receiver is not None:
                self._receiver.detach()
            # Closes the connection unless the response was read to its end.
            self._response.close()

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Return the response headers by lower-case name; repeated headers are joined by commas."""
        return {} if self._response is None else _joined(self._response.headers)

    @property
    def request(self) -> Request:
        """Return the request."""
        return self._attempt.request

    @property
    def _limit(self) -> float | None:
        """Seconds for the headers of the response, or for a small body, where no total cuts them.

        aiohttp's time-out begins again with each byte, and with each informational response.
        """
        read = self._attempt.timeouts.read
        return None if read is None else _HEADERS_FACTOR * read

    @property
    def _doubt(self) -> str:
        get = self._attempt.request.method == "GET"
        return "" if get else " The request may have been accepted."

    async def _opened_in_time(self) -> aiohttp.ClientResponse:
        limit, loop = self._limit, asyncio.get_running_loop()
        cut = asyncio.timeout(None)

        def start_clock() -> None:
            if limit is not None:
                cut.reschedule(loop.time() + limit)

        if self._attempt.body is None:
            self.connection.on_had = start_clock
        else:
            # Sending may rightly take hours; what comes after it may not.
            self._on_sent = start_clock
        try:
            async with cut:
                return await self._map_errors(self._opened())
        except TimeoutError:
            if not cut.expired():
                raise
        raise ResponseTimeout(
            f"{public_url(self._attempt.request.url)} did not send the headers of its response "
            f"within {limit:g} s.{self._doubt}"
        )

    async def _opened(self) -> aiohttp.ClientResponse:
        attempt, request = self._attempt, self._attempt.request
        self._kept = kept = await self._sessions.session(fresh=attempt.new_connection)
        data: bytes | StreamedPayload | None = request.content
        if attempt.body is not None:
            data = self._payload = StreamedPayload(
                attempt.body, attempt.timeouts.read, self._on_sent
            )
        current_connection.set(self.connection)
        response = await kept.session.request(
            request.method,
            # Signed URLs are taken to the letter: another spelling breaks the signature.
            yarl.URL(request.url, encoded=True),
            data=data,
            headers=request.headers,
            allow_redirects=False,
            # Sizes are counted in bytes as sent: decoding is done here.
            auto_decompress=False,
            proxy=self._sessions.proxy_for(request.url),
            # `total` is cut by `attempt`, connecting by `Connector`.
            timeout=_stalls(attempt.timeouts.read),
        )
        kept.reading.add(response)
        return response

    async def iter_bytes(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes of the response as they arrive, uncopied, at most a MiB at once.

        A piece is valid until the next is requested. Bytes that arrived before a failure, or
        before the caller was cancelled, are yielded before that is raised.
        """
        if self._response is None:
            raise RuntimeError("the exchange is not open")
        receiver = self._receiver
        if receiver is not None:
            try:
                while piece := await self._map_errors(receiver.read()):
                    yield piece
            except asyncio.CancelledError:
                for piece in receiver.rest():
                    yield piece
                raise
            finally:
                receiver.detach()
            return
        content = self._response.content
        failure: DiffioError | None = None
        while failure is None:
            try:
                some = await self._map_errors(content.readany())
            except DiffioError as raised:
                failure = raised
                some = _drain_buffer(content)
            if some:
                yield some
            elif failure is None:
                return
        raise failure

    async def read(self, limit: int) -> bytes:
        """Return the whole body, decoded.

        Raises:
            InvalidResponse: It has more than `limit` bytes, or cannot be decoded.
        """
        cut = asyncio.timeout(self._limit if self._attempt.total is None else None)
        try:
            async with cut:
                body = await self._whole(limit)
        except TimeoutError:
            if not cut.expired():
                raise
            raise ResponseTimeout(
                f"{public_url(self._attempt.request.url)} did not send its whole response within "
                f"{self._limit:g} s.{self._doubt}"
            ) from None
        try:
            return self._decoded(body, limit)
        except Undecodable as failure:
            raise InvalidResponse(
                f"the response of {public_url(self._attempt.request.url)} cannot be read: "
                f"{failure}",
                status=self.status,
            ) from None

    def _decoded(self, body: bytes, limit: int) -> bytes:
        codings = self._codings
        if not codings and body.startswith(GZIP):  # no JSON and no page begins like that
            codings = ("gzip",)
        if not codings:
            return body
        found = bytearray()
        for piece in Decoder(codings).decode(body):
            found += piece
            if len(found) > limit:
                raise self._too_large(limit)
        return bytes(found)

    @property
    def _codings(self) -> tuple[str, ...]:
        given = () if self._response is None else self._response.headers.getall(_ENCODING, ())
        return codings_of(",".join(given)) if given else ()

    def decoder(self) -> Decoder | None:
        """Return the decoder of the pieces; None where they are not encoded.

        Raises:
            Undecodable: The content has a coding that is not known here.
        """
        codings = self._codings
        return Decoder(codings) if codings else None

    def _too_large(self, limit: int) -> InvalidResponse:
        return InvalidResponse(
            f"the response of {public_url(self._attempt.request.url)} has more than "
            f"{limit:,} bytes",
            status=self.status,
        )

    async def _whole(self, limit: int) -> bytes:
        taken = self._receiver is not None  # aiohttp reads it no more
        response = None if taken else self._response
        if response is not None and (response.content_length or limit + 1) <= limit:
            return await self._map_errors(response.read())
        body = bytearray()
        async with contextlib.aclosing(self.iter_bytes()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    raise self._too_large(limit)
        return bytes(body)

    async def read_prefix(self, limit: int, deadline: float | None = None) -> bytes:
        """Return the first `limit` bytes of an error's body, or as many as arrive, decoded.

        Empty where they cannot be decoded.

        Args:
            limit: Bytes.
            deadline: Stop reading at this time of the loop; the body has a limit of its own too.

        Raises:
            ClientClosed: The client was closed.
        """
        body = bytearray()
        seconds = self._limit
        own = None if seconds is None else asyncio.get_running_loop().time() + seconds
        cut = asyncio.timeout_at(min((t for t in (own, deadline) if t is not None), default=None))
        try:
            async with cut, contextlib.aclosing(self.iter_bytes()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) >= limit:
                        break
        except ResponseLost:
            pass  # what arrived has to do
        except TimeoutError:
            if not cut.expired():
                raise
        try:
            return self._decoded(bytes(body[:limit]), limit)
        except (Undecodable, InvalidResponse):
            return b""

    async def _map_errors(self, awaited: Awaitable[T]) -> T:
        try:
            return await awaited
        except StopAsyncIteration:
            raise
        except asyncio.CancelledError:
            # Closing cancels waits for a connection or a name; the caller was not cancelled.
            task = asyncio.current_task()
            if not self._sessions.closed or task is None or task.cancelling():
                raise
            failure: DiffioError = ClientClosed(CLOSED)
        except Exception as raw:  # noqa: BLE001 - the ladder knows them all
            failure = map_exception(
                raw,
                connection=self.connection,
                payload_failure=self._payload.failure if self._payload is not None else None,
                closed=self._sessions.closed,
                url=public_url(self._attempt.request.url),
                repeatable=self._attempt.request.method == "GET",
            )
        # Raised outside the handler: the context would keep messages of aiohttp, which hold URLs.
        raise failure


@lru_cache(maxsize=16)
def _stalls(read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_read=read)


def _joined(headers: Mapping[str, str]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower, text = name.lower(), encodable(value)
        joined[lower] = f"{joined[lower]}, {text}" if lower in joined else text
    return joined


def _drain_buffer(content: aiohttp.StreamReader) -> bytes:
    # aiohttp raises the failure first, and would have what came before it fetched again. Private
    # names, the same from aiohttp 3.8 to 3.14: where they are gone, that is what happens.
    held, skip = getattr(content, "_buffer", None), getattr(content, "_buffer_offset", 0)
    unread = b"".join(held)[skip:] if held else b""
    if held:
        held.clear()
    return unread
