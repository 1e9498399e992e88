"""Parts of an upload: their plan, their slots, their request bodies and their progress."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._http.bodies import InFlightPart, StreamingBody
from diffio_async._protocol.limits import ConcurrencyLimit, ThroughputMeter
from diffio_async._reporting import call_progress_callback
from diffio_async._storage.threads import wait_uncancelled
from diffio_async._uploads.source import CHUNK, Source
from diffio_async.errors import ApiError, InvalidResponse, ResponseTimeout
from diffio_async.events import UploadProgress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from diffio_async.types import Callback

#: Ten times the limit of object storage; bounds the memory of a plan for an invalid part size.
MAX_PARTS = 100_000


@frozen
class Part:
    """Bytes `offset` to `offset + size` of the source are part `number`, counted from 1."""

    number: int
    offset: int
    size: int


def plan_parts(size: int, part_size: int) -> list[Part]:
    """Split a source into parts of `part_size` bytes, the last one shorter.

    An empty file is one empty part.

    Raises:
        InvalidResponse: The part size of the offer is not positive, or far too small.
    """
    if part_size < 1:
        raise InvalidResponse(f"the upload offer sets a part size of {part_size} bytes")
    count = max(1, -(-size // part_size))
    if count > MAX_PARTS:
        raise InvalidResponse(
            f"the upload offer sets a part size of {part_size:,} bytes: {size:,} bytes would be "
            f"more than {MAX_PARTS:,} parts"
        )
    return [
        Part(number=n + 1, offset=n * part_size, size=min(part_size, size - n * part_size))
        for n in range(count)
    ]


#: Initial number of parts in flight, and the one on a long link, which few connections do not fill.
INITIAL_LIMIT, LONG_LINK_LIMIT = 2, 4

#: Seconds from a request to its response, from which a link is long; overload takes longer.
LONG_ROUND_TRIP, MAX_ROUND_TRIP = 0.02, 1.0

#: Seconds between samples.
SAMPLE_SECONDS = 0.05

#: Response statuses of an overloaded host.
THROTTLE_STATUSES = frozenset({408, 429, 503, 504})


class UploadLimiter:
    """Grants upload slots, round-robin among uploads; their number adapts to throughput."""

    def __init__(self, max_limit: int) -> None:
        self._limit = ConcurrencyLimit(max_limit, INITIAL_LIMIT)
        self._acquired = 0
        self._queues: dict[object, deque[asyncio.Future[None]]] = {}
        self._parts: set[InFlightPart] = set()
        #: Bytes of finished attempts.
        self._finished_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """Current number of slots."""
        return self._limit.limit

    def on_round_trip(self, seconds: float) -> None:
        """Start with more slots on a long link, given the time of a request before the parts.

        Each connection is limited there, and the number that fills the link is found later.
        """
        untried = not self._acquired and not self._finished_bytes
        if untried and LONG_ROUND_TRIP <= seconds <= MAX_ROUND_TRIP:
            self._limit.limit = min(self._limit.max, max(self._limit.limit, LONG_LINK_LIMIT))

    @contextlib.asynccontextmanager
    async def slot(self, upload: object, part: InFlightPart) -> AsyncIterator[None]:
        """Hold a slot during one attempt of a part; slots rotate among values of `upload`."""
        await self._acquire(upload)
        part.reset()
        self._parts.add(part)
        started_at = asyncio.get_running_loop().time()
        try:
            yield
            self._finished_bytes += part.written
        except BaseException as failure:
            self._finished_bytes += part.max_acked  # unacknowledged bytes may be lost
            if _is_throttled(failure):
                now = asyncio.get_running_loop().time()
                self._limit.on_throttled(now, started_at=started_at)
            raise
        finally:
            self._parts.discard(part)
            self._release()

    async def _acquire(self, upload: object) -> None:
        if self._acquired < self._limit.limit and not self._queues:
            self._acquired += 1
        else:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queues.setdefault(upload, deque()).append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._release()  # the slot was granted in the meantime
                raise
        if self._timer is None:
            self._schedule_sample()

    def _release(self) -> None:
        self._acquired -= 1
        self._grant()

    def _grant(self) -> None:
        """Grant free slots: one to each upload before any gets its next."""
        while self._queues and self._acquired < self._limit.limit:
            upload, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            del self._queues[upload]
            if queue:
                self._queues[upload] = queue
            if not waiter.done():
                self._acquired += 1
                waiter.set_result(None)

    def _schedule_sample(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SAMPLE_SECONDS, self._sample)

    def _sample(self) -> None:
        self._timer = None
        self._limit.sample(
            asyncio.get_running_loop().time(),
            self._finished_bytes + sum(part.acked_bytes() for part in self._parts),
            saturated=self._is_saturated(),
            cpu_time=time.thread_time(),
        )
        self._grant()
        if self._acquired:
            self._schedule_sample()

    def _is_saturated(self) -> bool:
        """Return whether the limit determines the number of parts in flight."""
        limit = self._limit.limit
        has_waiters = any(not place.done() for queue in self._queues.values() for place in queue)
        # One upload never waits for more than `max` slots.
        return self._acquired == limit and (has_waiters or limit == self._limit.max)


def _is_throttled(failure: BaseException) -> bool:
    return isinstance(failure, ResponseTimeout) or (
        isinstance(failure, ApiError) and failure.status in THROTTLE_STATUSES
    )


#: Bytes to write per iteration of the event loop, and the smallest read worth a thread switch.
MAX_CHUNK, MIN_CHUNK = 3 * CHUNK, CHUNK // 4


def limited_part_body(
    limiter: UploadLimiter, progress: UploadProgressReporter, source: Source, part: Part
) -> StreamingBody:
    """Return a part as a request body that holds a slot of its upload during each attempt."""
    in_flight = InFlightPart()
    return StreamingBody(
        source,
        part.offset,
        part.size,
        progress.part_callback(part.number),
        flight=in_flight,
        chunk=lambda: chunk_size(limiter.limit),
        slot=lambda: limiter.slot(progress, in_flight),
    )


def chunk_size(slots: int) -> int:
    """Return the chunk size in bytes for a number of concurrent parts.

    All parts may write in one iteration of the loop, and encrypting a megabyte takes a millisecond
    or two: chunks shrink as the number of parts grows.
    """
    return max(MIN_CHUNK, min(CHUNK, MAX_CHUNK // slots))


class UploadProgressReporter:
    """Counts written bytes per part and reports the total; a retried part starts at 0.

    A separate task calls the user's callback, one call at a time. The tasks that write bodies
    cannot: they end as soon as the server responds, and several run at once.
    """

    def __init__(self, total: int, callback: Callback[UploadProgress] | None) -> None:
        self._total, self._callback = total, callback
        self._by_part: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._finished = False

    def part_callback(self, number: int) -> Callable[[int], None]:
        """Return the callback that receives the written bytes of part `number`."""

        def count(done: int) -> None:
            self._by_part[number] = done
            if done:
                self._changed.set()

        return count

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report progress during the body; after success, the last report is the total."""
        if self._callback is None:
            yield
            return
        reporter = asyncio.create_task(self._report(self._callback))
        try:
            yield
            self._finished = True
            self._changed.set()
            await reporter
        finally:
            reporter.cancel()
            await wait_uncancelled(reporter)

    async def _report(self, callback: Callback[UploadProgress]) -> None:
        reported, meter, now = -1, ThroughputMeter(), asyncio.get_running_loop().time
        while not self._finished or reported != self._total:
            await self._changed.wait()
            self._changed.clear()
            # Changes during a callback are reported as one.
            sent = self._total if self._finished else sum(self._by_part.values())
            if sent != reported:
                reported = sent
                rate = meter.update(sent, now())
                await call_progress_callback(
                    callback, UploadProgress(sent=sent, total=self._total, rate=rate)
                )
