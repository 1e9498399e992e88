"""How many connections all downloads of one client have, so that extra ones know their limit."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class RangesInFlight:
    """The downloads' connections on each loop: the first of a download is always let through."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[asyncio.AbstractEventLoop, int] = {}

    @property
    def free(self) -> int:
        """How many more the running loop may have."""
        return self.most - self._open.get(asyncio.get_running_loop(), 0)

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a connection while the body runs."""
        loop = asyncio.get_running_loop()
        for ended in [known for known in self._open if known.is_closed()]:
            del self._open[ended]
        self._open[loop] = self._open.get(loop, 0) + 1
        try:
            yield
        finally:
            self._open[loop] -= 1
