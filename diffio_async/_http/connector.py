"""aiohttp's connector and time-outs: limits of the phases of an attempt."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import aiohttp

from diffio_async._http.aiohttp_internals import has_input

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection


class PhaseLimit:
    """Time limit of an attempt's current phase, and of its phases together.

    The phases are connecting, waiting for the headers of the response, and receiving a small body.
    It refers to the time-out, and so to the task, only weakly: an open connection keeps the context
    in which it was created, with this object.

    Attributes:
        established: Whether there is a connection, new or reused: bytes may have been sent.
        connecting: Whether a connection is being made, perhaps in place of one that was closed.
    """

    __slots__ = (
        "_connect",
        "_headers",
        "_sends_body",
        "_timeout",
        "_total",
        "connecting",
        "established",
    )

    def __init__(
        self,
        timeout: asyncio.Timeout,
        connect: float | None,
        headers: float | None,
        *,
        sends_body: bool,
    ) -> None:
        self._timeout, self._total = weakref.ref(timeout), timeout.when()
        self._connect, self._headers, self._sends_body = connect, headers, sends_body
        self.established = self.connecting = False

    def on_connecting(self) -> None:
        """Limit a new connection: name look-up, TCP, proxy and TLS, without waiting for a slot."""
        self.connecting = True
        self._restart(self._connect)

    def on_connected(self) -> None:
        """Limit the headers, unless a body is sent first, which may take hours."""
        self.established, self.connecting = True, False
        self._restart(None if self._sends_body else self._headers)

    def on_received(self) -> None:
        """Limit the body after the headers were received."""
        self._restart(self._headers)

    def on_sent(self) -> None:
        """Limit the headers after a body was sent."""
        self._restart(self._headers)

    @property
    def total_expired(self) -> bool:
        """Return whether the limit of all phases is the one that has ended."""
        timeout = self._timeout()
        return timeout is not None and timeout.when() == self._total

    def deadline(self, seconds: float | None) -> float | None:
        """Return the loop's time in so many seconds, but not after that of all phases."""
        if seconds is None:
            return self._total
        when = asyncio.get_running_loop().time() + seconds
        return when if self._total is None else min(when, self._total)

    def _restart(self, seconds: float | None) -> None:
        timeout = self._timeout()
        if timeout is None or (seconds is None and timeout.when() == self._total):
            return
        # A response may arrive before its request was sent completely: the limit has ended then.
        with contextlib.suppress(RuntimeError):
            timeout.reschedule(self.deadline(seconds))


@lru_cache(maxsize=16)
def stall_timeout(read: float | None) -> aiohttp.ClientTimeout:
    """Return aiohttp's limit between two chunks of a response, in place of its limits in total."""
    return aiohttp.ClientTimeout(total=None, sock_read=read)


#: The limit of the attempt that the current task makes.
current_phase: ContextVar[PhaseLimit] = ContextVar("current_phase")


class Connector(aiohttp.TCPConnector):
    """Notifies the current `PhaseLimit` of connections.

    A `TraceConfig` could do so, but aiohttp then emits six signals for each request, which takes a
    tenth of the CPU time of a call.
    """

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """Return a connection: a new one, or one without unread input."""
        phase = current_phase.get()
        connection = await super().connect(*args, **kwargs)
        while not phase.connecting and has_input(connection):
            connection.close()
            connection = await super().connect(*args, **kwargs)
        phase.on_connected()
        return connection

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        current_phase.get().on_connecting()
        return await super()._create_connection(*args, **kwargs)
