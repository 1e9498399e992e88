"""Wait for one generation: exact deadlines, transient failures absorbed, told of what changes."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from diffio_async._http.shutdown import CLOSED
from diffio_async._polling.subscriptions import Subscription
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async.errors import ClientClosed, DiffioError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import PushOrigin, Waiter
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions


@contextlib.asynccontextmanager
async def wait_scope(pacer: Poller, wait: Subscription) -> AsyncIterator[None]:
    """Run the body as one wait: when it is left, no question of it is in the air.

    Raises:
        ClientClosed: The client is closed; a wait is broken off when it is closed meanwhile.
    """
    with pacer.sender.closing.on_close(lambda: wait.break_off(ClientClosed(CLOSED))):
        try:
            yield
        finally:
            wait.leave()
            if wait.cancelled:
                await wait_all_uncancelled(wait.cancelled)


class SingleWait(Subscription):
    """The wait for one generation, and what it was told that is still to be reported."""

    lone = True

    def __init__(
        self, options: RequestOptions, *, timeout: float | None, beat: float | None, wants: bool
    ) -> None:
        super().__init__(options, timeout=timeout, beat=beat, wants=wants)
        self._news: deque[tuple[GenerationProgress, PushOrigin]] = deque()
        self._end: GenerationProgress | DiffioError | None = None
        self._last: GenerationProgress | None = None
        self._waiter: Waiter | None = None

    def begin(self, pacer: Poller, generation_id: str, api_project_id: str | None) -> None:
        """Join the loop's desk."""
        self._waiter = pacer.scheduler().join(self, generation_id, api_project_id)

    def leave(self) -> None:
        """Leave the desk."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.job.desk.leave(waiter)

    def changed(self, _: Waiter, progress: GenerationProgress, heard: PushOrigin) -> None:
        """Keep it for the waiting task: a slow callback must not hold up the questions."""
        if progress != self._last:
            self._last = progress
            self._news.append((progress, heard))
            self.notify()

    def ended(self, _: Waiter, end: GenerationProgress | DiffioError, heard: PushOrigin) -> None:
        """Keep the end; the progress that told of it is news as well."""
        progress = getattr(end, "progress", None) if isinstance(end, DiffioError) else end
        if progress is not None:
            self.changed(_, progress, heard)
        self._end = end
        self.notify()

    async def updates(self) -> AsyncGenerator[GenerationProgress, None]:
        """Progress as it changes; ends, or raises, with the job."""
        while True:
            while self._news:
                progress, heard = self._news.popleft()
                if self.receives_push is not None and heard is not None:
                    self.receives_push("get_generation_progress", heard)
                yield progress
            self.raise_broken()
            if isinstance(self._end, DiffioError):
                error, self._end = self._end, None
                try:
                    raise error
                finally:
                    # Or else the error would hold itself, and the client, by its traceback.
                    del error
            if self._end is not None:
                return
            await self.wait_for_change()


async def follow(
    pacer: Poller,
    generation_id: str,
    api_project_id: str | None,
    options: RequestOptions,
    *,
    timeout: float | None,
    beat: float | None = None,
    wants: bool = True,
) -> AsyncGenerator[GenerationProgress, None]:
    """Progress of one generation as it changes, the last of which says `complete`.

    Args:
        pacer: The client's.
        generation_id: The generation.
        api_project_id: Its project.
        options: Options of each question.
        timeout: Seconds; None for no limit, 0 asks once.
        beat: Seconds between questions; None lets the pacer choose.
        wants: Whether progress on the way is of interest; the last is told in any case.

    Raises:
        GenerationFailed: It ended without a result.
        WaitTimeout: The deadline came first.
        DiffioError: Asking failed for good (401, 403, 404, …).
    """
    wait = SingleWait(options, timeout=timeout, beat=beat, wants=wants)
    async with wait_scope(pacer, wait):
        wait.begin(pacer, generation_id, api_project_id)
        async for progress in wait.updates():
            yield progress
