"""aiohttp's sessions: two for each running loop, closed with it, set aside after a fork."""

from __future__ import annotations

import asyncio
import os
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
from attrs import define, field

from diffio_async._http.dead_loops import close_session_of_dead_loop
from diffio_async._http.proxies import Proxies
from diffio_async._http.shutdown import CLOSED
from diffio_async._storage.descriptors import connections_per_host
from diffio_async.errors import ClientClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

    from diffio_async.options import ClientOptions

Loop = asyncio.AbstractEventLoop

#: Bytes of one header, or of the status line, that a response may have.
MAX_HEADER = 256 * 1024


@define
class Connection:
    """The connection of one attempt.

    Attributes:
        seconds: How long making one may take. Waiting for a free place is not making one.
        established: Whether there is one, new or kept: from then on, bytes may have left.
        on_had: Called when there is one.
    """

    seconds: float | None
    established: bool = False
    on_had: Callable[[], None] = lambda: None


#: The connection of the attempt that the running task makes.
current_connection: ContextVar[Connection] = ContextVar("attempting")


class Connector(aiohttp.TCPConnector):
    """Tells each attempt when it has its connection, and gives up on making one in time.

    aiohttp's own tracing reports the same by signals, beside a dozen that are not needed; its own
    limits leave out a proxy that says nothing, and count the wait for a free place.
    """

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Give a connection, a new one or one that was kept."""
        mine = current_connection.get()  # now: another task may share the context
        given = await super().connect(req, traces, timeout)
        mine.established = True
        mine.on_had()
        return given

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        # Name look-up, TCP, the proxy's response and TLS together.
        async with asyncio.timeout(current_connection.get().seconds):
            return await super()._create_connection(req, traces, timeout)


@define
class SessionEntry:
    """A session, what is read over it now, and the generator that closes it with its loop."""

    session: aiohttp.ClientSession
    closer: AsyncGenerator[None, None]
    reading: set[aiohttp.ClientResponse] = field(factory=set)

    async def close(self) -> None:
        """Close the session. What is being read fails; aiohttp alone would let it wait for ever."""
        for response in list(self.reading):
            response.close()
        await self.session.close()
        await self.closer.aclose()


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    # A loop that is run to its end finalises its generators: nothing is left to warn about,
    # even where the user never closed the client.
    try:
        yield
    finally:
        await session.close()


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()
# Sessions of a loop that stands still, or of the process before a fork: to finalise them would
# unregister descriptors that the parent still waits on.
_abandoned: list[object] = []
_closings: set[asyncio.Task[None]] = set()


class Sessions:
    """The sessions of one client."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._kept: dict[tuple[Loop, bool], SessionEntry] = {}
        self._proxies = Proxies(options.proxy, trust_env=options.trust_env)
        self.closed = False
        _all.add(self)

    @property
    def open(self) -> int:
        """Return how many neither `aclose` nor the end of their loop closed."""
        return sum(not kept.session.closed for kept in list(self._kept.values()))

    async def session(self, *, fresh: bool) -> SessionEntry:
        """The session of the running loop; with `fresh` the one that never reuses a connection.

        Raises:
            ClientClosed: `aclose` was called.
        """
        if self.closed:
            raise ClientClosed(CLOSED)
        loop = asyncio.get_running_loop()
        kept = self._kept.get((loop, fresh))
        if kept is None or kept.session.closed:
            session = self._opened(fresh=fresh)
            kept = self._kept[loop, fresh] = SessionEntry(session, _closing(session))
            await anext(kept.closer)
            await self._close_dead_loops()
        return kept

    def _opened(self, *, fresh: bool) -> aiohttp.ClientSession:
        options = self._options
        connector = Connector(
            # One limit for each origin, so that transfers never starve the API's calls.
            limit=0,
            limit_per_host=connections_per_host(options),
            force_close=fresh,
            ssl=options.ssl if options.ssl is not None else True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Never aiohttp's: it would send the passwords of a .netrc to signed links.
            trust_env=False,
            read_bufsize=256 * 1024,
            # Gateways add headers of many KiB (policies, traces), which are not needed here.
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )

    def proxy_for(self, url: str) -> str | None:
        """The proxy for a URL, if any.

        Raises:
            ConfigurationError: The one that the environment names cannot be used.
        """
        return self._proxies.address_for(url)

    async def _close_dead_loops(self) -> None:
        # Loops that were just closed, as `new_event_loop`, `run_until_complete` and `close` do.
        for key in list(self._kept):
            kept = self._kept.pop(key, None) if key[0].is_closed() else None
            if kept is None or kept.session.closed:
                continue
            try:
                await close_session_of_dead_loop(kept)
            except RuntimeError:
                _abandoned.append(kept)

    def abandon(self) -> None:
        """Forget the sessions without finalising them: the child's part after a fork."""
        _abandoned.append(dict(self._kept))
        self._kept.clear()

    async def aclose(self) -> None:
        """Close the sessions; those of loops that are stopped, but not closed, are set aside."""
        self.closed = True
        if not self._kept:  # needs no loop
            return
        await self._close_dead_loops()
        here = asyncio.get_running_loop()
        ours = []
        while self._kept:
            (loop, _), kept = self._kept.popitem()
            if loop is here:
                ours.append(kept)
            elif not _close_in_its_loop(loop, kept):
                _abandoned.append(kept)
        for kept in ours:
            await kept.close()


def _close_in_its_loop(loop: Loop, kept: SessionEntry) -> bool:
    """Close a session in the thread whose loop it belongs to, if that loop runs."""

    def closing() -> None:
        task = loop.create_task(kept.close())
        # The loop itself keeps no task alive.
        _closings.add(task)
        task.add_done_callback(_closings.discard)

    try:
        if loop.is_running():
            loop.call_soon_threadsafe(closing)
            return True
    except RuntimeError:
        pass  # it was closed this very moment
    return False


def _after_fork() -> None:
    for sessions in _all:
        sessions.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

__all__ = ["Connection", "SessionEntry", "Sessions", "current_connection"]
