"""Download of a result to a file or to memory: parallel ranges, retries and link renewal."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._downloads.range_request import (
    DownloadRetryState,
    LinkExpired,
    RangeIgnored,
    RangeRequest,
    RestartRequired,
    describe,
)
from diffio_async._downloads.ranges import RangeAllocator, Segment
from diffio_async._downloads.sinks import FileSink, MemorySink
from diffio_async._downloads.store_sink import StoreSink
from diffio_async._protocol.limits import ConcurrencyLimit, ThroughputMeter
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.retry import THROTTLE_STATUSES
from diffio_async._reporting import call_progress_callback
from diffio_async._storage.files import transfer_slot
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async._store_url import StoreUrl, location_of
from diffio_async.errors import (
    ClientClosed,
    ConfigurationError,
    DiffioError,
    DownloadFailed,
    InvalidTarget,
)
from diffio_async.events import DownloadProgress, DownloadResumed
from diffio_async.models.generations import Download, DownloadResult
from diffio_async.options import MIB, RequestOptions, ResolvedOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable

    from diffio_async._downloads.ranges import Representation
    from diffio_async._http.transport import ApiTransport
    from diffio_async.types import Callback, OnConflict

#: Types of results that are neither text nor JSON.
_MEDIA = frozenset({"audio", "video"})
#: Bytes; a smaller range does not get a separate connection.
_MIN_SEGMENT = 8 * MIB
#: Seconds between samples of the rate.
_SAMPLE_SECONDS = 0.1
#: Seconds before more connections are tried again after no gain or throttling.
_PROBE_INTERVAL_SECONDS = 60.0


async def download_result(
    sender: ApiTransport,
    get_link: Callable[[], Awaitable[Download]],
    options: RequestOptions | None,
    path: str | os.PathLike[str] | None,
    on_conflict: OnConflict,
    on_progress: Callback[DownloadProgress] | None,
    *,
    result_key: tuple[str, ...],
    resume: bool,
    before_open: Callable[[], object] | None = None,
) -> DownloadResult:
    """Download a result; `get_link` returns its link, and a new one when that has expired.

    `result_key` identifies the result. With `resume`, continue from the part file of an earlier
    download, and keep the part file on failure. `before_open` is called in a thread before the file
    is opened; its exceptions are raised.

    Raises:
        DownloadFailed: The complete result could not be fetched.
        InvalidTarget: The target cannot be written; raised before the first request if possible.
        ConfigurationError: `on_conflict` is invalid, or a download to memory is to be resumed.
    """
    if path is None:
        if resume:
            raise ConfigurationError("only a file is resumed: name it, or leave out resume=True")
        memory = MemorySink()
        link, size = await Downloader(sender, get_link, options, memory, on_progress).run()
        return DownloadResult(download=link, size=size, content=memory.content())
    location = location_of(path, "download_file_path")
    if isinstance(location, StoreUrl):
        if resume:
            raise ConfigurationError(
                "the download of an object is not resumed, as nothing of it is kept: leave out "
                "resume=True"
            )
        spool = StoreSink(location, "/".join(result_key))
        async with transfer_slot(), spool.opened(on_conflict, before_open):
            link, size = await Downloader(sender, get_link, options, spool, on_progress).run()
        return DownloadResult(download=link, size=size, url=str(location))
    target = Path(location)
    file = FileSink(target, result_key if resume else None)
    async with transfer_slot():
        try:
            async with file.opened(on_conflict, before_open):
                link, size = await Downloader(sender, get_link, options, file, on_progress).run()
        except DiffioError as error:
            if file.resumable_bytes:
                error.add_note(
                    f"{file.resumable_bytes:,} bytes are kept beside {target.name!r}; "
                    "the same download resumes from there with resume=True"
                )
            raise
    return DownloadResult(download=link, size=size, path=target)


@define(eq=False)
class Downloader:
    """One running download.

    Each connection is a separate task. The download's own task starts them, calls the progress
    callback, and raises their exceptions.
    """

    sender: ApiTransport
    #: Returns a signed link; called again when a link expires.
    get_link: Callable[[], Awaitable[Download]]
    request_options: RequestOptions | None
    sink: FileSink | MemorySink
    on_progress: Callback[DownloadProgress] | None
    options: ResolvedOptions = field(init=False)
    #: The current link.
    link: Download = field(init=False)
    #: Whether the result is audio or video: an empty one, or a page, is not the result.
    media: bool = False
    version: Representation | None = field(init=False)
    _done: int = field(init=False)
    _allocator: RangeAllocator = field(init=False)
    #: Whether the host serves ranges of this version, and how many connections receive bytes.
    supports_ranges: bool = False
    active: int = 0
    _limit: ConcurrencyLimit = field(init=False)
    _running: int = 0
    _attempts: int = 0
    _reported_at: int = 0
    _meter: ThroughputMeter = field(factory=ThroughputMeter)
    _connections: set[asyncio.Task[None]] = field(factory=set)
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _renew_lock: asyncio.Lock = field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        self.options = self.sender.resolve(self.request_options)
        self.version = version = self.sink.version
        self._done = self.sink.ranges.size
        self._allocator = RangeAllocator.for_missing(
            self.sink.ranges, None if version is None else version.total
        )
        self.supports_ranges = version is not None
        self._limit = ConcurrencyLimit(
            self.sender.ranges.max, probe_interval=_PROBE_INTERVAL_SECONDS
        )

    async def run(self) -> tuple[Download, int]:
        """Fetch the complete result; return its last link and its size in bytes.

        Raises:
            DownloadFailed: The attempts of the retry policy ended without progress, responses
                contradict each other, or the digest does not match.
            InvalidTarget: The sink could not write the bytes.
        """
        self.link = await self.get_link()
        self.media = self.link.download_type in _MEDIA
        retry_state = DownloadRetryState(self.options.retry)
        if self._done:
            self.sender.emit(DownloadResumed(self._done, "an earlier download left its bytes"))
        while True:
            try:
                await self._run_connections(retry_state)
                break
            except RestartRequired as failure:
                delay = retry_state.next_delay(failure, self._done)
                self.sender.emit(DownloadResumed(0, describe(failure)))
                self.version, self._done, self._reported_at, self._allocator = (
                    None,
                    0,
                    0,
                    RangeAllocator(),
                )
                # Versions may differ between responses: one connection gets a consistent one.
                self._limit = ConcurrencyLimit(1)
                await self.sender.closing.sleep(delay)
        await self._verify_digest()
        return self.link, self._done

    async def _run_connections(self, retry_state: DownloadRetryState) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._connections or self._allocator.pending:
                if not self._connections:
                    self._connect(retry_state, self._allocator.acquire(_MIN_SEGMENT))
                timer = (
                    loop.call_later(_SAMPLE_SECONDS, self._changed.set) if self._can_scale else None
                )
                try:
                    await self._changed.wait()
                finally:
                    if timer is not None:
                        timer.cancel()
                self._changed.clear()
                for ended in [one for one in self._connections if one.done()]:
                    self._connections.discard(ended)
                    ended.result()
                await self._report()
                self._scale(loop.time())
        finally:
            for connection in self._connections:
                connection.cancel()
            left, self._connections, self._running = self._connections, set(), 0
            await wait_all_uncancelled(left)

    @property
    def _can_scale(self) -> bool:
        """Whether more connections may help; small results finish before that is known."""
        total = None if self.version is None else self.version.total
        return (
            self.supports_ranges
            and self._limit.max > 1
            and total is not None
            and total - self._done >= 2 * _MIN_SEGMENT
        )

    def _scale(self, now: float) -> None:
        """Open more connections up to the limit."""
        if not self._can_scale or self.version is None:
            return
        self._limit.sample(
            now,
            self._done,
            saturated=self.active >= self._limit.limit,
            cpu_time=time.thread_time(),
            remaining=(self.version.total or 0) - self._done,
        )
        while 0 < self._running < self._limit.limit and self.sender.ranges.free > 0:
            segment = self._allocator.acquire(_MIN_SEGMENT)
            if segment is None:
                return
            self._connect(DownloadRetryState(self.options.retry), segment)

    def _connect(self, retry_state: DownloadRetryState, segment: Segment | None) -> None:
        self._running += 1
        connection = asyncio.create_task(self._connection(retry_state, segment))
        self.sender.ranges.track(connection)
        connection.add_done_callback(lambda _: self._changed.set())
        self._connections.add(connection)

    async def _connection(self, retry_state: DownloadRetryState, segment: Segment | None) -> None:
        """Fetch one segment after another while the limit allows this connection."""
        started_at = 0.0
        try:
            while segment is not None:
                started_at = asyncio.get_running_loop().time()
                await self._fetch_segment(segment, retry_state)
                self._allocator.release(segment)
                is_wanted = self._running <= self._limit.limit
                segment = self._allocator.acquire(_MIN_SEGMENT) if is_wanted else None
        except InvalidTarget:
            raise
        except (RangeIgnored, DownloadFailed) as failure:
            if self._running == 1 or segment is None:
                raise
            # Continue with one fewer; if the number was not the cause, the last one raises.
            now = asyncio.get_running_loop().time()
            self._limit.on_throttled(now, started_at=started_at)
            self.supports_ranges = self.supports_ranges and not isinstance(failure, RangeIgnored)
            self._allocator.release(segment)
        finally:
            self._running -= 1

    async def _fetch_segment(self, segment: Segment, retry_state: DownloadRetryState) -> None:
        while segment.remaining != 0 or self.version is None:
            self._attempts += 1
            url = self.link.download_url
            try:
                await RangeRequest(self, segment, self._attempts).fetch(url)
            except (ClientClosed, InvalidTarget, RestartRequired, RangeIgnored):
                raise
            except DiffioError as failure:
                if self._running > 1 and getattr(failure, "status", None) in THROTTLE_STATUSES:
                    raise DownloadFailed(str(failure)) from failure
                delay = retry_state.next_delay(failure, self._done)
                expired = isinstance(failure, LinkExpired)
                reason = describe(failure)
            else:
                continue
            self.sender.emit(DownloadResumed(self._resume_offset(segment), reason))
            await self.sender.closing.sleep(delay)
            if expired:
                await self._renew_link(url)

    def _resume_offset(self, segment: Segment) -> int:
        """Return the resume offset: 0 without an ETag, as the version might have changed."""
        return segment.at if self.version is not None and self.version.etag is not None else 0

    async def _renew_link(self, refused: str) -> None:
        """Renew the link once for all connections whose link was refused."""
        async with self._renew_lock:
            if self.link.download_url == refused:
                self.link = await self.get_link()

    @property
    def is_empty(self) -> bool:
        """Whether no byte was received yet, so that any version is acceptable."""
        return self._done == 0

    def on_bytes(self, count: int) -> None:
        """Count received bytes."""
        self._done += count
        if self.on_progress is not None:
            self._changed.set()

    async def restart(self, version: Representation, segment: Segment) -> None:
        """Restart with another version, whose bytes `segment` receives from offset 0.

        Raises:
            RestartRequired: Other connections are fetching the previous version.
        """
        if self._running > 1:
            if self.version is not None and self.version.etag == version.etag:
                raise RangeIgnored("the host sent all bytes in response to a range request")
            raise RestartRequired("the result changed while it was downloaded")
        await self.sink.restart(version)
        self.version, self._done, self._reported_at = version, 0, 0
        segment.at, segment.end = 0, version.total
        self._allocator = RangeAllocator(pending=[], active=[segment])
        self._changed.set()

    async def _report(self) -> None:
        """Report progress; bytes received during a callback are reported together."""
        if self._done > self._reported_at:
            self._reported_at, total = (
                self._done,
                None if self.version is None else self.version.total,
            )
            rate = self._meter.update(self._done, asyncio.get_running_loop().time())
            progress = DownloadProgress(received=self._done, total=total, rate=rate)
            await call_progress_callback(self.on_progress, progress)

    async def _verify_digest(self) -> None:
        """Compare the digest of the received bytes with the one that the host announced."""
        version = self.version
        if self.media and not self._done:
            self.sink.discard()
            raise DownloadFailed(
                f"{public_url(self.link.download_url)} sent an empty result where audio or video "
                "was requested"
            )
        actual = await self.sink.digest(self._done)
        if version is None or version.digest is None or actual == version.digest.value:
            return
        self.sink.discard()
        raise DownloadFailed(
            f"the result is damaged: its {version.digest.algorithm} is not the one that its host "
            "announced. Nothing of it was kept: download it again"
        )
