"""The HTTP client: one attempt per call, without retries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._http.error_mapping import total_timeout_error
from diffio_async._http.exchange import Attempt, Exchange
from diffio_async._http.sessions import Sessions
from diffio_async._protocol.redaction import public_url
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffio_async.options import ClientOptions

#: Bytes of a response with an error that are read.
MAX_ERROR = MIB


@frozen(kw_only=True)
class HttpResponse:
    """A response with its whole body."""

    status: int
    body: bytes
    exchange: Exchange

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers by lower-case name."""
        return self.exchange.headers

    @property
    def ok(self) -> bool:
        """Return whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of statuses


class HttpClient:
    """The HTTP connections of one API client."""

    def __init__(self, options: ClientOptions) -> None:
        self._sessions = Sessions(options)
        self._largest = options.max_response_bytes

    async def attempt(self, attempt: Attempt) -> HttpResponse:
        """Make the attempt and read the whole response.

        Raises:
            ConnectionFailed: The request never left this machine's side of the connection.
            ResponseLost: The request may have been accepted, but no complete response was received
                (`ResponseTimeout`: not in time).
            InvalidResponse: The response is larger than `max_response_bytes`, or cannot be decoded.
            ClientClosed: The client was closed.
        """
        exchange = Exchange(self._sessions, attempt)
        total = attempt.total
        cut = asyncio.timeout(total)
        try:
            async with cut, exchange:
                succeeded = 200 <= exchange.status < 300  # noqa: PLR2004 - the class of statuses
                if succeeded:
                    body = await exchange.read(self._largest)
                else:
                    # The status decides, even where the rest of the response is late or cut off.
                    deadline = cut.when()
                    cut.reschedule(None)
                    body = await exchange.read_prefix(MAX_ERROR, deadline)
                return HttpResponse(status=exchange.status, body=body, exchange=exchange)
        except TimeoutError:
            if not cut.expired():
                raise
        raise total_timeout_error(
            exchange.connection, public_url(attempt.request.url), total or 0.0
        )

    def stream(self, attempt: Attempt) -> Exchange:
        """Return an exchange whose response is read in pieces, inside `async with`."""
        return Exchange(self._sessions, attempt)

    @property
    def closed(self) -> bool:
        """Return whether `aclose` was called."""
        return self._sessions.closed

    @property
    def open_sessions(self) -> int:
        """Return how many sessions neither `aclose` nor the end of their loop closed."""
        return self._sessions.open

    async def aclose(self) -> None:
        """Close every connection of this loop; attempts in flight raise `ClientClosed`."""
        await self._sessions.aclose()


__all__ = ["Attempt", "Exchange", "HttpClient", "HttpResponse"]
