"""Waits for one generation, for many, and for a transcript."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncIterable, Collection
from typing import TYPE_CHECKING

from diffio_async._http.shutdown import CLOSED
from diffio_async._polling.next_poll import backoff_delay
from diffio_async._polling.subscriptions import Subscription
from diffio_async._reporting import call_progress_callback, concerning_many
from diffio_async._storage.loops import running_loop
from diffio_async._storage.threads import iterate, wait_all_uncancelled
from diffio_async.errors import ClientClosed, ConfigurationError, DiffioError, TranscriptPending
from diffio_async.models.generations import Outcome, ids_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import RawResponse, Waiter
    from diffio_async.models.generations import DownloadResult, GenerationProgress
    from diffio_async.options import RequestOptions, WaitPolicy
    from diffio_async.types import Callback

Ids = tuple[str, str | None]

#: Jobs that are subscribed without giving other tasks of the loop a turn.
_MAX_PER_TURN = 200


@contextlib.asynccontextmanager
async def wait_scope(poller: Poller, subscription: Subscription) -> AsyncIterator[None]:
    """Run the body as one wait: none of its polls is in flight when it is left.

    Raises:
        ClientClosed: The client is closed, before or during the wait.
    """
    with poller.sender.closing.on_close(lambda: subscription.abort(ClientClosed(CLOSED))):
        try:
            yield
        finally:
            subscription.leave()
            if subscription.cancelled_polls:
                await wait_all_uncancelled(subscription.cancelled_polls)


class SingleWait(Subscription):
    """Wait for one generation, with a queue of progress that was not yet reported."""

    is_single = True

    def __init__(
        self,
        options: RequestOptions | None,
        *,
        timeout: float | None,
        poll_interval: float | None,
        wants_progress: bool,
    ) -> None:
        super().__init__(
            options, timeout=timeout, poll_interval=poll_interval, wants_progress=wants_progress
        )
        self._pending: deque[tuple[GenerationProgress, RawResponse]] = deque()
        self._end: GenerationProgress | DiffioError | None = None
        self._last: GenerationProgress | None = None
        self._waiter: Waiter | None = None

    def begin(self, poller: Poller, generation_id: str, api_project_id: str | None) -> None:
        """Subscribe to the scheduler of the running loop."""
        self._waiter = poller.scheduler().subscribe(self, generation_id, api_project_id)

    def leave(self) -> None:
        """Unsubscribe."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.job.leave(waiter)

    def on_progress(self, _: Waiter, progress: GenerationProgress, raw: RawResponse) -> None:
        """Queue progress for the waiting task: a slow callback must not delay the polls."""
        if progress != self._last:
            self._last = progress
            self._pending.append((progress, raw))
            self.notify()

    def on_end(self, _: Waiter, end: GenerationProgress | DiffioError, raw: RawResponse) -> None:
        """Store the end, and queue its progress."""
        progress = getattr(end, "progress", None) if isinstance(end, DiffioError) else end
        if progress is not None:
            self.on_progress(_, progress, raw)
        self._end = end
        self.notify()

    async def updates(self) -> AsyncGenerator[GenerationProgress, None]:
        """Yield progress as it changes; return, or raise, at the end of the job."""
        while True:
            while self._pending:
                progress, raw = self._pending.popleft()
                if self.on_raw_response is not None and raw is not None:
                    self.on_raw_response("get_generation_progress", raw)
                yield progress
            self.raise_error()
            if isinstance(self._end, DiffioError):
                error, self._end = self._end, None
                try:
                    raise error
                finally:
                    # The traceback of the error refers to this frame, and so to the client.
                    del error
            if self._end is not None:
                return
            await self.wait_for_change()


async def follow(
    poller: Poller,
    generation_id: str,
    api_project_id: str | None,
    options: RequestOptions | None,
    *,
    timeout: float | None,
    poll_interval: float | None = None,
    wants_progress: bool = True,
) -> AsyncGenerator[GenerationProgress, None]:
    """Yield the progress of one generation as it changes; the last is `complete`.

    Args:
        poller: The poller of the client.
        generation_id: The generation.
        api_project_id: Its project.
        options: Options of each poll.
        timeout: Seconds; None for no limit, 0 polls once.
        poll_interval: Seconds between polls; None lets the poller choose.
        wants_progress: Whether progress before the end is of interest; the last is always yielded.

    Raises:
        GenerationFailed: It ended without a result.
        WaitTimeout: The timeout passed first.
        DiffioError: A poll failed with an error that is not transient (401, 403, 404, …).
    """
    wait = SingleWait(
        options, timeout=timeout, poll_interval=poll_interval, wants_progress=wants_progress
    )
    async with wait_scope(poller, wait):
        wait.begin(poller, generation_id, api_project_id)
        async for progress in wait.updates():
            yield progress


class MultiWait(Subscription):
    """Wait for many generations, each of which may be given several times."""

    def __init__(
        self, options: RequestOptions | None, *, timeout: float | None, wants_progress: bool
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
    options: RequestOptions | None,
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
        ConfigurationError: An item is invalid.
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


class TranscriptWait:
    """Retries while a transcript of a complete generation is pending (409).

    The time limit is that of the wait for the generation, and starts with it.
    """

    def __init__(
        self,
        policy: WaitPolicy,
        timeout: float | None,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._policy = policy
        self._sleep = sleep
        self._limit = policy.timeout if timeout is None else timeout
        self._started_at = time.monotonic()

    async def retry_while_pending(
        self, fetch: Callable[[], Awaitable[DownloadResult]]
    ) -> DownloadResult:
        """Return what `fetch` returns once it no longer raises `TranscriptPending`.

        Raises:
            TranscriptPending: The transcript is still pending at the time limit.
        """
        while True:
            try:
                return await fetch()
            except TranscriptPending:
                waited = time.monotonic() - self._started_at
                jitter = random.random()  # noqa: S311 - jitter needs no secrecy
                seconds = backoff_delay(self._policy, waited, jitter)
                if self._limit is not None and waited + seconds > self._limit:
                    raise
            await self._sleep(seconds)
