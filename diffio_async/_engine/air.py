"""The places in the air: one limit for all uploads of a client on one loop, adapted to the link."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from attrs import define

from diffio_async._wire.window import Window
from diffio_async.errors import ApiError, Timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Seconds between two looks at what got through.
TICK = 0.05
#: What a host answers that has too much to do.
OVERLOADED = frozenset({408, 429, 503, 504})


@define(eq=False)
class Flight:
    """One part, or one whole body, on its way.

    Attributes:
        handed: Bytes of this attempt that were handed to the connection.
        unsent: How many of them the other side has not acknowledged yet; told by the connection.
        seen: How many had got through when that was last asked.
    """

    handed: int = 0
    unsent: Callable[[], int] = int
    seen: int = 0

    def through(self) -> int:
        """Bytes of this attempt that got through."""
        self.seen = max(self.seen, self.handed - self.unsent())
        return self.seen

    def begin(self) -> None:
        """Another attempt: nothing of it is through."""
        self.handed = self.seen = 0
        self.unsent = int


class Air:
    """Gives places, in turn among uploads; how many there are follows what gets through."""

    def __init__(self, cap: int) -> None:
        self._window = Window(cap)
        self._taken = 0
        self._queues: dict[object, deque[asyncio.Future[None]]] = {}
        self._flights: set[Flight] = set()
        #: Bytes of attempts that have ended.
        self._landed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._looked = self._worked = 0.0

    @property
    def limit(self) -> int:
        """How many places there are now."""
        return self._window.limit

    @contextlib.asynccontextmanager
    async def place(self, upload: object, flight: Flight) -> AsyncIterator[None]:
        """Hold a place for one attempt of a flight; `upload` says whose turn it takes."""
        await self._enter(upload)
        flight.begin()
        self._flights.add(flight)
        began = asyncio.get_running_loop().time()
        try:
            yield
            self._landed += flight.handed
        except BaseException as failure:
            self._landed += flight.seen  # its connection may be gone
            if _pushes_back(failure):
                self._window.pushed_back(asyncio.get_running_loop().time(), began)
            raise
        finally:
            self._flights.discard(flight)
            self._leave()

    async def _enter(self, upload: object) -> None:
        if self._taken < self._window.limit and not self._queues:
            self._taken += 1
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
            self._look_later()

    def _leave(self) -> None:
        self._taken -= 1
        self._fill()

    def _fill(self) -> None:
        """Give free places: to each upload one, before any gets its next."""
        while self._queues and self._taken < self._window.limit:
            upload, queue = next(iter(self._queues.items()))
            place = queue.popleft()
            del self._queues[upload]
            if queue:
                self._queues[upload] = queue
            if not place.done():
                self._taken += 1
                place.set_result(None)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._looked, self._worked = loop.time(), time.thread_time()
        self._timer = loop.call_later(TICK, self._look)

    def _look(self) -> None:
        self._timer = None
        now, worked = asyncio.get_running_loop().time(), time.thread_time()
        self._window.told(
            now,
            self._landed + sum(flight.through() for flight in self._flights),
            full=self._full(),
            busy=(worked - self._worked) / max(1e-6, now - self._looked),
        )
        self._fill()
        if self._taken:
            self._look_later()

    def _full(self) -> bool:
        """Whether it is the limit that decides how many are in the air."""
        limit = self._window.limit
        waited = any(not place.done() for queue in self._queues.values() for place in queue)
        # An upload asks for as many places as there can be, and no more.
        return self._taken == limit and (waited or limit == self._window.cap)


def _pushes_back(failure: BaseException) -> bool:
    return isinstance(failure, Timeout) or (
        isinstance(failure, ApiError) and failure.status in OVERLOADED
    )
