"""How a wait ends, in words: failures and time-outs with all that is known of the job."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from diffio_async._protocol.api_errors import message_excerpt
from diffio_async.errors import GenerationFailed, WaitTimeout

if TYPE_CHECKING:
    from diffio_async._polling.subscriptions import Waiter
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import GenerationProgress


def generation_failed(progress: GenerationProgress) -> GenerationFailed:
    """The error of a generation that ended without a result, with the service's reason."""
    reason = message_excerpt(progress.reason or "")
    error = GenerationFailed(
        f"generation {message_excerpt(progress.generation_id)} ended as "
        f"{message_excerpt(progress.status)!r}"
        + (f": {reason}" if reason else " without a reason"),
        progress=progress,
    )
    error.generation_id, error.api_project_id = progress.generation_id, progress.api_project_id
    return error


def wait_timeout(waiter: Waiter, progress: GenerationProgress | None) -> WaitTimeout:
    """The error of a wait whose deadline came first; the last failure to ask is its cause."""
    job, timeout = waiter.job, waiter.wait.timeout or 0.0
    # What was never seen is not said to go on: there may be no such generation.
    status = f"was {message_excerpt(progress.status)!r}" if progress else "had given no answer"
    goes_on = "; it goes on" if progress else ""
    error = WaitTimeout(
        f"generation {message_excerpt(job.generation_id)} {status} after {timeout:g} s"
        f"{goes_on}: wait again with the same ids, or with a longer timeout",
        progress=progress,
    )
    error.generation_id, error.api_project_id = job.generation_id, job.api_project_id
    error.__cause__ = None if job.failure is None else copy_error(job.failure)
    return error


def copy_error(error: DiffioError) -> DiffioError:
    """The same error for somebody else: each who raises one adds to it."""
    twin = copy.copy(error)
    notes = getattr(error, "__notes__", None)
    if notes is not None:
        twin.__notes__ = list(notes)
    twin.__cause__, twin.__traceback__ = error.__cause__, error.__traceback__
    return twin
