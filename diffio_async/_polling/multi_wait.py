"""Wait for many generations in one call, with an outcome for each as it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Collection
from typing import TYPE_CHECKING

from diffio_async._http.error_context import concerning_many
from diffio_async._http.transfers import call_progress_callback
from diffio_async._polling.single_wait import wait_scope
from diffio_async._polling.subscriptions import Subscription
from diffio_async._storage.threads import iterate, running_loop, wait_all_uncancelled
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.models.generations import Outcome, ids_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import RawResponse, Waiter
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions
    from diffio_async.types import Callback

Ids = tuple[str, str | None]

#: Jobs that are subscribed without giving other tasks of the loop a turn.
_MAX_PER_TURN = 200


class MultiWait(Subscription):
    """Wait for many generations, each of which may be given several times."""

    def __init__(
        self, options: RequestOptions, *, timeout: float | None, wants_progress: bool
    ) -> None:
        super().__init__(
            options, timeout=timeout, poll_interval=None, wants_progress=wants_progress
        )
        #: The latest progress of each generation that was not reported yet.
        self.updated: dict[str, GenerationProgress] = {}
        self.finished: deque[Outcome] = deque()
        #: Whether the source has no more items.
        self.exhausted = False
        self._waiters: dict[str, tuple[Waiter, int]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def running(self) -> list[Ids]:
        """Return the ids of all generations that have not ended."""
        jobs = (waiter.job for waiter, _ in self._waiters.values())
        return [(job.generation_id, job.api_project_id) for job in jobs]

    def begin(self, poller: Poller, ids: Ids) -> None:
        """Wait for one more generation."""
        generation_id, api_project_id = ids
        known = self._waiters.get(generation_id)
        if known is not None:
            self._waiters[generation_id] = known[0], known[1] + 1
        else:
            waiter = poller.scheduler().subscribe(self, generation_id, api_project_id)
            self._waiters[generation_id] = waiter, 1

    def leave(self) -> None:
        """Stop waiting for all of them."""
        for waiter, _ in self._waiters.values():
            waiter.job.leave(waiter)
        self._waiters.clear()

    def on_progress(self, waiter: Waiter, progress: GenerationProgress, _: RawResponse) -> None:
        """Store the latest progress for the waiting task."""
        self.updated[waiter.job.generation_id] = progress
        self.notify()

    def on_end(self, waiter: Waiter, end: GenerationProgress | DiffioError, _: RawResponse) -> None:
        """Store the outcome, once for each time that the generation was given."""
        job = waiter.job
        times = self._waiters.pop(job.generation_id)[1]
        error: DiffioError | None = None
        progress: GenerationProgress | None
        if isinstance(end, DiffioError):
            error, progress = end, getattr(end, "progress", None) or job.last_progress
            error.generation_id = error.generation_id or job.generation_id
            error.api_project_id = error.api_project_id or job.api_project_id
        else:
            progress = end
        outcome = Outcome(
            generation_id=job.generation_id,
            api_project_id=job.api_project_id,
            status=None if progress is None else progress.status,
            progress=progress,
            error=error,
        )
        if progress is not None and self.wants_progress and progress != waiter.last_progress:
            self.updated[job.generation_id] = progress
        self.finished.extend([outcome] * times)
        self.notify()


async def iter_outcomes(
    poller: Poller,
    generations: Iterable[object] | AsyncIterable[object],
    api_project_id: str | None,
    options: RequestOptions,
    *,
    timeout: float | None,
    on_progress: Callback[GenerationProgress] | None = None,
    max_pending: int | None = None,
    on_subscribed: Callable[[str], None] | None = None,
) -> AsyncGenerator[Outcome, None]:
    """Yield the outcome of each generation as it ends: as many outcomes as items.

    Args:
        poller: The poller of the client.
        generations: Ids, handles, or models with ids.
        api_project_id: The project of items without one.
        options: Options of each poll.
        timeout: Seconds for each, from when it is read; None for no limit, 0 polls once.
        on_progress: Called with progress that changed.
        max_pending: Generations that are waited for at once; no more items are read meanwhile.
        on_subscribed: Called with each id when it is read, in order.

    Raises:
        ConfigurationError: An item is none of these.
        ClientClosed: The client was closed.
    """
    source = _source(generations, api_project_id)
    wait = MultiWait(options, timeout=timeout, wants_progress=on_progress is not None)
    async with (
        wait_scope(poller, wait),
        _feed(wait, poller, source, max_pending, on_subscribed) as has_capacity,
    ):
        with concerning_many(wait.running):
            while True:
                wait.raise_error()
                while wait.updated:
                    await call_progress_callback(
                        on_progress, wait.updated.pop(next(iter(wait.updated)))
                    )
                while wait.finished:
                    yield wait.finished.popleft()
                    has_capacity.set()
                if wait.exhausted and not len(wait):
                    return
                if not wait.updated and not wait.finished and wait.error is None:
                    await wait.wait_for_change()


def _source(
    generations: Iterable[object] | AsyncIterable[object], api_project_id: str | None
) -> AsyncIterator[Ids]:
    if isinstance(generations, (str, bytes)):
        raise ConfigurationError(
            f"generations must be an iterable of ids, not {generations!r}: put the id into a list"
        )
    if isinstance(generations, AsyncIterable):
        return _iter_ids(generations, api_project_id)
    try:
        iterator = iter(generations)
    except TypeError:
        raise ConfigurationError(
            f"generations must be an iterable of ids, handles or models, not {generations!r}"
        ) from None
    if isinstance(generations, Collection):
        # All items are checked before the first poll.
        return _iter_list([ids_in(item, api_project_id) for item in iterator])
    return _iter_ids(iterator, api_project_id)


async def _iter_ids(
    items: Iterable[object] | AsyncIterable[object], api_project_id: str | None
) -> AsyncIterator[Ids]:
    async with contextlib.aclosing(iterate(items)) as source:
        async for item in source:
            yield ids_in(item, api_project_id)


async def _iter_list(items: list[Ids]) -> AsyncIterator[Ids]:
    for n, ids in enumerate(items, 1):
        yield ids
        if n % _MAX_PER_TURN == 0:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _feed(
    wait: MultiWait,
    poller: Poller,
    source: AsyncIterator[Ids],
    max_pending: int | None,
    on_subscribed: Callable[[str], None] | None,
) -> AsyncIterator[asyncio.Event]:
    """Read items while the body runs; setting the event checks for capacity again."""
    has_capacity = asyncio.Event()

    async def feed() -> None:
        try:
            async for ids in source:
                while max_pending is not None and len(wait) + len(wait.finished) >= max_pending:
                    has_capacity.clear()
                    await has_capacity.wait()
                if on_subscribed is not None:
                    on_subscribed(ids[0])
                wait.begin(poller, ids)
        except BaseException as failure:
            # Raised by the task that waits for outcomes: nothing reads the result of this one.
            wait.abort(failure)
            if not isinstance(failure, (Exception, asyncio.CancelledError)):
                raise
        else:
            wait.exhausted = True
            wait.notify()
        finally:
            with contextlib.suppress(AttributeError):
                await source.aclose()  # type: ignore[attr-defined]

    feeder = running_loop().create_task(feed())
    try:
        yield has_capacity
    finally:
        feeder.cancel()
        await wait_all_uncancelled([feeder])
