"""What is due when on one loop: a timer for the next of deadlines, beats and budgeted questions."""

from __future__ import annotations

import heapq
import itertools
import math
import time
import weakref
from typing import TYPE_CHECKING

from diffio_async._polling.subscriptions import Queue

if TYPE_CHECKING:
    import asyncio

    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Item, Waiter

#: Questions in the air at once, those on a beat of their own not counted.
MAX_CONCURRENT_POLLS = 64
#: What is due in an instant is due: a turn of its own would cost more.
_EARLY = 1e-3
#: So many entries that count no more are no burden.
_FEW = 64


class PollQueue:
    """What is due; instants are of the loop.

    The desk asks about what is due, and is told of each deadline that has come. Beats of the
    user's own are kept whatever the budget; the rest is asked as the budget allows, earliest due
    first: whoever waits longest is next, so nobody starves.
    """

    def __init__(self, desk: Scheduler) -> None:
        self._loop = desk.loop
        self._poller = desk.poller
        # Weak: what a client is made of must not wait for the collector of cycles, or sockets do.
        self._scheduler = weakref.ref(desk)
        #: Questions in the air that count.
        self.polling = 0
        self._count = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._timed = math.inf
        self._running = False
        self.clear()

    def clear(self) -> None:
        """Forget everything: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timed = None, math.inf
        self._beats, self._due, self._checks = Queue(), Queue(), Queue()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._tidy_at = _FEW

    def schedule(self, item: Item, when: float, *, beat: bool = False, check: bool = False) -> None:
        """Put an item where it is due, and nowhere else."""
        queue = self._beats if beat else self._checks if check else self._due
        queue.put(when, next(self._count), item)
        queue.tidy()
        self.set_timer()

    def schedule_deadline(self, waiter: Waiter) -> None:
        """Note a waiter's deadline."""
        if len(self._deadlines) > self._tidy_at:
            self._deadlines = [each for each in self._deadlines if not each[2].gone]
            heapq.heapify(self._deadlines)
            self._tidy_at = _FEW + 2 * len(self._deadlines)
        heapq.heappush(self._deadlines, (waiter.deadline, next(self._count), waiter))

    def set_timer(self) -> None:
        """See to it that there is a turn when something is due."""
        if self._running:
            return
        when = min(self._next_deadline(), self._next_beat(), self._next_due(), self._next_check())
        if self._timer is not None:
            if self._timed <= when:
                return
            self._timer.cancel()
        self._timed = when
        self._timer = None if when == math.inf else self._loop.call_at(when, self._run_due)

    def _next_deadline(self) -> float:
        while self._deadlines and self._deadlines[0][2].gone:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def _next_beat(self) -> float:
        first = self._beats.first()
        if first is None:
            return math.inf
        return max(
            first[0], self._loop.time() + self._poller.paused_for(time.monotonic(), beat=True)
        )

    def _next_due(self) -> float:
        first = self._due.first()
        if first is None or self.polling >= MAX_CONCURRENT_POLLS:
            return math.inf
        now = time.monotonic()
        wait = max(self._poller.paused_for(now, beat=False), self._poller.rate_limiter.wait(now))
        return max(first[0], self._loop.time() + wait if wait else 0.0)

    def _next_check(self) -> float:
        first = self._checks.first()
        if first is None or self.polling >= MAX_CONCURRENT_POLLS:
            return math.inf
        now = time.monotonic()
        pacer = self._poller
        wait = max(
            pacer.paused_for(now, beat=False),
            pacer.rate_limiter.wait(now),
            pacer.push_health.wait(now),
        )
        return max(first[0], self._loop.time() + wait if wait else 0.0)

    def _run_due(self) -> None:
        self._timer, self._timed = None, math.inf
        desk = self._scheduler()
        if desk is None:
            return
        self._running = True
        try:
            now = self._loop.time()
            while self._next_deadline() <= now:
                desk.expire(heapq.heappop(self._deadlines)[2])
            now += _EARLY
            while self._next_beat() <= now:
                desk.start_poll(self._beats.pop(), counted=False)
            while self._next_due() <= now:
                if desk.start_poll(self._due.pop(), counted=True):
                    self._poller.rate_limiter.acquire(time.monotonic())
            while self._next_check() <= now:
                if desk.start_poll(self._checks.pop(), counted=True):
                    self._poller.rate_limiter.acquire(time.monotonic())
                    self._poller.push_health.acquire(time.monotonic())
        finally:
            self._running = False
        self.set_timer()
