"""One stretch of a result over one connection: as many bytes as come, from where the last broke."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from attrs import define, evolve

from diffio_async._engine.patience import LinkExpired
from diffio_async._engine.transport import Attempt, Exchange
from diffio_async._wire.calls import Host
from diffio_async._wire.codings import Undecodable
from diffio_async._wire.digests import digest_of
from diffio_async._wire.failures import error_for
from diffio_async._wire.ranges import (
    Extent,
    Version,
    another_version,
    asking,
    extent,
    serves_ranges,
    strong_etag,
)
from diffio_async._wire.redaction import public_url
from diffio_async._wire.requests import Request, to_media
from diffio_async.errors import AnswerLost, ApiError, DiffioError, DownloadFailed
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async._engine.downloading import Downloading
    from diffio_async._wire.shares import Share

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
#: What a storage host answers to a link that is no longer good.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_PARTIAL, _RANGE_REFUSED = 206, 416


class Anew(AnswerLost):
    """Private: what is there cannot be gone on with, nor can this answer."""


class RangeIgnored(Anew):
    """Private: all came where a part was asked for, while others fetch other parts."""


@define
class Stretch:
    """One attempt at a share."""

    whole: Downloading
    share: Share
    attempt: int

    async def fetch(self, url: str) -> None:
        """Fetch as much of the share as the host gives in one answer.

        Raises:
            AnswerLost: Less came than was announced.
            Anew: The bytes there are and those of the answer are not of one version.
            LinkExpired: The link is refused.
            ApiError: The host failed.
            DownloadFailed: No other try can help.
        """
        share, headers = self.share, dict[str, str]()
        version = self.whole.version
        if version is not None and version.etag is not None:
            end = None if share.end == version.total else share.end
            headers = asking(share.at, end, version.etag) if share.at or end else {}
        async with contextlib.AsyncExitStack() as stack:
            request = to_media("GET", url, headers, base_url=self.whole.sender.base_url)
            exchange = await self._followed(request, stack)
            found = await self._begun(exchange)
            try:
                await self._read(exchange, found)
            except Undecodable as failure:
                where = public_url(exchange.request.url)
                raise DownloadFailed(f"{where} sends a result that is damaged: {failure}") from None
        if share.end is None:
            share.end = share.at
        if share.left and share.at != found.end:
            raise AnswerLost(f"{share.at:,} of {share.end:,} bytes came")

    async def _read(self, exchange: Exchange, found: Extent) -> None:
        """Read the answer, or as much of it as is not another connection's."""
        share, whole = self.share, self.whole
        async with contextlib.aclosing(_content(exchange)) as pieces:
            whole.flowing += 1
            try:
                async for piece in pieces:
                    if found.end is not None and share.at + len(piece) > found.end:
                        where = public_url(exchange.request.url)
                        raise DownloadFailed(f"{where} sends more bytes than it announced")
                    left = share.left
                    mine = piece if left is None or len(piece) <= left else piece[:left]
                    at, share.at = share.at, share.at + len(mine)
                    whole.received(len(mine))
                    await whole.sink.write(at, [mine])
                    if share.left == 0 and share.end != found.end:
                        return
            finally:
                whole.flowing -= 1

    async def _followed(self, request: Request, stack: contextlib.AsyncExitStack) -> Exchange:
        """The first answer that points nowhere else; there is no credential to carry along."""
        sender, under = self.whole.sender, self.whole.under
        for _ in range(_MOST_REDIRECTS + 1):
            with sender.asked("download", self.attempt, request) as answered:
                exchange = await stack.enter_async_context(
                    sender.transport.stream(Attempt(request=request, timeouts=under.timeouts))
                )
                answered(exchange)
            location = exchange.headers.get("location")
            if exchange.status not in _REDIRECTS or location is None:
                return exchange
            # Its connection goes first: where only one may be open, the next would wait for ever.
            await stack.aclose()
            request = _elsewhere(request, location, sender.base_url)
        raise DownloadFailed(f"{public_url(request.url)}: more than {_MOST_REDIRECTS} redirects")

    async def _begun(self, exchange: Exchange) -> Extent:
        """Check what the answer says of its bytes, and start anew where it is another version."""
        share, version, where = self.share, self.whole.version, public_url(exchange.request.url)
        if exchange.status not in {200, _PARTIAL}:
            raise await self._refused(exchange, where)
        found = extent(exchange.status, exchange.headers)
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
        if found.start != share.at or version is None or self.whole.empty:
            told = Version(
                etag=None if coded else strong_etag(exchange.headers),
                total=found.total,
                digest=None if coded else digest_of(exchange.status, exchange.headers),
            )
            await self.whole.begin(told, share)
            self.whole.divisible = told.etag is not None and (
                exchange.status == _PARTIAL or serves_ranges(exchange.headers)
            )
        elif another_version(exchange.headers, version.etag) or (
            version.total not in {found.total, None}
        ):
            raise self._unusable(f"{where} changed the result while it was downloaded")
        if version is not None and version.total is None:
            self.whole.version, share.end = evolve(version, total=found.total), found.total
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
        return DownloadFailed(why) if self.whole.empty else Anew(why)

    async def _refused(self, exchange: Exchange, where: str) -> DiffioError:
        if exchange.status == _RANGE_REFUSED and not self.whole.empty:
            return self._unusable(f"{where} has no such bytes any more")
        error: ApiError = error_for(
            exchange.status,
            exchange.headers,
            await exchange.start(MIB),
            call="download",
            host=Host.MEDIA,
            now=self.whole.sender.server_clock.now(),
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
        AnswerLost: It ends before its coding does.
    """
    decoder = exchange.decoder()
    async with contextlib.aclosing(exchange.pieces()) as pieces:
        async for piece in pieces:
            for decoded in (piece,) if decoder is None else decoder.decode(piece):
                yield decoded
    if decoder is not None and not decoder.complete:
        raise AnswerLost("the encoded result ended early")


def _elsewhere(request: Request, location: str, base_url: str) -> Request:
    try:
        url = urljoin(request.url, location)
    except ValueError:
        raise DownloadFailed(f"{public_url(request.url)} points to no address") from None
    return evolve(to_media("GET", url, {}, base_url=base_url), headers=request.headers)
