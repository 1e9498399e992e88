"""How much of an upload was handed over, part by part."""

from __future__ import annotations

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

    def counter(self, number: int) -> Counter:
        """What the body of part `number` tells its bytes to."""
        return Counter(self, number)

    async def set(self, number: int, done: int) -> None:
        """Part `number` has handed over `done` bytes of its present attempt."""
        self._by_part[number] = done
        if done:
            sent = sum(self._by_part.values())
            await report(self._callback, UploadProgress(sent=sent, total=self._total))


@frozen
class Counter:
    """The tally of one part."""

    tally: Tally
    number: int

    async def __call__(self, done: int) -> None:
        await self.tally.set(self.number, done)
