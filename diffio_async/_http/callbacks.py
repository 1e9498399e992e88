"""Progress callbacks: functions or coroutine functions whose failures end no transfer or wait."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeVar

from diffio_async._console import Console
from diffio_async._logging import log
from diffio_async._protocol.redaction import message_excerpt

if TYPE_CHECKING:
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.types import Callback

T = TypeVar("T")

_console = Console()


async def call_progress_callback(
    callback: Callback[T] | None, fact: T, *, log_failure: bool = True
) -> bool:
    """Call a callback, and return whether it returned.

    What it raises is logged if `log_failure`: the job continues, and is billed, all the same.
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
