"""A stretch of a source as a request's body: streamed afresh for every attempt."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._http.request_body import InFlightPart, StreamingBody
from diffio_async._uploads.concurrency_limit import AdaptiveLimit
from diffio_async._uploads.source import CHUNK, Source
from diffio_async.errors import ApiError, ResponseTimeout
from diffio_async.options import ClientOptions, RequestOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from diffio_async._uploads.multipart import Part

#: Seconds between two looks at what got through.
SAMPLE_SECONDS = 0.05
#: What a host answers that has too much to do.
THROTTLE_STATUSES = frozenset({408, 429, 503, 504})


class UploadLimiter:
    """Gives places, in turn among uploads; how many there are follows what gets through."""

    def __init__(self, cap: int) -> None:
        self._limit = AdaptiveLimit(cap)
        self._acquired = 0
        self._queues: dict[object, deque[asyncio.Future[None]]] = {}
        self._flights: set[InFlightPart] = set()
        #: Bytes of attempts that have ended.
        self._finished_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sampled_at = self._worked = 0.0

    @property
    def limit(self) -> int:
        """How many places there are now."""
        return self._limit.limit

    @contextlib.asynccontextmanager
    async def slot(self, upload: object, flight: InFlightPart) -> AsyncIterator[None]:
        """Hold a place for one attempt of a flight; `upload` says whose turn it takes."""
        await self._enter(upload)
        flight.reset()
        self._flights.add(flight)
        began = asyncio.get_running_loop().time()
        try:
            yield
            self._finished_bytes += flight.written
        except BaseException as failure:
            self._finished_bytes += flight.max_acked  # its connection may be gone
            if _is_throttled(failure):
                self._limit.on_throttled(asyncio.get_running_loop().time(), began)
            raise
        finally:
            self._flights.discard(flight)
            self._leave()

    async def _enter(self, upload: object) -> None:
        if self._acquired < self._limit.limit and not self._queues:
            self._acquired += 1
        else:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queues.setdefault(upload, deque()).append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._leave()  # it was given in the very moment
                raise
        if self._timer is None:
            self._schedule_sample()

    def _leave(self) -> None:
        self._acquired -= 1
        self._fill()

    def _fill(self) -> None:
        """Give free places: to each upload one, before any gets its next."""
        while self._queues and self._acquired < self._limit.limit:
            upload, queue = next(iter(self._queues.items()))
            place = queue.popleft()
            del self._queues[upload]
            if queue:
                self._queues[upload] = queue
            if not place.done():
                self._acquired += 1
                place.set_result(None)

    def _schedule_sample(self) -> None:
        loop = asyncio.get_running_loop()
        self._sampled_at, self._worked = loop.time(), time.thread_time()
        self._timer = loop.call_later(SAMPLE_SECONDS, self._sample)

    def _sample(self) -> None:
        self._timer = None
        now, worked = asyncio.get_running_loop().time(), time.thread_time()
        self._limit.sample(
            now,
            self._finished_bytes + sum(flight.acked_bytes() for flight in self._flights),
            full=self._is_saturated(),
            busy=(worked - self._worked) / max(1e-6, now - self._sampled_at),
        )
        self._fill()
        if self._acquired:
            self._schedule_sample()

    def _is_saturated(self) -> bool:
        """Whether it is the limit that decides how many are in the air."""
        limit = self._limit.limit
        waited = any(not place.done() for queue in self._queues.values() for place in queue)
        # An upload asks for as many places as there can be, and no more.
        return self._acquired == limit and (waited or limit == self._limit.max)


def _is_throttled(failure: BaseException) -> bool:
    return isinstance(failure, ResponseTimeout) or (
        isinstance(failure, ApiError) and failure.status in THROTTLE_STATUSES
    )


#: Bytes that may be written in one turn of the loop, and the least that is worth a thread's hop.
MAX_CHUNK, MIN_CHUNK = 3 * CHUNK, CHUNK // 4


def limited_part_body(
    air: UploadLimiter,
    whose: object,
    source: Source,
    part: Part,
    handed_over: Callable[[int], None],
) -> StreamingBody:
    """A part as a body that takes a place in the air for each attempt, in the turn of `whose`."""
    flight = InFlightPart()
    return StreamingBody(
        source,
        part.offset,
        part.size,
        handed_over,
        flight=flight,
        chunk=lambda: chunk_size(air.limit),
        slot=lambda: air.slot(whose, flight),
    )


def chunk_size(places: int) -> int:
    """Bytes in one go where so many are in the air.

    All may be written in one turn of the loop, and encrypting a megabyte takes a millisecond or
    two: the more there are, the less of each.
    """
    return max(MIN_CHUNK, min(CHUNK, MAX_CHUNK // places))


def without_time_budget(client: ClientOptions, call: RequestOptions | None) -> RequestOptions:
    """The options of a call that sends a body: its retries have no budget of seconds.

    On a slow line one part takes longer than any budget, and deserves its second try all the
    same: attempts are counted, and a stall ends, but time is not.
    """
    call = call or RequestOptions()
    return evolve(call, retry=evolve(call.retry or client.retry, total_timeout=None))
