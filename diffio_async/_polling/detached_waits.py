"""Waits for many generations without a task for each: a function is called at each end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._polling.subscriptions import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async._polling.poller import Poller
    from diffio_async._polling.subscriptions import RawResponse, Waiter
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions

    #: The progress of a complete generation, or why the wait ended without one.
    WaitEnd = GenerationProgress | BaseException


class DetachedWaits(Subscription):
    """Waits of one call for many generations, each as `wait_for_complete` waits for one."""

    is_single = True
    keeps_details = False

    def __init__(
        self, poller: Poller, options: RequestOptions | None, *, timeout: float | None
    ) -> None:
        super().__init__(options, timeout=timeout, poll_interval=None, wants_progress=False)
        self._poller = poller
        self._on_end: dict[Waiter, Callable[[WaitEnd], object]] = {}

    def running(self) -> list[tuple[str, str | None]]:
        """Return the ids of all generations that have not ended."""
        return [(waiter.job.generation_id, waiter.job.api_project_id) for waiter in self._on_end]

    def begin(
        self,
        generation_id: str,
        api_project_id: str,
        on_end: Callable[[WaitEnd], object],
    ) -> None:
        """Wait for one more generation, in the context of the caller.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            on_end: Receives the progress when it is complete, or why the wait ended otherwise.
        """
        waiter = self._poller.scheduler().subscribe(self, generation_id, api_project_id)
        self._on_end[waiter] = on_end

    def leave(self) -> None:
        """Stop waiting for all of them."""
        for waiter in self._on_end:
            waiter.job.leave(waiter)
        self._on_end.clear()

    def on_end(self, waiter: Waiter, end: WaitEnd, _: RawResponse) -> None:
        """Report the end of one wait."""
        self._on_end.pop(waiter)(end)

    def abort_wait(self, waiter: Waiter, error: BaseException) -> None:
        """End one wait with an error; the others continue."""
        waiter.job.leave(waiter)
        self.on_end(waiter, error, None)
