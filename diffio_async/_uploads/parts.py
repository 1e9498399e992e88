"""Parts of an upload: their plan, their request bodies and their progress."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._http.request_body import InFlightPart, StreamingBody
from diffio_async._http.transfers import ThroughputMeter, call_progress_callback
from diffio_async._storage.threads import wait_uncancelled
from diffio_async._uploads.source import CHUNK, Source
from diffio_async.errors import InvalidResponse
from diffio_async.events import UploadProgress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from diffio_async._uploads.limiter import UploadLimiter
    from diffio_async.types import Callback

#: Ten times the limit of object storage; bounds the memory of a plan for an invalid part size.
MAX_PARTS = 100_000


@frozen
class Part:
    """Bytes `offset` to `offset + size` of the source are part `number`, counted from 1."""

    number: int
    offset: int
    size: int


def plan_parts(size: int, part_size: int) -> list[Part]:
    """Split a source into parts of `part_size` bytes, the last one shorter.

    An empty file is one empty part.

    Raises:
        InvalidResponse: The part size of the offer is not positive, or far too small.
    """
    if part_size < 1:
        raise InvalidResponse(f"the upload offer sets a part size of {part_size} bytes")
    count = max(1, -(-size // part_size))
    if count > MAX_PARTS:
        raise InvalidResponse(
            f"the upload offer sets a part size of {part_size:,} bytes: {size:,} bytes would be "
            f"more than {MAX_PARTS:,} parts"
        )
    return [
        Part(number=n + 1, offset=n * part_size, size=min(part_size, size - n * part_size))
        for n in range(count)
    ]


#: Bytes to write per iteration of the event loop, and the smallest read worth a thread switch.
MAX_CHUNK, MIN_CHUNK = 3 * CHUNK, CHUNK // 4


def limited_part_body(
    limiter: UploadLimiter,
    upload: object,
    source: Source,
    part: Part,
    on_written: Callable[[int], None],
) -> StreamingBody:
    """Return a part as a request body that holds a slot of `upload` during each attempt."""
    in_flight = InFlightPart()
    return StreamingBody(
        source,
        part.offset,
        part.size,
        on_written,
        flight=in_flight,
        chunk=lambda: chunk_size(limiter.limit),
        slot=lambda: limiter.slot(upload, in_flight),
    )


def chunk_size(slots: int) -> int:
    """Return the chunk size in bytes for a number of concurrent parts.

    All parts may write in one iteration of the loop, and encrypting a megabyte takes a millisecond
    or two: chunks shrink as the number of parts grows.
    """
    return max(MIN_CHUNK, min(CHUNK, MAX_CHUNK // slots))


class UploadProgressReporter:
    """Counts written bytes per part and reports the total; a retried part starts at 0.

    A separate task calls the user's callback, one call at a time. The tasks that write bodies
    cannot: they end as soon as the server responds, and several run at once.
    """

    def __init__(self, total: int, callback: Callback[UploadProgress] | None) -> None:
        self._total, self._callback = total, callback
        self._by_part: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._finished = False

    def part_callback(self, number: int) -> Callable[[int], None]:
        """Return the callback that receives the written bytes of part `number`."""

        def count(done: int) -> None:
            self._by_part[number] = done
            if done:
                self._changed.set()

        return count

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report progress during the body; after success, the last report is the total."""
        if self._callback is None:
            yield
            return
        reporter = asyncio.create_task(self._report(self._callback))
        try:
            yield
            self._finished = True
            self._changed.set()
            await reporter
        finally:
            reporter.cancel()
            await wait_uncancelled(reporter)

    async def _report(self, callback: Callback[UploadProgress]) -> None:
        reported, meter, now = -1, ThroughputMeter(), asyncio.get_running_loop().time
        while not self._finished or reported != self._total:
            await self._changed.wait()
            self._changed.clear()
            # Changes during a callback are reported as one.
            sent = self._total if self._finished else sum(self._by_part.values())
            if sent != reported:
                reported = sent
                rate = meter.update(sent, now())
                await call_progress_callback(
                    callback, UploadProgress(sent=sent, total=self._total, rate=rate)
                )
