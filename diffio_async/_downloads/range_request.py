"""Request for one range of a result, its validation, and the retries of a download."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from attrs import define, evolve, field

from diffio_async._downloads.ranges import (
    ContentExtent,
    Representation,
    digest_of,
    is_other_version,
    parse_extent,
    range_headers,
    serves_ranges,
    strong_etag,
)
from diffio_async._http.bodies import Undecodable
from diffio_async._http.exchange import Attempt, Exchange
from diffio_async._protocol.api_errors import error_from_response
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.requests import Host, Request, signed_url_request
from diffio_async._protocol.retry import RetrySafety, retry_delay
from diffio_async.errors import ApiError, DiffioError, DownloadFailed, ResponseLost
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async._downloads.download import Downloader
    from diffio_async._downloads.ranges import Segment
    from diffio_async.options import RetryPolicy


class LinkExpired(DownloadFailed):
    """Internal: the signed link has expired and must be renewed."""


@define
class DownloadRetryState:
    """Attempts since the last progress: new bytes reset the retry policy."""

    policy: RetryPolicy
    _max_received: int = 0
    _attempts: int = 0
    _started_at: float = field(factory=time.monotonic)
    _renewed: bool = False
    _earlier_failures: list[str] = field(factory=list)

    def next_delay(self, failure: DiffioError, received: int) -> float:
        """Return the seconds until the next attempt, given the number of bytes received.

        Raises:
            DownloadFailed: The retry policy allows no further attempt.
        """
        if received > self._max_received:
            self._max_received, self._attempts, self._started_at = received, 0, time.monotonic()
            self._renewed, self._earlier_failures = False, []
        self._attempts += 1
        if isinstance(failure, LinkExpired):
            # Renew at once; if the new link is refused too, waiting does not help.
            delay = None if self._renewed else 0.0
            self._renewed = True
        else:
            delay = retry_delay(
                self.policy,
                RetrySafety.READ,
                failure,
                attempt=self._attempts,
                elapsed=time.monotonic() - self._started_at,
                jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
            )
        if delay is None:
            raise self._final_error(failure) from failure
        self._earlier_failures.append(describe(failure))
        return delay

    def _final_error(self, failure: DiffioError) -> DownloadFailed:
        if isinstance(failure, DownloadFailed):
            error = DownloadFailed(str(failure))
        else:
            error = DownloadFailed(f"the result could not be downloaded: {failure}")
        for note in self._earlier_failures:
            error.add_note(f"earlier: {note}")
        return error


def describe(failure: DiffioError) -> str:
    """Return the failure as text, with the name of its public class."""
    known = (kind for kind in type(failure).__mro__ if kind.__module__ == DiffioError.__module__)
    return f"{next(known).__name__}: {failure}"


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
#: Statuses of a storage host for an expired link.
_EXPIRED_STATUSES = frozenset({400, 401, 403, 404, 410})
#: Content types of pages and of errors, which no audio or video has.
_PAGES = frozenset(
    {
        *("text/html", "application/xhtml+xml", "application/json", "application/problem+json"),
        *("text/xml", "application/xml"),
    }
)
_PARTIAL, _RANGE_REFUSED = 206, 416
#: Bytes; after a response with fewer bytes of a longer range, the next request waits as a retry.
_MIN_PART = MIB // 16


class RestartRequired(ResponseLost):
    """Internal: neither the bytes received so far nor this response can be used."""


class RangeIgnored(RestartRequired):
    """Internal: the host ignored the range of a request while others fetch other ranges."""


@define
class RangeRequest:
    """One attempt to fetch a segment."""

    download: Downloader
    segment: Segment
    attempt: int

    async def fetch(self, url: str) -> None:
        """Fetch as much of the segment as one response contains.

        Raises:
            ResponseLost: The response ended early.
            RestartRequired: The response is of another version than the bytes received so far.
            LinkExpired: The link was refused.
            ApiError: The host responded with another error status.
            DownloadFailed: Another attempt cannot help.
        """
        segment, headers = self.segment, dict[str, str]()
        version = self.download.version
        if version is not None and version.etag is not None:
            end = None if segment.end == version.total else segment.end
            headers = range_headers(segment.at, end, version.etag) if segment.at or end else {}
        async with contextlib.AsyncExitStack() as stack:
            request = signed_url_request(
                "GET", url, headers, base_url=self.download.sender.base_url
            )
            exchange = await self._follow_redirects(request, stack)
            extent = await self._validate_response(exchange)
            try:
                await self._read(exchange, extent)
            except Undecodable as failure:
                where = public_url(exchange.request.url)
                raise DownloadFailed(f"{where} sends a result that is damaged: {failure}") from None
        if segment.end is None:
            segment.end = segment.at
        if segment.remaining and segment.at != extent.end:
            raise ResponseLost(f"{segment.at:,} of {segment.end:,} bytes came")
        part = 0 if extent.end is None else extent.end - extent.start
        if segment.remaining and (not headers or part < _MIN_PART):
            # The next response might be the same again: retries have pauses, and an end.
            raise ResponseLost(
                f"{public_url(url)} sent {part:,} bytes where "
                f"{segment.at + segment.remaining - extent.start:,} were requested"
            )

    async def _read(self, exchange: Exchange, extent: ContentExtent) -> None:
        """Read the response up to the end of the segment, which may shrink meanwhile."""
        segment, download = self.segment, self.download
        async with contextlib.aclosing(_content(exchange)) as pieces:
            download.active += 1
            try:
                async for piece in pieces:
                    if extent.end is not None and segment.at + len(piece) > extent.end:
                        where = public_url(exchange.request.url)
                        raise DownloadFailed(f"{where} sends more bytes than it announced")
                    remaining = segment.remaining
                    data = (
                        piece if remaining is None or len(piece) <= remaining else piece[:remaining]
                    )
                    at, segment.at = segment.at, segment.at + len(data)
                    download.on_bytes(len(data))
                    await download.sink.write(at, [data])
                    if segment.remaining == 0 and segment.end != extent.end:
                        return
            finally:
                download.active -= 1

    async def _follow_redirects(
        self, request: Request, stack: contextlib.AsyncExitStack
    ) -> Exchange:
        """Return the first response that is not a redirect. Requests carry no credentials."""
        sender, options = self.download.sender, self.download.options
        for _ in range(_MAX_REDIRECTS + 1):
            with sender.observers.request("download", self.attempt, request) as emit_response:
                exchange = await stack.enter_async_context(
                    Exchange(sender.sessions, Attempt(request=request, timeouts=options.timeouts))
                )
                emit_response(exchange)
            location = exchange.headers.get("location")
            if exchange.status not in _REDIRECTS or location is None:
                return exchange
            # Close the connection first: with a limit of one, the next would wait for ever.
            await stack.aclose()
            request = _redirected(request, location, sender.base_url)
        raise DownloadFailed(f"{public_url(request.url)}: more than {_MAX_REDIRECTS} redirects")

    async def _validate_response(self, exchange: Exchange) -> ContentExtent:
        """Check the headers of the response; restart the download if its version differs."""
        segment, version, where = (
            self.segment,
            self.download.version,
            public_url(exchange.request.url),
        )
        if exchange.status not in {200, _PARTIAL}:
            raise await self._status_error(exchange, where)
        kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.download.media and kind in _PAGES:
            why = f"{where} sent {kind} where audio or video was requested (a login or error page?)"
            # Later it may pass: what arrived before is kept.
            raise DownloadFailed(why) if self.download.is_empty else ResponseLost(why)
        extent = parse_extent(exchange.status, exchange.headers)
        encoded = self._is_encoded(exchange, where)
        if encoded and extent is not None:
            # Lengths, ranges, digests and the ETag apply to the encoded bytes.
            extent = evolve(extent, end=None, total=None)
        if extent is None or extent.start not in {0, segment.at}:
            raise self._unusable_response(f"{where} sends other bytes than were requested")
        if not extent.bounded:
            raise self._unusable_response(
                f"{where} does not announce where the result ends: a broken connection could not "
                "be distinguished from its end"
            )
        if extent.start != segment.at or version is None or self.download.is_empty:
            representation = Representation(
                etag=None if encoded else strong_etag(exchange.headers),
                total=extent.total,
                digest=None if encoded else digest_of(exchange.status, exchange.headers),
            )
            await self.download.restart(representation, segment)
            self.download.supports_ranges = representation.etag is not None and (
                exchange.status == _PARTIAL or serves_ranges(exchange.headers)
            )
        elif is_other_version(exchange.headers, version.etag) or (
            version.total not in {extent.total, None}
        ):
            raise self._unusable_response(f"{where} changed the result while it was downloaded")
        if version is not None and version.total is None:
            self.download.version, segment.end = evolve(version, total=extent.total), extent.total
        return extent

    def _is_encoded(self, exchange: Exchange, where: str) -> bool:
        """Return whether the content is encoded.

        Raises:
            DiffioError: The content cannot be decoded.
        """
        try:
            encoded = exchange.decoder() is not None
        except Undecodable as failure:
            raise DownloadFailed(f"{where} sends a result that cannot be read: {failure}") from None
        if encoded and exchange.status == _PARTIAL:
            raise self._unusable_response(f"{where} sends a part of an encoded result")
        return encoded

    def _unusable_response(self, reason: str) -> DiffioError:
        """Return the error for a response that cannot be used; a restart may help with bytes."""
        return DownloadFailed(reason) if self.download.is_empty else RestartRequired(reason)

    async def _status_error(self, exchange: Exchange, where: str) -> DiffioError:
        if exchange.status == _RANGE_REFUSED and not self.download.is_empty:
            return self._unusable_response(f"{where} has no such bytes any more")
        error: ApiError = error_from_response(
            exchange.status,
            exchange.headers,
            await exchange.read_prefix(MIB),
            call="download",
            host=Host.MEDIA,
            now=self.download.sender.server_clock.now(),
            clock_known=self.download.sender.server_clock.known,
            secrets=exchange.request.secrets,
        )
        if exchange.status not in _EXPIRED_STATUSES:
            return error
        expired = LinkExpired(f"the signed link is refused: {error}")
        expired.__cause__ = error
        return expired


async def _content(exchange: Exchange) -> AsyncGenerator[bytes | memoryview, None]:
    """Yield the pieces of the decoded content.

    Raises:
        Undecodable: The content is not valid in its encoding.
        ResponseLost: The encoded content ended early.
    """
    decoder = exchange.decoder()
    async with contextlib.aclosing(exchange.iter_bytes()) as pieces:
        async for piece in pieces:
            for decoded in (piece,) if decoder is None else decoder.decode(piece):
                yield decoded
    if decoder is not None and not decoder.complete:
        raise ResponseLost("the encoded result ended early")


def _redirected(request: Request, location: str, base_url: str) -> Request:
    try:
        url = urljoin(request.url, location)
    except ValueError:
        raise DownloadFailed(f"{public_url(request.url)} points to no address") from None
    return evolve(signed_url_request("GET", url, {}, base_url=base_url), headers=request.headers)
