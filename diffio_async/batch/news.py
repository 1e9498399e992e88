"""Something happened: wakes whoever waits for the next thing to do."""

from __future__ import annotations

import asyncio
import contextlib


class News:
    """Told by one, heard by all who wait; what is told while nobody waits is not lost."""

    def __init__(self) -> None:
        self._told = 0
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake all who wait."""
        self._told += 1
        self._event.set()
        self._event = asyncio.Event()

    @property
    def told(self) -> int:
        """How often: what to pass to `wait`, read before looking whether there is work."""
        return self._told

    async def wait(self, since: int, seconds: float) -> None:
        """Return when something was told after `since`, or after so many seconds."""
        if self._told != since:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
