"""How many connections all downloads of one client have, so that extra ones know their limit."""

from __future__ import annotations

import asyncio


class ConnectionCounter:
    """The downloads' connections on each loop: the first of a download is always let through."""

    def __init__(self, most: int) -> None:
        self.max = most
        self._open: dict[asyncio.AbstractEventLoop, int] = {}

    @property
    def free(self) -> int:
        """How many more the running loop may have."""
        return self.max - self._open.get(asyncio.get_running_loop(), 0)

    def track(self, connection: asyncio.Task[None]) -> None:
        """Count a connection until its task ends."""
        loop = asyncio.get_running_loop()
        for ended in [known for known in self._open if known.is_closed()]:
            del self._open[ended]
        self._open[loop] = self._open.get(loop, 0) + 1
        connection.add_done_callback(lambda _: self._ended(loop))

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        self._open[loop] -= 1
