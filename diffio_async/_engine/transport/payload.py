"""A body streamed by aiohttp: once, with a stall time-out, and with its own failures kept apart."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import aiohttp

from diffio_async._engine.transport.unsent import unsent
from diffio_async.errors import AnswerLost, DiffioError, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

    from diffio_async._engine.bodies import Body


class _Stopped(Exception):
    """Ends aiohttp's writer; private to this file.

    No OSError: aiohttp would take that for the network's, and write the body again.
    """


class Streamed(aiohttp.Payload):
    """A `Body` as aiohttp wants it.

    Attributes:
        failure: What ended the writing from our side, None where the network did.
    """

    def __init__(self, body: Body, stall: float | None, on_sent: Callable[[], None]) -> None:
        super().__init__(body, content_type="application/octet-stream")
        self._size = body.size
        self._body = body
        self._stall = stall
        self._on_sent = on_sent
        self._begun = False
        self.failure: DiffioError | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002
        """Refused: aiohttp asks for it only to show a body."""
        raise TypeError("a streamed body has no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body. aiohttp sends a PUT again by itself; our own retry loop does that."""
        if self._begun:
            self.failure = AnswerLost("the connection broke while the body was sent")
            raise _Stopped
        self._begun = True
        # Taken now: at a cancellation aiohttp has already let go of it.
        transport = writer.transport
        if transport is not None:
            self._body.flight.unsent = partial(unsent, transport)
        try:
            async with contextlib.aclosing(self._body.chunks()) as chunks:
                async for chunk in chunks:
                    await self._push(writer, chunk)
        except DiffioError as failure:
            self.failure = failure
        except BaseException:
            # A peer that does not read would keep the socket, buffers and all.
            if transport is not None:
                transport.abort()
            raise
        if self.failure is not None:
            if transport is not None:
                transport.abort()
            raise _Stopped
        self._on_sent()

    async def _push(self, writer: AbstractStreamWriter, chunk: bytes) -> None:
        # aiohttp's read time-out starts after the last byte: a stalled upload is ours to see.
        cut = asyncio.timeout(self._stall)
        try:
            async with cut:
                await writer.write(chunk)
        except TimeoutError:
            if not cut.expired():
                raise
            raise Timeout(f"the host took no byte of the body for {self._stall:g} s") from None
