"""A signed link to a sink: streamed, resumed where it broke, asked for again when it expired."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._engine.patience import LinkExpired, Patience, reason
from diffio_async._engine.reporting import report
from diffio_async._engine.stretches import Anew, RangeIgnored, Stretch
from diffio_async._engine.threads import all_settled
from diffio_async._wire.growth import Growth
from diffio_async._wire.rate import RateMeter
from diffio_async._wire.replay import REFUSED_FOR_NOW
from diffio_async._wire.shares import Share, Shares
from diffio_async.errors import ClientClosed, DiffioError, DownloadFailed, TargetUnusable
from diffio_async.events import DownloadProgress, DownloadResumed
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async._engine.sending import Sender
    from diffio_async._engine.sinks import Sink
    from diffio_async._wire.ranges import Version
    from diffio_async.options import CallOptions
    from diffio_async.types import Callback

#: Bytes: less than this is not worth a connection of its own.
_LEAST = 8 * MIB
#: Seconds between two looks at the rate.
_TICK = 0.1


@define(eq=False)
class Downloading:
    """One download under way.

    Each connection is a task of its own; the download's own task starts them, tells the user, and
    raises what one of them raised.
    """

    sender: Sender
    under: CallOptions
    #: Asks for a signed link; asked again when one expires.
    link: Callable[[], Awaitable[str]]
    sink: Sink
    on_progress: Callback[DownloadProgress] | None
    url: str
    version: Version | None = field(init=False)
    _done: int = field(init=False)
    _shares: Shares = field(init=False)
    #: Whether the host gives parts of this version; and how many connections bring bytes.
    divisible: bool = False
    flowing: int = 0
    _growth: Growth = field(init=False)
    _live: int = 0
    _attempts: int = 0
    _told: int = 0
    _meter: RateMeter = field(factory=RateMeter)
    _connections: set[asyncio.Task[None]] = field(factory=set)
    _news: asyncio.Event = field(factory=asyncio.Event)
    _renewing: asyncio.Lock = field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        self.version = version = self.sink.version
        self._done = self.sink.there.size
        self._shares = Shares.of(self.sink.there, None if version is None else version.total)
        self.divisible = version is not None
        self._growth = Growth(self.sender.ranges.most)

    async def run(self) -> int:
        """Fetch the whole result; the number of its bytes.

        Raises:
            DownloadFailed: The retry policy's tries ended without a byte of progress, the host's
                answers contradict each other, or the bytes are not what it says they are.
            TargetUnusable: The sink could not take the bytes.
        """
        patience = Patience(self.under.retry)
        if self._done:
            self.sender.tell(DownloadResumed(self._done, "an earlier download left its bytes"))
        while True:
            try:
                await self._fetched(patience)
                break
            except Anew as failure:
                delay = patience.after(failure, self._done)
                self.sender.tell(DownloadResumed(0, reason(failure)))
                self.version, self._done, self._told, self._shares = None, 0, 0, Shares()
                # Where versions differ from answer to answer, one at a time is the way to one.
                self._growth = Growth(1)
                await self.sender.closing.pause(delay)
        await self._checked()
        return self._done

    async def _fetched(self, patience: Patience) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._connections or self._shares.free:
                if not self._connections:
                    self._connect(patience, self._shares.take(_LEAST))
                tick = loop.call_later(_TICK, self._news.set) if self._may_grow else None
                try:
                    await self._news.wait()
                finally:
                    if tick is not None:
                        tick.cancel()
                self._news.clear()
                for ended in [one for one in self._connections if one.done()]:
                    self._connections.discard(ended)
                    ended.result()
                await self._tell()
                self._grow(loop.time())
        finally:
            for connection in self._connections:
                connection.cancel()
            left, self._connections, self._live = self._connections, set(), 0
            await all_settled(left)

    @property
    def _may_grow(self) -> bool:
        """Small results are there before it is known whether more connections help."""
        total = None if self.version is None else self.version.total
        return (
            self.divisible
            and self._growth.most > 1
            and total is not None
            and total - self._done >= 2 * _LEAST
        )

    def _grow(self, now: float) -> None:
        """Open as many connections as help."""
        if not self._may_grow or self.version is None:
            return
        left = (self.version.total or 0) - self._done
        wanted = self._growth.told(now, self._done, left, self.flowing, time.thread_time())
        while 0 < self._live < wanted and self.sender.ranges.free > 0:
            share = self._shares.take(_LEAST)
            if share is None:
                return
            self._connect(Patience(self.under.retry), share)

    def _connect(self, patience: Patience, share: Share | None) -> None:
        self._live += 1
        connection = asyncio.create_task(self._connection(patience, share))
        self.sender.ranges.counted(connection)
        connection.add_done_callback(lambda _: self._news.set())
        self._connections.add(connection)

    async def _connection(self, patience: Patience, share: Share | None) -> None:
        """Fetch one share after the other, as long as so many connections are wanted."""
        try:
            while share is not None:
                await self._share(share, patience)
                self._shares.give_back(share)
                wanted = self._live <= self._growth.wanted
                share = self._shares.take(_LEAST) if wanted else None
        except TargetUnusable:
            raise
        except (RangeIgnored, DownloadFailed) as failure:
            if self._live == 1 or share is None:
                raise
            # One fewer, then: if it is not the number, the last of them will say.
            self._growth.pushed_back(asyncio.get_running_loop().time())
            self.divisible = self.divisible and not isinstance(failure, RangeIgnored)
            self._shares.give_back(share)
        finally:
            self._live -= 1

    async def _share(self, share: Share, patience: Patience) -> None:
        while share.left != 0 or self.version is None:
            self._attempts += 1
            url = self.url
            try:
                await Stretch(self, share, self._attempts).fetch(url)
            except (ClientClosed, TargetUnusable, Anew, RangeIgnored):
                raise
            except DiffioError as failure:
                if self._live > 1 and getattr(failure, "status", None) in REFUSED_FOR_NOW:
                    raise DownloadFailed(str(failure)) from failure
                delay = patience.after(failure, self._done)
                expired = isinstance(failure, LinkExpired)
                why = reason(failure)
            else:
                continue
            self.sender.tell(DownloadResumed(self._resumable(share), why))
            await self.sender.closing.pause(delay)
            if expired:
                await self._renewed(url)

    def _resumable(self, share: Share) -> int:
        """Where to go on: without an etag nothing promises that the rest is of the same version."""
        return share.at if self.version is not None and self.version.etag is not None else 0

    async def _renewed(self, refused: str) -> None:
        """Another link; several connections whose link expired ask for one."""
        async with self._renewing:
            if self.url == refused:
                self.url = await self.link()

    @property
    def empty(self) -> bool:
        """Whether there is no byte yet that others must fit to."""
        return self._done == 0

    def received(self, count: int) -> None:
        """So many bytes came."""
        self._done += count
        if self.on_progress is not None:
            self._news.set()

    async def begin(self, version: Version, share: Share) -> None:
        """The bytes that come now, for `share`, begin another version.

        Raises:
            Anew: Others are fetching bytes of the one before.
        """
        if self._live > 1:
            if self.version is not None and self.version.etag == version.etag:
                raise RangeIgnored("the host sent all where a part was asked for")
            raise Anew("the result changed while it was downloaded")
        await self.sink.begin(version)
        self.version, self._done, self._told = version, 0, 0
        share.at, share.end = 0, version.total
        self._shares = Shares(free=[], taken=[share])
        self._news.set()

    async def _tell(self) -> None:
        """What came while the user was busy is told as one."""
        if self._done > self._told:
            self._told, total = self._done, None if self.version is None else self.version.total
            rate = self._meter.told(self._done, asyncio.get_running_loop().time())
            progress = DownloadProgress(received=self._done, total=total, rate=rate)
            await report(self.on_progress, progress)

    async def _checked(self) -> None:
        """Compare what came with what the host says of it."""
        version = self.version
        found = await self.sink.digest(self._done)
        if version is None or version.digest is None or found == version.digest.value:
            return
        self.sink.spoil()
        raise DownloadFailed(
            f"the result is damaged: its {version.digest.algorithm} is not the one that its host "
            "announced. Nothing of it was kept: download it again"
        )
