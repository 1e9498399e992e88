"""Work that a closing client lets tidy up first: it ends as `ClientClosed`, not half open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio

from diffio_async.errors import ClientClosed

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED = "the client is closed: make a new one, or keep this one open around all its calls"


class Closing:
    """What is under way on a client, by its loop."""

    def __init__(self) -> None:
        self._scopes: dict[anyio.CancelScope, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Run the body until it ends or the client is closed.

        Raises:
            ClientClosed: The client was closed meanwhile; the body had time to tidy up.
        """
        ended = asyncio.Event()
        with anyio.CancelScope() as scope:
            self._scopes[scope] = asyncio.get_running_loop(), ended
            try:
                yield
            finally:
                del self._scopes[scope]
                ended.set()
        if scope.cancelled_caught:
            raise ClientClosed(CLOSED)

    async def end(self, seconds: float) -> None:
        """Cancel what is under way on this loop, and wait so long for it to tidy up."""
        here = asyncio.get_running_loop()
        waited = [(s, ended) for s, (loop, ended) in self._scopes.items() if loop is here]
        for scope, _ in waited:
            scope.cancel()
        with anyio.move_on_after(seconds):
            for _, ended in waited:
                await ended.wait()
