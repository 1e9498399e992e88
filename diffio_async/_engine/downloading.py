"""A signed link to a sink: streamed, resumed where it broke, asked for again when it expired."""

from __future__ import annotations

import contextlib
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from attrs import define, evolve

from diffio_async._engine.reporting import Callback, report
from diffio_async._engine.transport import Attempt, Exchange
from diffio_async._wire.calls import Host
from diffio_async._wire.failures import error_for
from diffio_async._wire.ranges import another_version, extent, resuming, strong_etag
from diffio_async._wire.redaction import public_url
from diffio_async._wire.replay import Replay, next_delay
from diffio_async._wire.requests import Request, to_media
from diffio_async.errors import (
    AnswerLost,
    ApiError,
    ClientClosed,
    DiffioError,
    DownloadFailed,
    TargetUnusable,
)
from diffio_async.events import DownloadProgress, DownloadResumed
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async._engine.sending import Sender
    from diffio_async._engine.targets import Sink
    from diffio_async.options import CallOptions

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
#: What a storage host answers to a link that is no longer good.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_RANGE_REFUSED = 416


class _LinkExpired(DownloadFailed):
    """Private: a new link is due."""


@define
class Downloading:
    """One download under way."""

    sender: Sender
    under: CallOptions
    #: Asks for a signed link; asked again when one expires.
    link: Callable[[], Awaitable[str]]
    sink: Sink
    on_progress: Callback[DownloadProgress] | None
    offset: int = 0
    total: int | None = None
    etag: str | None = None
    attempts: int = 0

    async def run(self, url: str) -> int:
        """Fetch the whole result from `url`; the number of its bytes.

        Raises:
            DownloadFailed: The retry policy's tries ended without a byte of progress, or the
                host's answers contradict each other.
            TargetUnusable: The sink could not take the bytes.
        """
        furthest, tries, began = 0, 0, time.monotonic()
        renewed, earlier = False, list[str]()
        while True:
            try:
                await self._piece(url)
            except (ClientClosed, TargetUnusable):
                raise
            except DiffioError as failure:
                if self.offset > furthest:
                    # What limits is failing without getting on: hours of bytes are no failure.
                    furthest, tries, began = self.offset, 0, time.monotonic()
                    renewed, earlier = False, []
                tries += 1
                expired = isinstance(failure, _LinkExpired)
                if expired:
                    # A new link at once; a second that is refused too is no matter of time.
                    delay = None if renewed else 0.0
                else:
                    delay = self._delay(failure, tries, time.monotonic() - began)
                if delay is None:
                    raise self._failed(failure, earlier) from failure
                reason = f"{type(failure).__name__}: {failure}"
            else:
                return self.offset
            earlier.append(reason)
            self.sender.tell(DownloadResumed(offset=self._resumable(), reason=reason))
            await self.sender.closing.pause(delay)
            if expired:
                url, renewed = await self.link(), True

    def _resumable(self) -> int:
        """Where to go on: without an etag nothing promises that the rest is of the same version."""
        return 0 if self.etag is None else self.offset

    def _delay(self, failure: DiffioError, tries: int, elapsed: float) -> float | None:
        return next_delay(
            self.under.retry,
            Replay.READ,
            failure,
            attempt=tries,
            elapsed=elapsed,
            jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
        )

    @staticmethod
    def _failed(failure: DiffioError, earlier: list[str]) -> DownloadFailed:
        if isinstance(failure, DownloadFailed):
            error = DownloadFailed(str(failure))
        else:
            error = DownloadFailed(f"the result could not be downloaded: {failure}")
        for note in earlier:
            error.add_note(f"earlier: {note}")
        return error

    async def _piece(self, url: str) -> None:
        """One attempt: as many bytes as come, from where the last one broke."""
        headers: dict[str, str] = {}
        if self._resumable() and self.etag is not None:
            headers = resuming(self.offset, self.etag)
        elif self.offset:
            await self._restart()
        self.attempts += 1
        async with contextlib.AsyncExitStack() as stack:
            exchange = await self._followed(to_media("GET", url, headers), stack)
            await self._begin(exchange)
            async with contextlib.aclosing(exchange.chunks(MIB)) as chunks:
                async for chunk in chunks:
                    await self.sink.write(chunk)
                    self.offset += len(chunk)
                    await report(
                        self.on_progress, DownloadProgress(received=self.offset, total=self.total)
                    )
        if self.total is not None and self.offset != self.total:
            raise AnswerLost(f"{self.offset:,} of {self.total:,} bytes came")

    async def _followed(self, request: Request, stack: contextlib.AsyncExitStack) -> Exchange:
        """The first answer that points nowhere else; there is no credential to carry along."""
        timeouts = evolve(self.under.timeouts, total=None)
        for _ in range(_MOST_REDIRECTS + 1):
            answered = self.sender.asked("download", self.attempts, request)
            exchange = await stack.enter_async_context(
                self.sender.transport.stream(Attempt(request=request, timeouts=timeouts))
            )
            answered(exchange)
            location = exchange.headers.get("location")
            if exchange.status not in _REDIRECTS or location is None:
                return exchange
            # Its connection goes first: where only one may be open, the next would wait for ever.
            await stack.aclose()
            request = _elsewhere(request, location)
        raise DownloadFailed(f"{public_url(request.url)}: more than {_MOST_REDIRECTS} redirects")

    async def _begin(self, exchange: Exchange) -> None:
        """Check what the answer says of its bytes, and start anew where it is another version."""
        where = public_url(exchange.request.url)
        if exchange.status not in {200, 206}:
            raise await self._refused(exchange, where)
        if exchange.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise DownloadFailed(f"{where} sends the result in an encoding that was not asked for")
        found = extent(exchange.status, exchange.headers)
        if found is None or found.start not in {0, self.offset}:
            raise await self._unusable(f"{where} sends other bytes than were asked for")
        if not found.bounded:
            raise await self._unusable(
                f"{where} does not say where the result ends: a broken connection could not be "
                "told from its end"
            )
        if found.start != self.offset:
            await self._restart()
        elif self.offset and (
            another_version(exchange.headers, self.etag) or self.total not in {found.total, None}
        ):
            raise await self._unusable(f"{where} changed the result while it was downloaded")
        self.etag = strong_etag(exchange.headers) or self.etag
        self.total = found.total

    async def _unusable(self, why: str) -> DiffioError:
        """Nothing can be made of this answer; of one to a request for the whole, perhaps."""
        if not self.offset:
            return DownloadFailed(why)
        await self._restart()
        return AnswerLost(why)

    async def _refused(self, exchange: Exchange, where: str) -> DiffioError:
        if exchange.status == _RANGE_REFUSED and self.offset:
            return await self._unusable(f"{where} has no such bytes any more")
        error: ApiError = error_for(
            exchange.status,
            exchange.headers,
            await exchange.start(MIB),
            call="download",
            host=Host.MEDIA,
            now=datetime.now(UTC),
            secrets=exchange.request.secrets,
        )
        if exchange.status not in _EXPIRED:
            return error
        expired = _LinkExpired(f"the signed link is refused: {error}")
        expired.__cause__ = error
        return expired

    async def _restart(self) -> None:
        await self.sink.restart()
        self.offset, self.total, self.etag = 0, None, None


def _elsewhere(request: Request, location: str) -> Request:
    try:
        url = urljoin(request.url, location)
    except ValueError:
        raise DownloadFailed(f"{public_url(request.url)} points to no address") from None
    return evolve(to_media("GET", url, {}), headers=request.headers)
