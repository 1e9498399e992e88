"""How much of an upload was handed over, part by part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._engine.reporting import report
from diffio_async.events import UploadProgress

if TYPE_CHECKING:
    from diffio_async._engine.reporting import Callback


class Tally:
    """Bytes handed over, by part: a part that is sent again starts at nothing."""

    def __init__(self, total: int, callback: Callback[UploadProgress] | None) -> None:
        self._total, self._callback = total, callback
        self._by_part: dict[int, int] = {}
        # Parts report at once; a coroutine of the user's is told one thing after another.
        self._turn = asyncio.Lock()
        self._told = -1

    def counter(self, number: int) -> Counter:
        """What the body of part `number` tells its bytes to."""
        return Counter(self, number)

    async def set(self, number: int, done: int) -> None:
        """Part `number` has handed over `done` bytes of its present attempt."""
        self._by_part[number] = done
        if done:
            await self._tell()

    async def ended(self) -> None:
        """Every byte is there: the last word is the total, of an empty source too."""
        await self._tell()

    async def _tell(self) -> None:
        if self._callback is None:
            return
        async with self._turn:
            # Counted in turn, so that what was told before is never news again.
            sent = sum(self._by_part.values())
            if sent != self._told:
                self._told = sent
                await report(self._callback, UploadProgress(sent=sent, total=self._total))


@frozen
class Counter:
    """The tally of one part."""

    tally: Tally
    number: int

    async def __call__(self, done: int) -> None:
        await self.tally.set(self.number, done)
