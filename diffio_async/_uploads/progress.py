"""How much of an upload was handed over, part by part, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from diffio_async._http.callbacks import call_progress_callback
from diffio_async._protocol.transfer_rate import ThroughputMeter
from diffio_async._storage.threads import wait_uncancelled
from diffio_async.events import UploadProgress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from diffio_async.types import Callback


class UploadProgressReporter:
    """Bytes handed over, by part: a part that is sent again starts at nothing.

    The user is told from a task of its own, one thing after another. The task that writes a body
    is no place for that: it ends as soon as the server answers, and several run at once.
    """

    def __init__(self, total: int, callback: Callback[UploadProgress] | None) -> None:
        self._total, self._callback = total, callback
        self._by_part: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def part_callback(self, number: int) -> Callable[[int], None]:
        """What the body of part `number` tells its bytes to."""

        def count(done: int) -> None:
            self._by_part[number] = done
            if done:
                self._changed.set()

        return count

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Tell the user while the body runs; when it ends well, the last word is the total."""
        if self._callback is None:
            yield
            return
        telling = asyncio.create_task(self._report(self._callback))
        try:
            yield
            self._ended = True
            self._changed.set()
            await telling
        finally:
            telling.cancel()
            await wait_uncancelled(telling)

    async def _report(self, callback: Callback[UploadProgress]) -> None:
        told, meter, now = -1, ThroughputMeter(), asyncio.get_running_loop().time
        while not self._ended or told != self._total:
            await self._changed.wait()
            self._changed.clear()
            # What came while the user was busy is told as one.
            sent = self._total if self._ended else sum(self._by_part.values())
            if sent != told:
                told = sent
                rate = meter.update(sent, now())
                await call_progress_callback(
                    callback, UploadProgress(sent=sent, total=self._total, rate=rate)
                )
