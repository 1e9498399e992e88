"""One attempt: an HTTP request and its response, in progress or complete."""

from __future__ import annotations

import asyncio
import contextlib
import math
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import yarl
from attrs import define

from diffio_async._http.aiohttp_internals import (
    MIN_BODY,
    BodyReceiver,
    close_idle_connections,
    start_stall_timeout,
    take_over_connection,
    unread_bytes,
)
from diffio_async._http.bodies import (
    GZIP,
    Decoder,
    StreamedPayload,
    StreamingBody,
    Undecodable,
    codings_of,
    decoded,
)
from diffio_async._http.connector import PhaseLimit, current_phase, stall_timeout
from diffio_async._http.error_mapping import map_exception, total_timeout_error
from diffio_async._http.shutdown import CLOSED
from diffio_async._protocol.codec import encodable
from diffio_async._protocol.redaction import public_url
from diffio_async.errors import (
    ClientClosed,
    DiffioError,
    InvalidResponse,
    ResponseLost,
    ResponseTimeout,
)
from diffio_async.options import MIB, Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping
    from types import TracebackType

    import aiohttp

    from diffio_async._http.sessions import SessionEntry, Sessions
    from diffio_async._protocol.requests import Request

T = TypeVar("T")

#: Without a total: the limit of the headers, or of a small body, in read time-outs.
_READ_FACTOR = 2
_ENCODING = "Content-Encoding"
#: Bytes of a response with an error that are read.
MAX_ERROR = MIB


@define(kw_only=True)
class Attempt:
    """A request to be made once, in `total` seconds if that is a number.

    With `once`, the request must not be repeated if its response is lost. It reuses a connection
    only if that was idle for a moment: a server may close a longer idle one while the request is
    on its way, and that cannot be distinguished from a request that was accepted.
    """

    request: Request
    timeouts: Timeouts
    total: float | None = None
    body: StreamingBody | None = None
    once: bool = False


async def fetch(sessions: Sessions, attempt: Attempt, max_bytes: int) -> Exchange:
    """Make an attempt and read the whole response, into `body`.

    Raises:
        ConnectionFailed: No connection was established, so no request was sent.
        ResponseLost: The request may have been accepted, but no complete response was received
            (`ResponseTimeout`: not in time).
        InvalidResponse: The response is larger than `max_bytes`, or cannot be decoded.
        ClientClosed: The client was closed.
    """
    exchange = Exchange(sessions, attempt)
    try:
        body = await exchange.perform(max_bytes)
        if exchange.ok and body is not None:
            exchange.body = exchange.decoded(body, max_bytes)
        elif exchange.ok or not exchange.status:
            raise exchange.timeout_error()
        else:
            # The status is known, even if the rest of the response is late or cut off.
            exchange.body = await exchange.read_prefix(MAX_ERROR)
        return exchange
    finally:
        exchange.close()


class Exchange:
    """One attempt in progress. `map_exception` maps every exception of aiohttp.

    Attributes:
        status: The status of the response; 0 before it arrives.
        ok: Whether the status is 2xx.
        body: The response, as far as `fetch` read it.
    """

    _phase: PhaseLimit

    def __init__(self, sessions: Sessions, attempt: Attempt) -> None:
        self._sessions = sessions
        self._attempt = attempt
        self._payload: StreamedPayload | None = None
        self._kept: SessionEntry | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._receiver: BodyReceiver | None = None
        self.status, self.ok, self.body = 0, False, b""

    async def __aenter__(self) -> Self:
        await self.perform(None)
        if self._response is None:
            raise self.timeout_error()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection; close it unless the response was read to its end."""
        if self._response is not None and self._kept is not None:
            self._kept.reading.discard(self._response)
            if self._receiver is not None:
                self._receiver.detach()
            if not self._response.closed:
                self._response.close()

    def timeout_error(self) -> DiffioError:
        """Return the error for the time limit that has ended."""
        phase, total = self._phase, self._attempt.total
        if total is not None and phase.total_expired:
            return total_timeout_error(self._where, total, established=phase.established)
        if not self.status and (phase.connecting or not phase.established):
            return self._mapped(TimeoutError())
        late = "its whole response" if self.status else "the headers of its response"
        return ResponseTimeout(
            f"{self._where} did not send {late} within {self._limit:g} s, by the read time-out."
            f"{self._doubt}"
        )

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Return the response headers by lower-case name; repeated headers are joined by commas."""
        return _joined(self.received_headers)

    @property
    def received_headers(self) -> Mapping[str, str]:
        """Return the response headers as received, by name in any case; the first of each name."""
        return {} if self._response is None else self._response.headers

    @property
    def request(self) -> Request:
        """Return the request."""
        return self._attempt.request

    @property
    def _where(self) -> str:
        return public_url(self._attempt.request.url)

    @property
    def _limit(self) -> float | None:
        """Seconds for the headers of the response, or for a small body.

        Without a total time-out, aiohttp's time-out for stalls, which restarts with each byte, and
        with each informational response, applies too.
        """
        read, total = self._attempt.timeouts.read, self._attempt.total
        return read if read is None or total is not None else _READ_FACTOR * read

    @property
    def _doubt(self) -> str:
        return "" if self.request.method == "GET" else " The request may have been accepted."

    async def perform(self, max_bytes: int | None) -> bytes | None:
        """Send the request, receive the response, and limit the time of both.

        Args:
            max_bytes: The body of a success is read too, but not much more than this; None if the
                caller reads it, without a limit.

        Returns:
            The body, as far as it was read; None if the time was over.
        """
        attempt = self._attempt
        self._kept = kept = await self._sessions.session()
        self._phase = phase = PhaseLimit(
            kept.limit_timer,
            attempt.total,
            attempt.timeouts.connect,
            self._limit,
            sends_body=attempt.body is not None,
        )
        body = None
        try:
            with phase:
                response = await self._send(kept)
                body = await self._read(response, max_bytes) if max_bytes is not None else b""
        except BaseException as raw:  # noqa: BLE001 - each class is mapped
            failure = self._failure(raw)
        else:
            return body
        # Raised outside the handlers: the context would keep messages of aiohttp, which hold URLs.
        raise failure

    async def _send(self, kept: SessionEntry) -> aiohttp.ClientResponse:
        attempt, request, read = self._attempt, self._attempt.request, self._attempt.timeouts.read
        # Signed URLs are sent unchanged: another spelling invalidates the signature.
        url = yarl.URL(request.url, encoded=True)
        data: bytes | StreamedPayload | None = request.content
        if attempt.body is not None:
            data = self._payload = StreamedPayload(attempt.body, read, self._phase.on_sent)
        if attempt.once:
            close_idle_connections(kept.session.connector, url)
        current_phase.set(self._phase)
        response = await kept.session.request(
            request.method,
            url,
            data=data,
            headers=request.headers,
            allow_redirects=False,
            # Sizes are counted in bytes as sent: decoding is done here.
            auto_decompress=False,
            proxy=self._sessions.proxy_for(request.url),
            # `_phase` limits the rest.
            timeout=stall_timeout(read if attempt.total is None else None),
        )
        kept.reading.add(response)
        self._response, self.status = response, response.status
        self.ok = 200 <= response.status < 300  # noqa: PLR2004 - the class of statuses
        if response.content.is_eof():
            return response  # the body arrived with its headers
        if attempt.total is not None:
            start_stall_timeout(response, read)
        # At once: on a fast link aiohttp's own buffers are full by the next iteration of the loop.
        if (response.content_length or 0) >= MIN_BODY:
            self._receiver = take_over_connection(response, read)
        return response

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        if not self.ok:
            return b""
        if self._payload is None and response.content.is_eof():
            return response.content.read_nowait()
        self._phase.on_headers(self._limit if self._attempt.total is None else None)
        # A connection that was taken over cannot be read by aiohttp.
        if self._receiver is None and 0 < (response.content_length or 0) <= max_bytes:
            return await response.read()
        collected = bytearray()
        await self._collect(collected, max_bytes + 1)
        return bytes(collected)

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
                some = unread_bytes(content)
            if some:
                yield some
            elif failure is None:
                return
        raise failure

    async def read_prefix(self, limit: int) -> bytes:
        """Return the first `limit` bytes of an error's body, or those that arrive, decoded.

        The result is empty if they cannot be decoded. The time of the attempt remains limited.

        Raises:
            ClientClosed: The client was closed.
        """
        body = bytearray()
        when = self._phase.deadline(self._limit)
        cut = asyncio.timeout_at(None if when == math.inf else when)
        try:
            async with cut:
                await self._collect(body, limit)
        except ResponseLost:
            pass  # the bytes that arrived are used
        except TimeoutError:
            if not cut.expired():
                raise
        try:
            return self.decoded(bytes(body[:limit]), limit)
        except InvalidResponse:
            return b""

    async def _collect(self, body: bytearray, limit: int) -> None:
        """Append the response to `body`, until that has `limit` bytes."""
        async with contextlib.aclosing(self.iter_bytes()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) >= limit:
                    return

    def decoder(self) -> Decoder | None:
        """Return the decoder of the pieces; None if they are not encoded.

        Raises:
            Undecodable: The content has an unknown coding.
        """
        codings = self._codings
        return Decoder(codings) if codings else None

    @property
    def _codings(self) -> tuple[str, ...]:
        given = () if self._response is None else self._response.headers.getall(_ENCODING, ())
        return codings_of(",".join(given)) if given else ()

    def decoded(self, body: bytes, limit: int) -> bytes:
        """Return a body decoded.

        Raises:
            InvalidResponse: It has more than `limit` bytes, or cannot be decoded.
        """
        # JSON and pages do not begin with these bytes.
        codings = self._codings or (("gzip",) if body.startswith(GZIP) else ())
        try:
            return decoded(body, codings, limit)
        except Undecodable as failure:
            raise InvalidResponse(
                f"the response of {self._where} cannot be read: {failure}", status=self.status
            ) from None

    async def _map_errors(self, awaited: Awaitable[T]) -> T:
        try:
            return await awaited
        except BaseException as raw:  # noqa: BLE001 - each class is mapped
            failure = self._failure(raw)
        raise failure

    def _failure(self, raw: BaseException) -> DiffioError:
        """Return the error for an exception; raise a cancellation of the caller unchanged."""
        if isinstance(raw, Exception):
            return self._mapped(raw)
        # Closing cancels waits for a connection or a name; the caller was not cancelled.
        if isinstance(raw, asyncio.CancelledError) and self._sessions.closed:
            task = asyncio.current_task()
            if not (task is None or task.cancelling()):
                return ClientClosed(CLOSED)
        raise raw

    def _mapped(self, raw: Exception) -> DiffioError:
        return map_exception(
            raw,
            established=self._phase.established,
            payload_failure=self._payload.failure if self._payload is not None else None,
            closed=self._sessions.closed,
            url=self._where,
            repeatable=self._attempt.request.method == "GET",
        )


def _joined(headers: Mapping[str, str]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower, text = name.lower(), encodable(value)
        joined[lower] = f"{joined[lower]}, {text}" if lower in joined else text
    return joined
