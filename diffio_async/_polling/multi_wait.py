"""Wait for many generations in one call: taken one after another, told as they end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Collection
from typing import TYPE_CHECKING

from diffio_async._http.callbacks import call_progress_callback
from diffio_async._http.error_context import concerning_many
from diffio_async._polling.single_wait import wait_scope
from diffio_async._polling.subscriptions import Subscription
from diffio_async._storage.iteration import taken
from diffio_async._storage.loops import running_loop
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.models.handles import ids_in
from diffio_async.models.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import PushOrigin, Waiter
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions
    from diffio_async.types import Callback

Ids = tuple[str, str | None]

#: Jobs begun between two breaths of the loop.
_MAX_PER_TURN = 200


class MultiWait(Subscription):
    """The wait for many generations, each of which may be given several times."""

    def __init__(self, options: RequestOptions, *, timeout: float | None, wants: bool) -> None:
        super().__init__(options, timeout=timeout, beat=None, wants=wants)
        self.updated: dict[str, GenerationProgress] = {}
        self.finished: deque[Outcome] = deque()
        #: All have been taken.
        self.exhausted = False
        self._waiters: dict[str, tuple[Waiter, int]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def running(self) -> list[Ids]:
        """The ids of all that are waited for."""
        jobs = (waiter.job for waiter, _ in self._waiters.values())
        return [(job.generation_id, job.api_project_id) for job in jobs]

    def begin(self, pacer: Poller, ids: Ids) -> None:
        """Wait for one more."""
        generation_id, api_project_id = ids
        known = self._waiters.get(generation_id)
        if known is not None:
            self._waiters[generation_id] = known[0], known[1] + 1
        else:
            waiter = pacer.scheduler().join(self, generation_id, api_project_id)
            self._waiters[generation_id] = waiter, 1

    def leave(self) -> None:
        """Stop waiting for all of them."""
        for waiter, _ in self._waiters.values():
            waiter.job.desk.leave(waiter)
        self._waiters.clear()

    def changed(self, waiter: Waiter, progress: GenerationProgress, _: PushOrigin) -> None:
        """Keep the newest of each for the waiting task."""
        self.updated[waiter.job.generation_id] = progress
        self.notify()

    def ended(self, waiter: Waiter, end: GenerationProgress | DiffioError, _: PushOrigin) -> None:
        """Keep how it ended."""
        job = waiter.job
        times = self._waiters.pop(job.generation_id)[1]
        error: DiffioError | None = None
        progress: GenerationProgress | None
        if isinstance(end, DiffioError):
            error, progress = end, getattr(end, "progress", None) or job.last
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
    pacer: Poller,
    generations: Iterable[object] | AsyncIterable[object],
    api_project_id: str | None,
    options: RequestOptions,
    *,
    timeout: float | None,
    on_progress: Callback[GenerationProgress] | None = None,
    ahead: int | None = None,
    on_taken: Callable[[str], None] | None = None,
) -> AsyncGenerator[Outcome, None]:
    """How the wait for each generation ended, as they end: as many outcomes as items.

    Args:
        pacer: The client's.
        generations: Ids, handles, or models with ids.
        api_project_id: The project of those that have none of their own.
        options: Options of each question.
        timeout: Seconds for each, from when it is taken; None for no limit, 0 asks once.
        on_progress: Told of progress that changed.
        ahead: How many are waited for at once at most; no more are taken.
        on_taken: Told of each id when it is taken, in their order.

    Raises:
        ConfigurationError: An item is none of these.
        ClientClosed: The client was closed.
    """
    source = _source(generations, api_project_id)
    wait = MultiWait(options, timeout=timeout, wants=on_progress is not None)
    async with wait_scope(pacer, wait), _feed(wait, pacer, source, ahead, on_taken) as room:
        with concerning_many(wait.running):
            while True:
                wait.raise_broken()
                while wait.updated:
                    await call_progress_callback(
                        on_progress, wait.updated.pop(next(iter(wait.updated)))
                    )
                while wait.finished:
                    yield wait.finished.popleft()
                    room.set()
                if wait.exhausted and not len(wait):
                    return
                if not wait.updated and not wait.finished and wait.broken is None:
                    await wait.wait_for_change()


def _source(
    generations: Iterable[object] | AsyncIterable[object], api_project_id: str | None
) -> AsyncIterator[Ids]:
    if isinstance(generations, (str, bytes)):
        raise ConfigurationError(
            f"generations must be several, not {generations!r}: put it into a list"
        )
    if isinstance(generations, AsyncIterable):
        return _each(generations, api_project_id)
    try:
        iterator = iter(generations)
    except TypeError:
        raise ConfigurationError(
            f"generations must be an iterable of ids, handles or models, not {generations!r}"
        ) from None
    if isinstance(generations, Collection):
        # All are looked at before the first is asked for.
        return _several([ids_in(item, api_project_id) for item in iterator])
    return _each(iterator, api_project_id)


async def _each(
    items: Iterable[object] | AsyncIterable[object], api_project_id: str | None
) -> AsyncIterator[Ids]:
    async with contextlib.aclosing(taken(items)) as found:
        async for item in found:
            yield ids_in(item, api_project_id)


async def _several(items: list[Ids]) -> AsyncIterator[Ids]:
    for n, ids in enumerate(items, 1):
        yield ids
        if n % _MAX_PER_TURN == 0:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _feed(
    wait: MultiWait,
    pacer: Poller,
    source: AsyncIterator[Ids],
    ahead: int | None,
    on_taken: Callable[[str], None] | None,
) -> AsyncIterator[asyncio.Event]:
    """Take items while the body runs; the event says that there may be room again."""
    room = asyncio.Event()

    async def feed() -> None:
        try:
            async for ids in source:
                while ahead is not None and len(wait) + len(wait.finished) >= ahead:
                    room.clear()
                    await room.wait()
                if on_taken is not None:
                    on_taken(ids[0])
                wait.begin(pacer, ids)
        except BaseException as failure:
            # Raised where the outcomes are waited for; who cancels this task does not look there.
            wait.break_off(failure)
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
        yield room
    finally:
        feeder.cancel()
        await wait_all_uncancelled([feeder])
