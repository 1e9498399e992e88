"""aiohttp's sessions: one for each running loop, closed with it, abandoned after a fork."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

import aiohttp
from attrs import define, field

from diffio_async import _system
from diffio_async._http.aiohttp_internals import abort_connections
from diffio_async._http.connector import Connector, LimitTimer
from diffio_async._http.proxies import Proxies
from diffio_async._http.shutdown import CLOSED
from diffio_async._storage.files import connections_per_host
from diffio_async._storage.loops import remove_closed_loops
from diffio_async.errors import ClientClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async.options import ClientOptions

Loop = asyncio.AbstractEventLoop

#: Bytes of one header, or of the status line, that a response may have.
MAX_HEADER = 256 * 1024


@define
class SessionEntry:
    """A session, the responses that are being read, and the generator that closes it.

    Attributes:
        limit_timer: The timer of the time limits of its attempts.
    """

    session: aiohttp.ClientSession
    closer: AsyncGenerator[None, None]
    reading: set[aiohttp.ClientResponse] = field(factory=set)
    limit_timer: LimitTimer = field(factory=LimitTimer)

    async def close(self) -> None:
        """Close the session, and the responses, whose readers aiohttp would let wait forever."""
        for response in list(self.reading):
            response.close()
        await self.session.close()
        await self.closer.aclose()

    async def close_without_loop(self) -> None:
        """Close a session whose loop was closed.

        Raises:
            RuntimeError: A part of it cannot be closed without the loop.
        """
        responses = list(self.reading)
        abort_connections(self.session.connector)
        # Without a loop this waits for nothing: it only marks the parts as closed.
        await self.close()
        for response in responses:
            if response.connection is not None:
                response.connection.close()


async def _close_with_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Close a session when its loop finalises generators, also if the client is never closed."""
    try:
        yield
    finally:
        await session.close()


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()
# Sessions of a stopped loop, or of the process before a fork. They are never finalised: that would
# unregister descriptors for which the parent waits.
_abandoned: list[object] = []
_closings: set[asyncio.Task[None]] = set()


class Sessions:
    """The sessions of one client."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._kept: dict[Loop, SessionEntry] = {}
        self._proxies = Proxies(options.proxy, trust_env=options.trust_env)
        self.closed = False
        _all.add(self)

    @property
    def open(self) -> int:
        """Return the number of sessions that neither `aclose` nor the end of a loop closed."""
        return sum(not kept.session.closed for kept in list(self._kept.values()))

    def idle_loops(self) -> list[Loop]:
        """Return the loops with an open session that are stopped, but not closed."""
        loops = list(self._kept)  # other threads may add theirs meanwhile
        return [loop for loop in loops if not (loop.is_running() or loop.is_closed())]

    async def session(self) -> SessionEntry:
        """Return the session of the running loop.

        Raises:
            ClientClosed: `aclose` was called.
        """
        if self.closed:
            raise ClientClosed(CLOSED)
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None or kept.session.closed:
            session = self._open_session()
            kept = self._kept[loop] = SessionEntry(session, _close_with_loop(session))
            await anext(kept.closer)
            await self._close_dead_loops()
        return kept

    def _open_session(self) -> aiohttp.ClientSession:
        options = self._options
        connector = Connector(
            # One limit per host, so that transfers do not block the API's calls.
            limit=0,
            limit_per_host=connections_per_host(options),
            ssl=options.ssl if options.ssl is not None else True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # aiohttp would send passwords of a .netrc file to signed links.
            trust_env=False,
            read_bufsize=256 * 1024,
            # Gateways add headers of many KiB (policies, traces), which are ignored.
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy for a URL; None if it is requested directly.

        Raises:
            ConfigurationError: The environment names an invalid proxy.
        """
        return self._proxies.address_for(url) if self._proxies.configured else None

    async def _close_dead_loops(self) -> None:
        # Loops that were closed after `new_event_loop` and `run_until_complete`.
        for loop in list(self._kept):
            kept = self._kept.pop(loop, None) if loop.is_closed() else None
            if kept is None or kept.session.closed:
                continue
            try:
                await kept.close_without_loop()
            except RuntimeError:
                _abandoned.append(kept)

    def abandon(self) -> None:
        """Forget the sessions without finalising them, in the child of a fork."""
        _abandoned.append(dict(self._kept))
        self._kept.clear()

    async def aclose(self) -> None:
        """Close the sessions; abandon those of loops that are stopped, but not closed."""
        self.closed = True
        if not self._kept:  # needs no loop
            return
        await self._close_dead_loops()
        here = asyncio.get_running_loop()
        ours = []
        while self._kept:
            loop, kept = self._kept.popitem()
            if loop is here:
                ours.append(kept)
            elif not _close_in_its_loop(loop, kept):
                _abandoned.append(kept)
        for kept in ours:
            await kept.close()


class ConnectionCounter:
    """Counts the connections of all downloads of a client, for each loop.

    The first connection of a download is always allowed.
    """

    def __init__(self, limit: int) -> None:
        self.max = limit
        self._open: dict[asyncio.AbstractEventLoop, int] = {}

    @property
    def free(self) -> int:
        """Return how many more connections the running loop may open."""
        return self.max - self._open.get(asyncio.get_running_loop(), 0)

    def track(self, connection: asyncio.Task[None]) -> None:
        """Count a connection until its task ends."""
        loop = asyncio.get_running_loop()
        remove_closed_loops(self._open)
        self._open[loop] = self._open.get(loop, 0) + 1
        connection.add_done_callback(lambda _: self._ended(loop))

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        self._open[loop] -= 1


def _close_in_its_loop(loop: Loop, kept: SessionEntry) -> bool:
    """Close a session in the thread of its loop, if that runs; return whether it does."""

    def close() -> None:
        task = loop.create_task(kept.close())
        # The loop holds tasks only weakly.
        _closings.add(task)
        task.add_done_callback(_closings.discard)

    try:
        if loop.is_running():
            loop.call_soon_threadsafe(close)
            return True
    except RuntimeError:
        pass  # the loop was closed in the meantime
    return False


def _after_fork() -> None:
    for sessions in _all:
        sessions.abandon()


_system.register_at_fork(after_in_child=_after_fork)
