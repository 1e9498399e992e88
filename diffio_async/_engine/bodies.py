"""A stretch of a source as a request's body: streamed afresh for every attempt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from diffio_async._engine.air import Air, Flight
from diffio_async._engine.sources import CHUNK, Source
from diffio_async.options import ClientOptions, RequestOptions

if TYPE_CHECKING:
    from diffio_async._wire.parts import Part

#: Bytes that may be written in one turn of the loop, and the least that is worth a thread's hop.
AT_ONCE, SMALLEST = 3 * CHUNK, CHUNK // 4


@frozen
class Body:
    """Bytes `offset` to `offset + size` of a source, never held whole.

    `handed_over` is told how many bytes of this attempt went to the connection so far, and so is
    the `flight`.
    """

    source: Source
    offset: int
    size: int
    handed_over: Callable[[int], None]
    flight: Flight = field(factory=Flight)
    #: Bytes that are read and written in one go.
    chunk: Callable[[], int] = lambda: CHUNK
    #: Held during each attempt, and not in the pauses between them.
    place: Callable[[], AbstractAsyncContextManager[None]] = nullcontext

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, from the first again each time."""
        self.handed_over(0)
        done = 0
        while done < self.size:
            chunk = await self.source.read(self.offset + done, min(self.chunk(), self.size - done))
            done += len(chunk)
            # Now, though it is only being written: what is not through is told by the connection.
            self.flight.handed = done
            yield chunk
            self.handed_over(done)


def aloft(
    air: Air,
    whose: object,
    source: Source,
    part: Part,
    handed_over: Callable[[int], None],
) -> Body:
    """A part as a body that takes a place in the air for each attempt, in the turn of `whose`."""
    flight = Flight()
    return Body(
        source,
        part.offset,
        part.size,
        handed_over,
        flight=flight,
        chunk=lambda: chunk_of(air.limit),
        place=lambda: air.place(whose, flight),
    )


def chunk_of(places: int) -> int:
    """Bytes in one go where so many are in the air.

    All may be written in one turn of the loop, and encrypting a megabyte takes a millisecond or
    two: the more there are, the less of each.
    """
    return max(SMALLEST, min(CHUNK, AT_ONCE // places))


def unhurried(client: ClientOptions, call: RequestOptions | None) -> RequestOptions:
    """The options of a call that sends a body: its retries have no budget of seconds.

    On a slow line one part takes longer than any budget, and deserves its second try all the
    same: attempts are counted, and a stall ends, but time is not.
    """
    call = call or RequestOptions()
    return evolve(call, retry=evolve(call.retry or client.retry, budget=None))
