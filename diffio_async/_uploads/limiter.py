"""Adaptive concurrency limiter shared by all uploads of a client on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from diffio_async._protocol.concurrency_limit import ConcurrencyLimit
from diffio_async.errors import ApiError, ResponseTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async._http.request_body import InFlightPart

#: Initial number of parts in flight.
INITIAL_LIMIT = 2

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
