"""Waiting for one generation or for many. What waits need is loaded with the first of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._http.transport import ApiTransport
from diffio_async._polling.poller import Poller
from diffio_async._reporting import attach_ids, call_progress_callback
from diffio_async._validators import positive_int, validate_wait
from diffio_async.errors import BatchFailed
from diffio_async.models.generations import GenerationProgress, Outcome, ids_in
from diffio_async.options import RequestOptions
from diffio_async.types import Callback

if TYPE_CHECKING:
    from diffio_async._polling.detached_waits import DetachedWaits


class AsyncGenerationWaits:
    """Waits for generations. All waits of a client share one rate limit."""

    def __init__(self, sender: ApiTransport, pacer: Poller) -> None:
        self._sender = sender
        self._pacer = pacer

    async def wait_for_complete(
        self,
        *,
        generation_id: str,
        api_project_id: str | None = None,
        poll_interval: float | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        show_progress: bool = False,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """Wait until a generation is complete.

        Args:
            generation_id: The generation's id, or its handle.
            api_project_id: Its project.
            poll_interval: Seconds between polls, within the rate limit of the client. If None, the
                interval adapts.
            timeout: Maximum seconds. If None, that of the client; `math.inf` for no limit; 0 polls
                once.
            on_progress: Receives progress that changed. Its exceptions are logged.
            show_progress: Write progress that changed to standard error.
            options: Options of each poll. Failed polls are repeated by the wait, not by `retry`.

        Raises:
            GenerationFailed: It ended without a result; `progress` has the reason.
            WaitTimeout: It took longer than `timeout`; the generation continues.
        """
        from diffio_async._polling.wait_display import print_progress
        from diffio_async._polling.waits import follow

        validate_wait(poll_interval, timeout)
        generation_id, api_project_id = ids_in(generation_id, api_project_id)
        steps = follow(
            self._pacer,
            generation_id,
            api_project_id,
            _poll_options(options),
            timeout=self._limit(timeout),
            poll_interval=poll_interval,
            wants_progress=show_progress or on_progress is not None,
        )
        last: GenerationProgress | None = None
        ids = {"generation_id": generation_id, "api_project_id": api_project_id}
        with self._sender.operation("wait", **ids), attach_ids(**ids):
            async with contextlib.aclosing(steps):
                async for progress in steps:
                    last = progress
                    if show_progress:
                        print_progress(progress)
                    await call_progress_callback(on_progress, progress)
        if last is None:
            raise AssertionError("a wait ends with progress, or with an error")
        return last

    async def watch(
        self,
        generation_id: str,
        *,
        api_project_id: str | None = None,
        timeout: float | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncIterator[GenerationProgress]:
        """Yield progress whenever it changes; the last one is complete.

        Args:
            generation_id: The generation's id, or its handle.
            api_project_id: Its project.
            timeout: Maximum seconds. If None, that of the client; `math.inf` for no limit; 0 polls
                once.
            options: Options of each poll.

        Raises:
            GenerationFailed: It ended without a result; `progress` has the reason.
            WaitTimeout: It took longer than `timeout`; the generation continues.
        """
        from diffio_async._polling.waits import follow

        validate_wait(None, timeout)
        generation_id, api_project_id = ids_in(generation_id, api_project_id)
        limit, polled = self._limit(timeout), _poll_options(options)
        steps = follow(self._pacer, generation_id, api_project_id, polled, timeout=limit)
        with attach_ids(generation_id=generation_id, api_project_id=api_project_id):
            async with contextlib.aclosing(steps):
                async for progress in steps:
                    yield progress

    async def wait_many(
        self,
        generations: Iterable[object] | AsyncIterable[object],
        *,
        api_project_id: str | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        show_progress: bool = False,
        raise_on_failure: bool = False,
        options: RequestOptions | None = None,
    ) -> list[Outcome]:
        """Wait until all generations have ended, with or without a result.

        The client polls no more often than its rate limit allows
        (`WaitPolicy.max_polls_per_second`), and all generations of one project at once.

        Args:
            generations: Ids, handles, or models with an id, from any iterable.
            api_project_id: The project of ids without one.
            timeout: Maximum seconds for each, from when it is taken from the iterable. If None,
                that of the client; `math.inf` for no limit; 0 polls once.
            on_progress: Receives progress that changed, of any of them.
            show_progress: Show counts by state, the rate and an estimate of the end on standard
                error: as a live table on a terminal (with the extra `cli`), else as lines.
            raise_on_failure: Raise at the end, if one did not complete.
            options: Options of each poll.

        Returns:
            An outcome for each, in the order passed. Failures and time-outs are in `error`.

        Raises:
            BatchFailed: With `raise_on_failure`: all errors, and `outcomes`.
            ConfigurationError: An item is not a generation.
        """
        from diffio_async._polling.wait_display import NullDisplay, make_display
        from diffio_async._polling.waits import iter_outcomes

        validate_wait(None, timeout)
        taken: list[str] = []
        ended: dict[str, Outcome] = {}
        shown = make_display() if show_progress else NullDisplay()

        def subscribed(generation_id: str) -> None:
            taken.append(generation_id)
            shown.started(generation_id)

        async def report(progress: GenerationProgress) -> None:
            shown.progressed(progress)
            await call_progress_callback(on_progress, progress)

        steps = iter_outcomes(
            self._pacer,
            generations,
            api_project_id,
            _poll_options(options),
            timeout=self._limit(timeout),
            on_progress=report if show_progress or on_progress is not None else None,
            on_subscribed=subscribed,
        )
        with self._sender.operation("wait"), shown:
            async with contextlib.aclosing(steps):
                async for outcome in steps:
                    ended[outcome.generation_id] = outcome
                    shown.ended(outcome)
        errors = [outcome.error for outcome in ended.values() if outcome.error is not None]
        result = [ended[generation_id] for generation_id in taken]
        if raise_on_failure and errors:
            failed = BatchFailed(
                f"{len(errors)} of {len(ended)} generations have no result", errors
            )
            failed.outcomes = tuple(result)
            try:
                raise failed
            finally:
                # Otherwise it would reference itself, and the client, through its traceback.
                del failed
        return result

    async def as_completed(
        self,
        generations: Iterable[object] | AsyncIterable[object],
        *,
        api_project_id: str | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        max_pending: int = 10_000,
        options: RequestOptions | None = None,
    ) -> AsyncIterator[Outcome]:
        """Yield the outcome of each generation when it ends.

        Args:
            generations: Ids, handles, or models with an id, from any iterable, which may be
                infinite. An iterator that is not asynchronous runs in a thread of its own.
            api_project_id: The project of ids without one.
            timeout: Maximum seconds for each, from when it is taken from the iterable. If None,
                that of the client; `math.inf` for no limit; 0 polls once.
            on_progress: Receives progress that changed, of any of them.
            max_pending: Maximum number of generations waited for at once. More are taken from the
                iterable as these end.
            options: Options of each poll.

        Raises:
            ConfigurationError: An item is not a generation.
        """
        from diffio_async._polling.waits import iter_outcomes

        validate_wait(None, timeout)
        positive_int.check("max_pending", max_pending)
        limit, polled = self._limit(timeout), _poll_options(options)
        steps = iter_outcomes(
            self._pacer,
            generations,
            api_project_id,
            polled,
            timeout=limit,
            on_progress=on_progress,
            max_pending=max_pending,
        )
        async with contextlib.aclosing(steps):
            async for outcome in steps:
                yield outcome

    @contextlib.asynccontextmanager
    async def _detached(
        self, timeout: float | None, options: RequestOptions | None
    ) -> AsyncIterator[DetachedWaits]:
        """Run the body with waits that have no tasks, for a batch; arguments as those of `watch`.

        Raises:
            ClientClosed: The client is closed.
        """
        from diffio_async._polling.detached_waits import DetachedWaits
        from diffio_async._polling.waits import wait_scope

        waits = DetachedWaits(self._pacer, _poll_options(options), timeout=self._limit(timeout))
        async with wait_scope(self._pacer, waits):
            yield waits

    def _limit(self, timeout: float | None) -> float | None:
        limit = self._sender.options.wait.timeout if timeout is None else timeout
        return None if limit == math.inf else limit


def _poll_options(options: RequestOptions | None) -> RequestOptions | None:
    """Return the options of polls; waits whose options are equal share them."""
    if options is None:
        return None
    polled = evolve(options, retry=None)
    return None if polled == RequestOptions() else polled
