"""Wakes who waits for an inbox to change, on whichever event loop or thread they are."""

from __future__ import annotations

import asyncio
import contextlib
import itertools


class Bell:
    """Rung after each change. There is no lock: each step on the set is atomic."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        #: Another one after each ring: who looks at it before looking for changes misses none.
        self.rung = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake everybody; from any thread."""
        self.rung = next(self._numbers)
        for waiting in self._waiting.copy():
            with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                waiting.get_loop().call_soon_threadsafe(_wake, waiting)

    async def wait(self, seen: int, seconds: float) -> bool:
        """Whether it was rung since `rung` was `seen`; waits for so many seconds."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            if self.rung == seen:
                await asyncio.wait([waiting], timeout=seconds)
        finally:
            self._waiting.discard(waiting)
        return self.rung != seen


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
