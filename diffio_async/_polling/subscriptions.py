"""What a desk knows: the jobs that are waited for, who waits, and in which order to ask."""

from __future__ import annotations

import asyncio
import heapq
import math
from contextvars import copy_context
from typing import TYPE_CHECKING, ClassVar

from attrs import define, field

from diffio_async._http.transport import response_tap
from diffio_async._polling.job_timeline import JobTimeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async._polling.generation_rows import GenerationRow
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions

#: The JSON of an answer, for those who hear it as it came.
PushOrigin = object


class Subscription:
    """One call that waits, for one job or for many. The desk tells it, on its loop."""

    #: Whether it waits for one job: its end is then told as a single question is answered.
    lone: ClassVar[bool] = False

    def __init__(
        self, options: RequestOptions, *, timeout: float | None, beat: float | None, wants: bool
    ) -> None:
        self.options = options
        self.timeout = timeout
        self.poll_interval = beat
        #: Whether progress on the way is of interest.
        self.receives_push: Callable[[str, object], None] | None = response_tap.get()
        self.wants_progress = wants or self.receives_push is not None
        self.context = copy_context()
        #: Questions that were cut because of this wait and still tidy up.
        self.cancelled: set[asyncio.Task[None]] = set()
        self.broken: BaseException | None = None
        self._changed: asyncio.Future[None] | None = None

    def changed(self, waiter: Waiter, progress: GenerationProgress, heard: PushOrigin, /) -> None:
        """Progress was read that is not what was read before."""

    def ended(
        self, waiter: Waiter, end: GenerationProgress | DiffioError, heard: PushOrigin, /
    ) -> None:
        """The wait for this job is over."""
        raise NotImplementedError

    def leave(self) -> None:
        """Stop waiting for whatever is still waited for."""
        raise NotImplementedError

    def break_off(self, reason: BaseException) -> None:
        """End the whole call."""
        if self.broken is None:
            self.broken = reason
        self.notify()

    def raise_broken(self) -> None:
        """Raise what ended the call, if anything did."""
        reason, self.broken = self.broken, None
        if reason is not None:
            try:
                raise reason
            finally:
                del reason

    def notify(self) -> None:
        """Wake whoever waits in `rung`."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def wait_for_change(self) -> None:
        """Wait for the next `ring`; whoever waits looks for news before."""
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None


@define(eq=False)
class Waiter:
    """One wait's interest in one job; `deadline` is an instant of the loop."""

    wait: Subscription
    job: Job
    deadline: float = math.inf
    #: One answer is enough, whatever it says.
    poll_once: bool = False
    #: What it was told last, and whether that was an answer about this job alone.
    last_progress: GenerationProgress | None = None
    alone: bool = True
    gone: bool = False


@define(eq=False)
class Item:
    """Something to be asked about; instants are of the loop."""

    #: Names the one entry in a queue that counts.
    ticket: int = 0
    due: float = math.inf
    task: asyncio.Task[None] | None = None


@define(eq=False, kw_only=True)
class Job(Item):
    """One generation that is waited for, under one set of options."""

    desk: Scheduler
    number: int
    generation_id: str
    api_project_id: str | None
    options: RequestOptions
    timeline: JobTimeline = field(factory=lambda: JobTimeline(0.0))
    waiters: list[Waiter] = field(factory=list)
    group: Group | None = None
    #: When the next question is due, where nobody has a beat of its own.
    next: float = 0.0
    #: When the last question about it alone was answered, or failed.
    responded_at: float = -math.inf
    last: GenerationProgress | None = None
    #: What the last listing said that said something new.
    row: GenerationRow | None = None
    rank: int = 0
    #: An end that was told where a single question is to confirm it, and how often that was tried.
    reported_end: GenerationProgress | None = None
    attempts: int = 0
    failure: DiffioError | None = None
    invalid_responses: int = 0
    #: Listings in a row that lacked it; it is asked about alone from the second on.
    missing: int = 0
    alone: bool = False
    round: int = 0
    checking: bool = False
    #: It was told of from elsewhere, or will be: it need not be asked about at once.
    covered: bool = False

    @property
    def known(self) -> bool:
        """Something was learned of it since it is waited for."""
        return self.covered or self.responded_at > -math.inf or self.row is not None


@define(eq=False, kw_only=True)
class Group(Item):
    """The jobs of one project under one set of options: from two on, one listing serves all."""

    api_project_id: str
    options: RequestOptions
    members: dict[str, Job] = field(factory=dict)
    #: The listing cannot be had, until this instant: its jobs are asked about one by one.
    paused_until: float = -math.inf
    failures: int = 0
    refused: DiffioError | None = None
    round: int = 0
    #: When the last listing was asked for, and answered.
    polled_at: float = -math.inf
    responded_at: float = -math.inf
    #: Questions about single jobs for each listing, to see whether it lags behind; and those due.
    doubt: float = 0.0
    allowance: float = 0.0
    #: Seconds of work that the last listing took.
    cost: float = 0.0
    active: bool = False


class Queue:
    """Items by the instant they are due; an item that is put again counts at its new place."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Item]] = []
        self._tidy_at = 64

    def put(self, when: float, ticket: int, item: Item) -> None:
        """Put an item; `ticket` is a number that was never used before."""
        item.ticket, item.due = ticket, when
        heapq.heappush(self._entries, (when, ticket, item))

    def first(self) -> tuple[float, Item] | None:
        """The item that is due first; it stays."""
        while self._entries:
            when, ticket, item = self._entries[0]
            if item.ticket == ticket:
                return when, item
            heapq.heappop(self._entries)
        return None

    def pop(self) -> Item:
        """Take the first away, as `first` gave it."""
        _, _, item = heapq.heappop(self._entries)
        item.ticket, item.due = 0, math.inf
        return item

    def tidy(self) -> None:
        """Forget entries that count no more, once they may be the most."""
        if len(self._entries) > self._tidy_at:
            self._entries = [entry for entry in self._entries if entry[2].ticket == entry[1]]
            heapq.heapify(self._entries)
            self._tidy_at = 64 + 2 * len(self._entries)
