"""Calls that wait, their interest in single jobs, and the errors that end a wait."""

from __future__ import annotations

import asyncio
import copy
import math
from contextvars import copy_context
from typing import TYPE_CHECKING, ClassVar, Protocol

from attrs import define, field

from diffio_async._http.transport import response_tap
from diffio_async._polling.job_timeline import status_rank
from diffio_async._protocol.redaction import masked_excerpt
from diffio_async.errors import GenerationFailed, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import RequestOptions

#: The JSON of a response, for calls that need it as it was received; None if absent.
RawResponse = object


class Subscription:
    """One call that waits, for one job or for many; it is notified on its own loop."""

    #: Whether it waits for one job: its end is then confirmed by a response of a single poll.
    is_single: ClassVar[bool] = False
    #: Whether progress before the end is kept as it was received, which takes kilobytes.
    keeps_details: ClassVar[bool] = True

    def __init__(
        self,
        options: RequestOptions | None,
        *,
        timeout: float | None,
        poll_interval: float | None,
        wants_progress: bool,
    ) -> None:
        self.options = options
        self.timeout = timeout
        #: Seconds between polls; None lets the poller choose.
        self.poll_interval = poll_interval
        #: Receives the JSON of each response; None if the call does not need it.
        self.on_raw_response: Callable[[str, object], None] | None = response_tap.get()
        #: Whether progress before the end is of interest.
        self.wants_progress = wants_progress or self.on_raw_response is not None
        #: Polls that were cancelled because of this call and have not ended yet.
        self.cancelled_polls: set[asyncio.Task[None]] = set()
        self.error: BaseException | None = None
        self._changed: asyncio.Future[None] | None = None

    def on_progress(
        self, waiter: Waiter, progress: GenerationProgress, raw: RawResponse, /
    ) -> None:
        """Receive progress that differs from the last."""

    def on_end(
        self, waiter: Waiter, end: GenerationProgress | DiffioError, raw: RawResponse, /
    ) -> None:
        """Receive the end of the wait for one job."""
        raise NotImplementedError

    def leave(self) -> None:
        """Stop waiting for all jobs."""
        raise NotImplementedError

    def abort(self, error: BaseException) -> None:
        """End the call with an error."""
        if self.error is None:
            self.error = error
        self.notify()

    def abort_wait(self, waiter: Waiter, error: BaseException) -> None:  # noqa: ARG002
        """End the call with an error that concerns one of its jobs."""
        self.abort(error)

    def raise_error(self) -> None:
        """Raise the error that ended the call, if there is one."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def notify(self) -> None:
        """Wake the task in `wait_for_change`."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def wait_for_change(self) -> None:
        """Wait for the next `notify`; check for changes before calling this."""
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None


class WaitedJob(Protocol):
    """The part of a job that its waiters use."""

    generation_id: str
    api_project_id: str | None
    last_progress: GenerationProgress | None
    failure: DiffioError | None

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        ...

    def expire(self, waiter: Waiter) -> None:
        """End a wait whose deadline has passed."""
        ...


@define(eq=False)
class Waiter:
    """Interest of one subscription in one job; `deadline` is an instant of the loop."""

    subscription: Subscription
    job: WaitedJob
    #: Context of the call, for polls.
    context: Context = field(factory=copy_context)
    deadline: float = math.inf
    #: Whether the wait ends with the first response, whatever it contains.
    poll_once: bool = False
    #: The progress that was last reported to it.
    last_progress: GenerationProgress | None = None
    #: Whether `last_progress` is from a poll of this job alone, not from a listing.
    from_single_poll: bool = True
    closed: bool = False

    def is_rescaled(self, progress: GenerationProgress, *, from_single_poll: bool) -> bool:
        """Return whether a lower percentage is due to the scale: listings use another one."""
        last = self.last_progress
        return (
            last is not None
            and self.from_single_poll != from_single_poll
            and status_rank(progress.status) == status_rank(last.status)
            and progress.percent < last.percent
        )

    def timeout_error(self, progress: GenerationProgress | None) -> WaitTimeout:
        """Return the error of a wait whose deadline has passed.

        Its cause is the error of the last poll, if that failed.
        """
        job, timeout = self.job, self.subscription.timeout or 0.0
        # A job without any response may not exist: the message does not claim that it continues.
        status = f"was {masked_excerpt(progress.status)!r}" if progress else "had no response"
        hint = "; it continues" if progress else ""
        error = WaitTimeout(
            f"generation {masked_excerpt(job.generation_id)} {status} after {timeout:g} s{hint}: "
            "wait again with the same ids, or with a longer timeout",
            progress=progress,
        )
        error.generation_id, error.api_project_id = job.generation_id, job.api_project_id
        error.__cause__ = None if job.failure is None else copy_error(job.failure)
        return error


def result_of(progress: GenerationProgress) -> GenerationProgress | DiffioError:
    """Return what a wait returns or raises at this end: the progress, or `GenerationFailed`."""
    if progress.complete:
        return progress
    reason = masked_excerpt(progress.reason or "")
    error = GenerationFailed(
        f"generation {masked_excerpt(progress.generation_id)} ended as "
        f"{masked_excerpt(progress.status)!r}" + (f": {reason}" if reason else " without a reason"),
        progress=progress,
    )
    error.generation_id, error.api_project_id = progress.generation_id, progress.api_project_id
    return error


def copy_error(error: DiffioError) -> DiffioError:
    """Return a copy of an error for another waiter: each place that raises one adds to it."""
    twin = copy.copy(error)
    notes = getattr(error, "__notes__", None)
    if notes is not None:
        twin.__notes__ = list(notes)
    twin.__cause__, twin.__traceback__ = error.__cause__, error.__traceback__
    return twin
