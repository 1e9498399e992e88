"""One stretch of a result over one connection: as many bytes as come, from where the last broke."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from attrs import define, evolve, field

from diffio_async._downloads.digests import digest_of
from diffio_async._downloads.ranges import (
    ContentExtent,
    Representation,
    is_other_version,
    parse_extent,
    range_headers,
    serves_ranges,
    strong_etag,
)
from diffio_async._http.client import Attempt, Exchange
from diffio_async._protocol.api_errors import error_from_response
from diffio_async._protocol.codings import Undecodable
from diffio_async._protocol.endpoints import Host
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.requests import Request, signed_url_request
from diffio_async._protocol.retry import RetrySafety, retry_delay
from diffio_async.errors import ApiError, DiffioError, DownloadFailed, ResponseLost
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async._downloads.downloader import Downloader
    from diffio_async._downloads.ranges import Segment
    from diffio_async.options import RetryPolicy


class LinkExpired(DownloadFailed):
    """Private: a new link is due."""


@define
class DownloadRetryState:
    """The tries since the last byte that was new; hours of bytes are no failure."""

    policy: RetryPolicy
    _furthest: int = 0
    _tries: int = 0
    _began: float = field(factory=time.monotonic)
    _renewed: bool = False
    _earlier: list[str] = field(factory=list)

    def next_delay(self, failure: DiffioError, received: int) -> float:
        """Seconds until the next try, given the bytes there are.

        Raises:
            DownloadFailed: There is none.
        """
        if received > self._furthest:
            self._furthest, self._tries, self._began = received, 0, time.monotonic()
            self._renewed, self._earlier = False, []
        self._tries += 1
        if isinstance(failure, LinkExpired):
            # A new link at once; a second that is refused too is no matter of time.
            delay = None if self._renewed else 0.0
            self._renewed = True
        else:
            delay = retry_delay(
                self.policy,
                RetrySafety.READ,
                failure,
                attempt=self._tries,
                elapsed=time.monotonic() - self._began,
                jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
            )
        if delay is None:
            raise self._failed(failure) from failure
        self._earlier.append(describe(failure))
        return delay

    def _failed(self, failure: DiffioError) -> DownloadFailed:
        if isinstance(failure, DownloadFailed):
            error = DownloadFailed(str(failure))
        else:
            error = DownloadFailed(f"the result could not be downloaded: {failure}")
        for note in self._earlier:
            error.add_note(f"earlier: {note}")
        return error


def describe(failure: DiffioError) -> str:
    """The failure in words, by a name that users know."""
    known = (kind for kind in type(failure).__mro__ if kind.__module__ == DiffioError.__module__)
    return f"{next(known).__name__}: {failure}"


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
#: What a storage host answers to a link that is no longer good.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
#: Content types of pages and of errors, which no audio or video has.
_PAGES = frozenset(
    {
        *("text/html", "application/xhtml+xml", "application/json", "application/problem+json"),
        *("text/xml", "application/xml"),
    }
)
_PARTIAL, _RANGE_REFUSED = 206, 416
#: Bytes: a host that sends fewer than this of a longer range is not asked for more without a pause.
_MIN_PART = MIB // 16


class RestartRequired(ResponseLost):
    """Private: what is there cannot be gone on with, nor can this answer."""


class RangeIgnored(RestartRequired):
    """Private: all came where a part was asked for, while others fetch other parts."""


@define
class RangeRequest:
    """One attempt at a share."""

    download: Downloader
    segment: Segment
    attempt: int

    async def fetch(self, url: str) -> None:
        """Fetch as much of the share as the host gives in one answer.

        Raises:
            ResponseLost: Less came than was announced.
            Anew: The bytes there are and those of the answer are not of one version.
            LinkExpired: The link is refused.
            ApiError: The host failed.
            DownloadFailed: No other try can help.
        """
        share, headers = self.segment, dict[str, str]()
        version = self.download.version
        if version is not None and version.etag is not None:
            end = None if share.end == version.total else share.end
            headers = range_headers(share.at, end, version.etag) if share.at or end else {}
        async with contextlib.AsyncExitStack() as stack:
            request = signed_url_request(
                "GET", url, headers, base_url=self.download.sender.base_url
            )
            exchange = await self._follow_redirects(request, stack)
            found = await self._validate_response(exchange)
            try:
                await self._read(exchange, found)
            except Undecodable as failure:
                where = public_url(exchange.request.url)
                raise DownloadFailed(f"{where} sends a result that is damaged: {failure}") from None
        if share.end is None:
            share.end = share.at
        if share.remaining and share.at != found.end:
            raise ResponseLost(f"{share.at:,} of {share.end:,} bytes came")
        part = 0 if found.end is None else found.end - found.start
        if share.remaining and (not headers or part < _MIN_PART):
            # The next response might be the same again: retries have pauses, and an end.
            raise ResponseLost(
                f"{public_url(url)} sent {part:,} bytes where "
                f"{share.at + share.remaining - found.start:,} were requested"
            )

    async def _read(self, exchange: Exchange, found: ContentExtent) -> None:
        """Read the answer, or as much of it as is not another connection's."""
        share, whole = self.segment, self.download
        async with contextlib.aclosing(_content(exchange)) as pieces:
            whole.active += 1
            try:
                async for piece in pieces:
                    if found.end is not None and share.at + len(piece) > found.end:
                        where = public_url(exchange.request.url)
                        raise DownloadFailed(f"{where} sends more bytes than it announced")
                    left = share.remaining
                    mine = piece if left is None or len(piece) <= left else piece[:left]
                    at, share.at = share.at, share.at + len(mine)
                    whole.on_bytes(len(mine))
                    await whole.sink.write(at, [mine])
                    if share.remaining == 0 and share.end != found.end:
                        return
            finally:
                whole.active -= 1

    async def _follow_redirects(
        self, request: Request, stack: contextlib.AsyncExitStack
    ) -> Exchange:
        """The first answer that points nowhere else; there is no credential to carry along."""
        sender, under = self.download.sender, self.download.under
        for _ in range(_MAX_REDIRECTS + 1):
            with sender.emit_request("download", self.attempt, request) as answered:
                exchange = await stack.enter_async_context(
                    sender.transport.stream(Attempt(request=request, timeouts=under.timeouts))
                )
                answered(exchange)
            location = exchange.headers.get("location")
            if exchange.status not in _REDIRECTS or location is None:
                return exchange
            # Its connection goes first: where only one may be open, the next would wait for ever.
            await stack.aclose()
            request = _redirected(request, location, sender.base_url)
        raise DownloadFailed(f"{public_url(request.url)}: more than {_MAX_REDIRECTS} redirects")

    async def _validate_response(self, exchange: Exchange) -> ContentExtent:
        """Check what the answer says of its bytes, and start anew where it is another version."""
        share, version, where = (
            self.segment,
            self.download.version,
            public_url(exchange.request.url),
        )
        if exchange.status not in {200, _PARTIAL}:
            raise await self._refused(exchange, where)
        kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.download.media and kind in _PAGES:
            why = f"{where} sent {kind} where audio or video was requested (a login or error page?)"
            # Later it may pass: what arrived before is kept.
            raise DownloadFailed(why) if self.download.empty else ResponseLost(why)
        found = parse_extent(exchange.status, exchange.headers)
        coded = self._coded(exchange, where)
        if coded and found is not None:
            # Lengths, ranges, hashes and the ETag are those of the encoded bytes.
            found = evolve(found, end=None, total=None)
        if found is None or found.start not in {0, share.at}:
            raise self._unusable(f"{where} sends other bytes than were asked for")
        if not found.bounded:
            raise self._unusable(
                f"{where} does not say where the result ends: a broken connection could not be "
                "told from its end"
            )
        if found.start != share.at or version is None or self.download.empty:
            told = Representation(
                etag=None if coded else strong_etag(exchange.headers),
                total=found.total,
                digest=None if coded else digest_of(exchange.status, exchange.headers),
            )
            await self.download.restart(told, share)
            self.download.supports_ranges = told.etag is not None and (
                exchange.status == _PARTIAL or serves_ranges(exchange.headers)
            )
        elif is_other_version(exchange.headers, version.etag) or (
            version.total not in {found.total, None}
        ):
            raise self._unusable(f"{where} changed the result while it was downloaded")
        if version is not None and version.total is None:
            self.download.version, share.end = evolve(version, total=found.total), found.total
        return found

    def _coded(self, exchange: Exchange, where: str) -> bool:
        """Whether the content has to be decoded.

        Raises:
            DiffioError: It cannot be.
        """
        try:
            coded = exchange.decoder() is not None
        except Undecodable as failure:
            raise DownloadFailed(f"{where} sends a result that cannot be read: {failure}") from None
        if coded and exchange.status == _PARTIAL:
            raise self._unusable(f"{where} sends a part of an encoded result")
        return coded

    def _unusable(self, why: str) -> DiffioError:
        """Nothing can be made of this answer; of one to a request for the whole, perhaps."""
        return DownloadFailed(why) if self.download.empty else RestartRequired(why)

    async def _refused(self, exchange: Exchange, where: str) -> DiffioError:
        if exchange.status == _RANGE_REFUSED and not self.download.empty:
            return self._unusable(f"{where} has no such bytes any more")
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
        if exchange.status not in _EXPIRED:
            return error
        expired = LinkExpired(f"the signed link is refused: {error}")
        expired.__cause__ = error
        return expired


async def _content(exchange: Exchange) -> AsyncGenerator[bytes | memoryview, None]:
    """The pieces of the content, decoded.

    Raises:
        Undecodable: It is not what its coding makes.
        ResponseLost: It ends before its coding does.
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
