"""Queue of polls and deadlines of one event loop, and the rate limit of a client."""

from __future__ import annotations

import heapq
import itertools
import math
import time
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from attrs import define

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from contextvars import Context

    from diffio_async._polling.subscriptions import Waiter
    from diffio_async._protocol.rate_limit import RateLimiter, TokenBucket

#: Polls in flight at once, those at a fixed interval not counted.
MAX_CONCURRENT_POLLS = 64
#: Seconds by which an entry may run early: a timer of its own would cost more.
_EARLY = 1e-3
#: Queues of at most so many entries are not compacted.
_MIN_COMPACTED = 64


class PollLimits(Protocol):
    """Limits shared by all loops of a client."""

    @property
    def rate_limiter(self) -> RateLimiter:
        """The limit of polls."""
        ...

    @property
    def check_limiter(self) -> TokenBucket:
        """The limit of checks that are made while events are delivered."""
        ...

    def paused_for(self, now: float, *, fixed: bool) -> float:
        """Return the seconds for which polls are paused; `fixed`: those at a fixed interval."""
        ...


@define(eq=False)
class Item(ABC):
    """Something that is polled; instants are of the loop."""

    #: Identifies the one entry in a queue that counts; 0 if it has no entry.
    entry_id: int = 0
    run_at: float = math.inf
    #: Seconds for which the last poll waited for the rate limit.
    late: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def context(self) -> Context:
        """The context of the call that the poll is made for."""

    def ready(self) -> bool:
        """Return whether the item is to be polled now that its time has come."""
        return True

    @abstractmethod
    def poll(self) -> Coroutine[None, None, None]:
        """Send one poll and handle the response."""

    @abstractmethod
    def on_poll_done(self) -> None:
        """Continue after the task of a poll has ended."""


class ItemHeap:
    """Items by the instant they are due; an item that is added again counts at its new place."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Item]] = []
        self._compact_at = _MIN_COMPACTED

    def put(self, run_at: float, entry_id: int, item: Item) -> None:
        """Add an item; `entry_id` is a number that was never used before."""
        item.entry_id, item.run_at = entry_id, run_at
        heapq.heappush(self._entries, (run_at, entry_id, item))
        if len(self._entries) > self._compact_at:
            self._entries = [entry for entry in self._entries if entry[2].entry_id == entry[1]]
            heapq.heapify(self._entries)
            self._compact_at = _MIN_COMPACTED + 2 * len(self._entries)

    def first(self) -> float | None:
        """Return the instant of the first item, None if the queue is empty."""
        while self._entries:
            run_at, entry_id, item = self._entries[0]
            if item.entry_id == entry_id:
                return run_at
            heapq.heappop(self._entries)
        return None

    def pop(self) -> Item:
        """Remove and return the item whose instant `first` returned."""
        _, _, item = heapq.heappop(self._entries)
        item.entry_id, item.run_at = 0, math.inf
        return item


class QueueOwner(Protocol):
    """Starts polls when their time has come."""

    def start_poll(self, item: Item, *, counted: bool) -> bool:
        """Poll an item; return whether a request is sent."""
        ...


class PollQueue:
    """Timer of one loop for deadlines and polls.

    Polls at a fixed interval run whatever the rate limit. All others run as the limits allow,
    earliest first, so that none starves.
    """

    def __init__(
        self, owner: QueueOwner, loop: asyncio.AbstractEventLoop, limits: PollLimits
    ) -> None:
        self._loop = loop
        self._limits = limits
        # Weak: a reference cycle would keep sockets open until the garbage collector runs.
        self._owner = weakref.ref(owner)
        #: Polls in flight that count towards the limit.
        self.in_flight = 0
        self._entry_ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._running = False
        self.clear()

    def clear(self) -> None:
        """Remove all entries."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf
        self._fixed, self._polls, self._checks = ItemHeap(), ItemHeap(), ItemHeap()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._compact_at = _MIN_COMPACTED

    def schedule(
        self, item: Item, run_at: float, *, fixed: bool = False, check: bool = False
    ) -> None:
        """Schedule the next poll of an item in place of an earlier one.

        Args:
            item: The item.
            run_at: The instant.
            fixed: The poll is at a fixed interval.
            check: The poll only checks what events report.
        """
        heap = self._fixed if fixed else self._checks if check else self._polls
        heap.put(run_at, next(self._entry_ids), item)
        self.set_timer()

    def schedule_deadline(self, waiter: Waiter) -> None:
        """Add the deadline of a waiter."""
        if len(self._deadlines) > self._compact_at:
            self._deadlines = [each for each in self._deadlines if not each[2].closed]
            heapq.heapify(self._deadlines)
            self._compact_at = _MIN_COMPACTED + 2 * len(self._deadlines)
        heapq.heappush(self._deadlines, (waiter.deadline, next(self._entry_ids), waiter))

    def set_timer(self) -> None:
        """Set the timer for the first entry."""
        if self._running:
            return
        run_at = min(
            self._next_deadline(), self._next_fixed(), self._next_poll(), self._next_check()
        )
        if self._timer is not None:
            if self._timer_at <= run_at:
                return
            self._timer.cancel()
        self._timer_at = run_at
        self._timer = None if run_at == math.inf else self._loop.call_at(run_at, self._run)

    def _next_deadline(self) -> float:
        while self._deadlines and self._deadlines[0][2].closed:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def _next_fixed(self) -> float:
        first = self._fixed.first()
        if first is None:
            return math.inf
        return max(first, self._loop.time() + self._limits.paused_for(time.monotonic(), fixed=True))

    def _next_poll(self) -> float:
        return self._next_limited(self._polls, None)

    def _next_check(self) -> float:
        return self._next_limited(self._checks, self._limits.check_limiter)

    def _next_limited(self, heap: ItemHeap, checks: TokenBucket | None) -> float:
        first = heap.first()
        if first is None or self.in_flight >= MAX_CONCURRENT_POLLS:
            return math.inf
        now, limits = time.monotonic(), self._limits
        wait = max(limits.paused_for(now, fixed=False), limits.rate_limiter.wait(now))
        if checks is not None:
            wait = max(wait, checks.wait(now))
        return max(first, self._loop.time() + wait if wait else 0.0)

    def _run(self) -> None:
        self._timer, self._timer_at = None, math.inf
        owner = self._owner()
        if owner is None:
            return
        self._running = True
        try:
            now = self._loop.time()
            while self._next_deadline() <= now:
                waiter = heapq.heappop(self._deadlines)[2]
                waiter.job.expire(waiter)
            now += _EARLY
            while self._next_fixed() <= now:
                owner.start_poll(self._fixed.pop(), counted=False)
            while self._next_poll() <= now:
                late = self._lateness(now)
                item = self._polls.pop()
                item.late = late
                if owner.start_poll(item, counted=True):
                    self._limits.rate_limiter.acquire(time.monotonic())
            while self._next_check() <= now:
                if owner.start_poll(self._checks.pop(), counted=True):
                    self._limits.rate_limiter.acquire(time.monotonic())
                    self._limits.check_limiter.acquire(time.monotonic())
            self._update_saturation(now)
        finally:
            self._running = False
        self.set_timer()

    def _lateness(self, now: float) -> float:
        """Return the seconds for which the first poll has waited for the rate limit."""
        first, since = self._polls.first(), self._limits.rate_limiter.saturated_since
        return 0.0 if first is None else max(0.0, min(now - first, time.monotonic() - since))

    def _update_saturation(self, now: float) -> None:
        """Record whether polls that are due wait for the rate limit."""
        first, instant, limiter = self._polls.first(), time.monotonic(), self._limits.rate_limiter
        paused = self._limits.paused_for(instant, fixed=False) > 0
        waiting = first is not None and first <= now and limiter.wait(instant) > 0
        limiter.set_saturated(instant, saturated=waiting and not paused)
