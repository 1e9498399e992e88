"""Progress callbacks: plain functions or coroutine functions, never the end of paid work."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from diffio_async.models.generations import GenerationProgress

T = TypeVar("T")
log = logging.getLogger("diffio_async")

#: Told of progress; what it returns is awaited if it can be, and ignored.
Callback = Callable[[T], object]


async def report(callback: Callback[T] | None, fact: T) -> None:
    """Tell a callback. One that raises is logged: the job goes on, and is billed, all the same."""
    if callback is None:
        return
    try:
        outcome = callback(fact)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        log.exception("a progress callback raised; the work it was told of goes on")


def show(progress: GenerationProgress) -> None:
    """One line of progress on standard error."""
    stage = f" ({progress.stage})" if progress.stage else ""
    print(  # noqa: T201 - this is what show_progress asks for
        f"{progress.generation_id}: {progress.status}{stage} {progress.percent:.0f} %",
        file=sys.stderr,
    )
