"""A signed link to a sink: streamed, resumed where it broke, asked for again when it expired."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._downloads.connection_scaler import ConnectionScaler
from diffio_async._downloads.range_request import (
    DownloadRetryState,
    LinkExpired,
    RangeIgnored,
    RangeRequest,
    RestartRequired,
    describe,
)
from diffio_async._downloads.ranges import RangeAllocator, Segment
from diffio_async._http.callbacks import call_progress_callback
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.retry import THROTTLE_STATUSES
from diffio_async._protocol.transfer_rate import ThroughputMeter
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async.errors import ClientClosed, DiffioError, DownloadFailed, InvalidTarget
from diffio_async.events import DownloadProgress, DownloadResumed
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async._downloads.ranges import Representation
    from diffio_async._downloads.sinks import Sink
    from diffio_async._http.transport import ApiTransport
    from diffio_async.options import ResolvedOptions
    from diffio_async.types import Callback

#: Bytes: less than this is not worth a connection of its own.
_MIN_SEGMENT = 8 * MIB
#: Seconds between two looks at the rate.
_SAMPLE_SECONDS = 0.1


@define(eq=False)
class Downloader:
    """One download under way.

    Each connection is a task of its own; the download's own task starts them, tells the user, and
    raises what one of them raised.
    """

    sender: ApiTransport
    under: ResolvedOptions
    #: Asks for a signed link; asked again when one expires.
    link: Callable[[], Awaitable[str]]
    sink: Sink
    on_progress: Callback[DownloadProgress] | None
    url: str
    #: Whether the result is audio or video: an empty one, or a page, is not the result.
    media: bool
    version: Representation | None = field(init=False)
    _done: int = field(init=False)
    _allocator: RangeAllocator = field(init=False)
    #: Whether the host gives parts of this version; and how many connections bring bytes.
    supports_ranges: bool = False
    active: int = 0
    _scaler: ConnectionScaler = field(init=False)
    _running: int = 0
    _attempts: int = 0
    _reported_at: int = 0
    _meter: ThroughputMeter = field(factory=ThroughputMeter)
    _connections: set[asyncio.Task[None]] = field(factory=set)
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _renewing: asyncio.Lock = field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        self.version = version = self.sink.version
        self._done = self.sink.ranges.size
        self._allocator = RangeAllocator.of(
            self.sink.ranges, None if version is None else version.total
        )
        self.supports_ranges = version is not None
        self._scaler = ConnectionScaler(self.sender.ranges.max)

    async def run(self) -> int:
        """Fetch the whole result; the number of its bytes.

        Raises:
            DownloadFailed: The retry policy's tries ended without a byte of progress, the host's
                answers contradict each other, or the bytes are not what it says they are.
            InvalidTarget: The sink could not take the bytes.
        """
        patience = DownloadRetryState(self.under.retry)
        if self._done:
            self.sender.emit(DownloadResumed(self._done, "an earlier download left its bytes"))
        while True:
            try:
                await self._run_connections(patience)
                break
            except RestartRequired as failure:
                delay = patience.next_delay(failure, self._done)
                self.sender.emit(DownloadResumed(0, describe(failure)))
                self.version, self._done, self._reported_at, self._allocator = (
                    None,
                    0,
                    0,
                    RangeAllocator(),
                )
                # Where versions differ from answer to answer, one at a time is the way to one.
                self._scaler = ConnectionScaler(1)
                await self.sender.closing.sleep(delay)
        await self._verify_digest()
        return self._done

    async def _run_connections(self, patience: DownloadRetryState) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._connections or self._allocator.pending:
                if not self._connections:
                    self._connect(patience, self._allocator.acquire(_MIN_SEGMENT))
                tick = (
                    loop.call_later(_SAMPLE_SECONDS, self._changed.set) if self._may_grow else None
                )
                try:
                    await self._changed.wait()
                finally:
                    if tick is not None:
                        tick.cancel()
                self._changed.clear()
                for ended in [one for one in self._connections if one.done()]:
                    self._connections.discard(ended)
                    ended.result()
                await self._report()
                self._grow(loop.time())
        finally:
            for connection in self._connections:
                connection.cancel()
            left, self._connections, self._running = self._connections, set(), 0
            await wait_all_uncancelled(left)

    @property
    def _may_grow(self) -> bool:
        """Small results are there before it is known whether more connections help."""
        total = None if self.version is None else self.version.total
        return (
            self.supports_ranges
            and self._scaler.max > 1
            and total is not None
            and total - self._done >= 2 * _MIN_SEGMENT
        )

    def _grow(self, now: float) -> None:
        """Open as many connections as help."""
        if not self._may_grow or self.version is None:
            return
        left = (self.version.total or 0) - self._done
        wanted = self._scaler.sample(now, self._done, left, self.active, time.thread_time())
        while 0 < self._running < wanted and self.sender.ranges.free > 0:
            share = self._allocator.acquire(_MIN_SEGMENT)
            if share is None:
                return
            self._connect(DownloadRetryState(self.under.retry), share)

    def _connect(self, patience: DownloadRetryState, share: Segment | None) -> None:
        self._running += 1
        connection = asyncio.create_task(self._connection(patience, share))
        self.sender.ranges.track(connection)
        connection.add_done_callback(lambda _: self._changed.set())
        self._connections.add(connection)

    async def _connection(self, patience: DownloadRetryState, share: Segment | None) -> None:
        """Fetch one share after the other, as long as so many connections are wanted."""
        try:
            while share is not None:
                await self._share(share, patience)
                self._allocator.release(share)
                wanted = self._running <= self._scaler.target
                share = self._allocator.acquire(_MIN_SEGMENT) if wanted else None
        except InvalidTarget:
            raise
        except (RangeIgnored, DownloadFailed) as failure:
            if self._running == 1 or share is None:
                raise
            # One fewer, then: if it is not the number, the last of them will say.
            self._scaler.on_throttled(asyncio.get_running_loop().time())
            self.supports_ranges = self.supports_ranges and not isinstance(failure, RangeIgnored)
            self._allocator.release(share)
        finally:
            self._running -= 1

    async def _share(self, share: Segment, patience: DownloadRetryState) -> None:
        while share.remaining != 0 or self.version is None:
            self._attempts += 1
            url = self.url
            try:
                await RangeRequest(self, share, self._attempts).fetch(url)
            except (ClientClosed, InvalidTarget, RestartRequired, RangeIgnored):
                raise
            except DiffioError as failure:
                if self._running > 1 and getattr(failure, "status", None) in THROTTLE_STATUSES:
                    raise DownloadFailed(str(failure)) from failure
                delay = patience.next_delay(failure, self._done)
                expired = isinstance(failure, LinkExpired)
                why = describe(failure)
            else:
                continue
            self.sender.emit(DownloadResumed(self._resumable(share), why))
            await self.sender.closing.sleep(delay)
            if expired:
                await self._renew_link(url)

    def _resumable(self, share: Segment) -> int:
        """Where to go on: without an etag nothing promises that the rest is of the same version."""
        return share.at if self.version is not None and self.version.etag is not None else 0

    async def _renew_link(self, refused: str) -> None:
        """Another link; several connections whose link expired ask for one."""
        async with self._renewing:
            if self.url == refused:
                self.url = await self.link()

    @property
    def empty(self) -> bool:
        """Whether there is no byte yet that others must fit to."""
        return self._done == 0

    def on_bytes(self, count: int) -> None:
        """So many bytes came."""
        self._done += count
        if self.on_progress is not None:
            self._changed.set()

    async def restart(self, version: Representation, share: Segment) -> None:
        """The bytes that come now, for `share`, begin another version.

        Raises:
            Anew: Others are fetching bytes of the one before.
        """
        if self._running > 1:
            if self.version is not None and self.version.etag == version.etag:
                raise RangeIgnored("the host sent all where a part was asked for")
            raise RestartRequired("the result changed while it was downloaded")
        await self.sink.restart(version)
        self.version, self._done, self._reported_at = version, 0, 0
        share.at, share.end = 0, version.total
        self._allocator = RangeAllocator(pending=[], active=[share])
        self._changed.set()

    async def _report(self) -> None:
        """What came while the user was busy is told as one."""
        if self._done > self._reported_at:
            self._reported_at, total = (
                self._done,
                None if self.version is None else self.version.total,
            )
            rate = self._meter.update(self._done, asyncio.get_running_loop().time())
            progress = DownloadProgress(received=self._done, total=total, rate=rate)
            await call_progress_callback(self.on_progress, progress)

    async def _verify_digest(self) -> None:
        """Compare what came with what the host says of it."""
        version = self.version
        if self.media and not self._done:
            self.sink.discard()
            raise DownloadFailed(
                f"{public_url(self.url)} sent an empty result where audio or video was requested"
            )
        found = await self.sink.digest(self._done)
        if version is None or version.digest is None or found == version.digest.value:
            return
        self.sink.discard()
        raise DownloadFailed(
            f"the result is damaged: its {version.digest.algorithm} is not the one that its host "
            "announced. Nothing of it was kept: download it again"
        )
