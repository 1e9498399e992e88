"""Wait for one generation, and for its transcript."""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from diffio_async._http.shutdown import CLOSED
from diffio_async._polling.next_poll import backoff_delay
from diffio_async._polling.subscriptions import Subscription
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async.errors import ClientClosed, DiffioError, TranscriptPending

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import RawResponse, Waiter
    from diffio_async.models.generations import DownloadResult, GenerationProgress
    from diffio_async.options import RequestOptions, WaitPolicy


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
        options: RequestOptions,
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
    options: RequestOptions,
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
