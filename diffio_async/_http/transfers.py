"""Parts that transfers and waits share: workers, connection counts, throughput, callbacks."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import anyio
from attrs import define, field

from diffio_async._console import Console
from diffio_async._logging import log
from diffio_async._protocol.redaction import message_excerpt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async.models.generations import GenerationProgress
    from diffio_async.types import Callback

T = TypeVar("T")

#: Seconds over which a throughput is averaged.
WINDOW = 5.0
#: Seconds before a throughput is reported: the first bytes only fill buffers.
MIN_SPAN = 0.25
#: Samples of a window that are kept, however often it is updated.
MAX_SAMPLES = 32

_console = Console()


async def run_workers(work: Callable[[], Awaitable[None]], count: int) -> None:
    """Run `work` in `count` tasks; the first failure cancels the rest, and is raised as it is."""
    if count == 1:
        await work()
        return
    failures: list[Exception] = []

    async def guarded() -> None:
        try:
            await work()
        except Exception as failure:  # noqa: BLE001 - raised again below
            failures.append(failure)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(guarded)
    if failures:
        raise failures[0]


class ConnectionCounter:
    """Counts the connections of all downloads of a client, for each loop.

    The first connection of a download is always allowed.
    """

    def __init__(self, limit: int) -> None:
        self.max = limit
        self._open: dict[asyncio.AbstractEventLoop, int] = {}

    @property
    def free(self) -> int:
        """Return how many more connections the running loop may open."""
        return self.max - self._open.get(asyncio.get_running_loop(), 0)

    def track(self, connection: asyncio.Task[None]) -> None:
        """Count a connection until its task ends."""
        loop = asyncio.get_running_loop()
        for ended in [known for known in self._open if known.is_closed()]:
            del self._open[ended]
        self._open[loop] = self._open.get(loop, 0) + 1
        connection.add_done_callback(lambda _: self._ended(loop))

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        self._open[loop] -= 1


@define
class ThroughputMeter:
    """Throughput of one transfer over a sliding window of `window` seconds."""

    window: float = WINDOW
    _moments: deque[tuple[float, int]] = field(factory=deque, init=False)

    def update(self, done: int, now: float) -> float | None:
        """Return the bytes per second, given that `done` bytes are complete at `now` (seconds).

        It is None in the first quarter of a second, and never below 0: `done` decreases when a
        part is sent again.
        """
        moments = self._moments
        if not moments or now - moments[-1][0] >= self.window / MAX_SAMPLES:
            moments.append((now, done))
        while len(moments) > 1 and moments[1][0] <= now - self.window:
            moments.popleft()
        began, before = moments[0]
        span = now - began
        return max(0, done - before) / span if span >= MIN_SPAN else None


async def call_progress_callback(
    callback: Callback[T] | None, fact: T, *, log_failure: bool = True
) -> bool:
    """Call a callback and return whether it returned.

    An exception that it raises is logged if `log_failure`, and suppressed: the work is billed.
    """
    if callback is None:
        return True
    try:
        outcome = callback(fact)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        if log_failure:
            log.exception("a progress callback raised; the work it reports continues")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This task was not cancelled: the callback awaited something that was.
        if log_failure:
            log.exception("a progress callback was cancelled; the work it reports continues")
    else:
        return True
    return False


def print_progress(progress: GenerationProgress) -> None:
    """Print one line of progress on standard error."""
    stage = f" ({progress.stage})" if progress.stage else ""
    status = message_excerpt(f"{progress.generation_id}: {progress.status}{stage}")
    _console.note(f"{status} {progress.percent:.0f} %")
