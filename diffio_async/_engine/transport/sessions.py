"""aiohttp's sessions: two for each running loop, closed with it, set aside after a fork."""

from __future__ import annotations

import asyncio
import os
import urllib.request
import weakref
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from attrs import define

from diffio_async._engine.transport.ladder import CLOSED
from diffio_async._wire.addresses import is_local
from diffio_async.errors import ClientClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import SimpleNamespace

    from diffio_async.options import ClientOptions

Loop = asyncio.AbstractEventLoop


@define
class Connection:
    """Whether this attempt had a connection: from then on, bytes may have left."""

    had: bool = False


async def _mark(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    connection: Connection = context.trace_request_ctx
    connection.had = True


def _tracing() -> aiohttp.TraceConfig:
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(_mark)
    tracing.on_connection_reuseconn.append(_mark)
    return tracing


@define
class _Kept:
    """A session, and the generator that closes it when its loop is shut down."""

    session: aiohttp.ClientSession
    closer: AsyncGenerator[None, None]


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    # A loop that is run to its end finalises its generators: nothing is left to warn about,
    # even where the user never closed the client.
    try:
        yield
    finally:
        await session.close()


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()
# Sessions of a loop that stopped without a clean end, or of the process before a fork: to finalise
# them would unregister descriptors that the parent still waits on.
_set_aside: list[object] = []


class Sessions:
    """The sessions of one client."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._kept: dict[tuple[Loop, bool], _Kept] = {}
        self._proxies = urllib.request.getproxies() if options.trust_env else {}
        self.closed = False
        _all.add(self)

    @property
    def open(self) -> int:
        """How many are open on loops that can still be used."""
        return sum(
            not kept.session.closed
            for (loop, _), kept in self._kept.items()
            if not loop.is_closed()
        )

    async def session(self, *, fresh: bool) -> aiohttp.ClientSession:
        """The session of the running loop; with `fresh` the one that never reuses a connection.

        Raises:
            ClientClosed: `aclose` was called.
        """
        if self.closed:
            raise ClientClosed(CLOSED)
        loop = asyncio.get_running_loop()
        kept = self._kept.get((loop, fresh))
        if kept is None or kept.session.closed:
            self._forget_ended_loops()
            session = self._opened(fresh=fresh)
            kept = self._kept[loop, fresh] = _Kept(session, _closing(session))
            await anext(kept.closer)
        return kept.session

    def _opened(self, *, fresh: bool) -> aiohttp.ClientSession:
        options = self._options
        connector = aiohttp.TCPConnector(
            # One limit for each origin, so that transfers never starve the API's calls.
            limit=0,
            limit_per_host=options.connections,
            force_close=fresh,
            ssl=options.ssl if options.ssl is not None else True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Never aiohttp's: it would send the passwords of a .netrc to signed links.
            trust_env=False,
            read_bufsize=256 * 1024,
            trace_configs=[_tracing()],
        )

    def proxy_for(self, url: str) -> str | None:
        """The proxy for a URL, if any; this machine is never asked for through one."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if is_local(host):
            return None
        if self._options.proxy is not None:
            return self._options.proxy
        if not self._proxies or urllib.request.proxy_bypass(host):
            return None
        return self._proxies.get(parts.scheme) or self._proxies.get("all")

    def _forget_ended_loops(self) -> None:
        for (loop, fresh), kept in list(self._kept.items()):
            if loop.is_closed():
                del self._kept[loop, fresh]
                if not kept.session.closed:
                    _set_aside.append(kept)

    def set_aside(self) -> None:
        """Forget the sessions without finalising them: the child's part after a fork."""
        _set_aside.append(dict(self._kept))
        self._kept.clear()

    async def aclose(self) -> None:
        """Close the sessions of the running loop; those of ended loops are set aside."""
        self.closed = True
        self._forget_ended_loops()
        here = asyncio.get_running_loop()
        for (loop, _), kept in list(self._kept.items()):
            if loop is here:
                await kept.session.close()
                await kept.closer.aclose()
            else:
                _set_aside.append(kept)
        self._kept.clear()


def _after_fork() -> None:
    for sessions in _all:
        sessions.set_aside()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

__all__ = ["Connection", "Sessions"]
