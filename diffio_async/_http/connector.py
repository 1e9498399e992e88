"""aiohttp's connector and time-outs: limits of the phases of an attempt."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import aiohttp

from diffio_async._http.aiohttp_internals import has_input

if TYPE_CHECKING:
    from types import TracebackType

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection


class LimitTimer:
    """Ends the attempts on one event loop whose time is over.

    asyncio's time-outs set a timer for each attempt, which takes a tenth of the CPU time of a call.
    This one is set rarely: limits that are added later mostly end later too.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._limits: set[PhaseLimit] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._when = math.inf

    def watch(self, limit: PhaseLimit) -> None:
        """End a limit at the time `limit.when`, which may have changed."""
        self._limits.add(limit)
        if limit.when < self._when:
            self._schedule(limit.when)

    def discard(self, limit: PhaseLimit) -> None:
        """Let a limit run on."""
        self._limits.discard(limit)

    def _schedule(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._when, self._handle = when, self.loop.call_at(when, self._end)

    def _end(self) -> None:
        self._when, self._handle = math.inf, None
        now = self.loop.time()
        for limit in [each for each in self._limits if each.when <= now]:
            self._limits.discard(limit)
            limit.end()
        when = min((each.when for each in self._limits), default=math.inf)
        if when < math.inf:
            self._schedule(when)


class PhaseLimit:
    """Time limit of an attempt's current phase, and of its phases together.

    The phases are connecting, waiting for the headers of the response, and receiving a small body.
    A `with` statement that it ends is left without an exception. An open connection keeps the
    context in which it was created, with this object, which therefore forgets the task.

    Attributes:
        when: The loop's time at which the current phase ends.
        established: Whether there is a connection, new or reused: bytes may have been sent.
        connecting: Whether a connection is being made, perhaps in place of one that was closed.
    """

    __slots__ = (
        "_cancelling",
        "_connect",
        "_ended",
        "_headers",
        "_last",
        "_sends_body",
        "_task",
        "_timer",
        "connecting",
        "established",
        "when",
    )

    def __init__(
        self,
        timer: LimitTimer,
        total: float | None,
        connect: float | None,
        headers: float | None,
        *,
        sends_body: bool,
    ) -> None:
        self._timer = timer
        self.when = self._last = math.inf if total is None else timer.loop.time() + total
        self._connect, self._headers, self._sends_body = connect, headers, sends_body
        self._task: asyncio.Task[object] | None = None
        self.established = self.connecting = self._ended = False

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        self._cancelling = 0 if task is None else task.cancelling()
        self._timer.watch(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._timer.discard(self)
        task, self._task = self._task, None
        # Otherwise somebody else cancelled the task too.
        ours = self._ended and task is not None and task.uncancel() <= self._cancelling
        return ours and isinstance(error, asyncio.CancelledError)

    def end(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._ended = True
            self._task.cancel()

    def on_connecting(self) -> None:
        """Limit a new connection: name look-up, TCP, proxy and TLS, without waiting for a slot."""
        self.connecting = True
        self._restart(self._connect)

    def on_connected(self) -> None:
        """Limit the headers, unless a body is sent first, which may take hours."""
        self.established, self.connecting = True, False
        self._restart(None if self._sends_body else self._headers)

    def on_sent(self) -> None:
        """Limit the headers after a body was sent."""
        self._restart(self._headers)

    def on_headers(self, seconds: float | None) -> None:
        """Limit the body after the headers were received."""
        self._restart(seconds)

    @property
    def total_expired(self) -> bool:
        """Return whether the limit of all phases is the one that has ended."""
        return self.when == self._last

    def deadline(self, seconds: float | None) -> float:
        """Return the loop's time in so many seconds, but not after that of all phases."""
        return self._last if seconds is None else min(self._last, self._timer.loop.time() + seconds)

    def _restart(self, seconds: float | None) -> None:
        # A response may arrive before its request was sent completely: the limit has ended then.
        if self._task is not None and not self._ended:
            self.when = self.deadline(seconds)
            self._timer.watch(self)


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
