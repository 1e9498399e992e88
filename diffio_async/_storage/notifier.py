"""Versioned notification of changes to waiting tasks of any event loop or thread."""

from __future__ import annotations

import asyncio
import contextlib
import itertools


class Notifier:
    """Notifies waiting tasks of changes. There is no lock: each operation on the set is atomic."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        #: Changes with each notification: read it before the data, and no change is missed.
        self.version = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake all waiting tasks; may be called on any thread."""
        self.version = next(self._numbers)
        for waiter in self._waiters.copy():
            with contextlib.suppress(RuntimeError):  # its loop is closed
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    async def wait(self, seen: int, seconds: float) -> bool:
        """Wait for a version other than `seen`; return False after so many seconds without one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            if self.version == seen:
                await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.discard(waiter)
        return self.version != seen


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
