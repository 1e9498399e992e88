"""Lengths of the recordings of a dry run, from their headers."""

from __future__ import annotations

import asyncio
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._storage.threads import TrackedExecutor
from diffio_async.batch.dry_run import PlannedFile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from diffio_async.models.batches import LeftOut

    #: A length that a thread reads; the result returns it.
    _Measuring = asyncio.Future[Callable[[], float | None]]

#: Files whose headers are read concurrently.
_MAX_PENDING = 4


def can_read_lengths() -> bool:
    """Return whether PyAV and NumPy are installed, of the extras `report` and `sandbox`."""
    return find_spec("av") is not None and find_spec("numpy") is not None


class LengthReader:
    """Reads lengths in threads, while the files are listed.

    Args:
        budget: Seconds that the reading may delay the listing.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._waited = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether no time is left, so that further lengths are unknown."""
        return self._waited >= self.budget

    async def read(
        self, plans: AsyncIterator[PlannedFile | LeftOut]
    ) -> AsyncGenerator[tuple[PlannedFile | LeftOut, float | None]]:
        """Yield each item, and the length of a file that is billed, in seconds; None if unknown."""
        threads = TrackedExecutor()
        pending: deque[tuple[PlannedFile | LeftOut, _Measuring | None]] = deque()
        try:
            async for item in plans:
                future = None
                billed = item.source if isinstance(item, PlannedFile) and item.billed else None
                # An object is not downloaded for its length.
                if isinstance(billed, Path) and not self.exhausted:
                    future = threads.start(_length, billed)
                pending.append((item, future))
                if len(pending) > _MAX_PENDING:
                    first, future = pending.popleft()
                    yield first, await self._result(future)
            while pending:
                first, future = pending.popleft()
                yield first, await self._result(future)
        finally:
            for _, future in pending:
                if future is not None:
                    future.cancel()

    async def _result(self, future: _Measuring | None) -> float | None:
        if future is None:
            return None
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        await asyncio.wait([future], timeout=max(0.0, self.budget - self._waited))
        self._waited += loop.time() - started_at
        return future.result()() if future.done() else None


def _length(path: Path) -> float | None:
    from diffio_async.sandbox.audio import probe

    try:
        return probe(path).seconds
    except Exception:  # noqa: BLE001 - the length is an estimate; a run reports what is wrong
        return None
