"""Several workers at once: the first failure stops the others and is raised as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def run_workers(work: Callable[[], Awaitable[None]], count: int) -> None:
    """Run `count` of `work` until all end; a failure cancels the rest, and no group wraps it."""
    if count == 1:
        await work()
        return
    failures: list[Exception] = []

    async def guarded() -> None:
        try:
            await work()
        except Exception as failure:  # noqa: BLE001 - raised again below
            failures.append(failure)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(guarded)
    if failures:
        raise failures[0]
