"""A stretch of a source as a request's body: streamed afresh for every attempt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from attrs import evolve, frozen

from diffio_async._engine.sources import CHUNK, Source
from diffio_async.options import ClientOptions, RequestOptions, merged


@frozen
class Body:
    """Bytes `offset` to `offset + size` of a source, never held whole.

    `handed_over` is told how many bytes of this attempt went to the connection so far.
    """

    source: Source
    offset: int
    size: int
    handed_over: Callable[[int], None]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, from the first again each time."""
        self.handed_over(0)
        done = 0
        while done < self.size:
            chunk = await self.source.read(self.offset + done, min(CHUNK, self.size - done))
            yield chunk
            done += len(chunk)
            self.handed_over(done)


def unhurried(client: ClientOptions, call: RequestOptions | None) -> RequestOptions:
    """The options of a call that sends a body: its retries have no budget of seconds.

    On a slow line one part takes longer than any budget, and deserves its second try all the
    same: attempts are counted, and a stall ends, but time is not.
    """
    retry = merged(client, call).retry
    return evolve(call or RequestOptions(), retry=evolve(retry, budget=None))
