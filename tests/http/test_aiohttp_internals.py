"""Use of undocumented parts of aiohttp and asyncio, and the fallback without them.

CI runs these tests and those of closed loops (`test_closed_loops`) on the lowest supported version
of aiohttp and on the newest.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import weakref
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yarl
from aiohttp.client_proto import ResponseHandler

from diffio_async import ClientOptions, Timeouts
from diffio_async._http.aiohttp_internals import (
    BodyReceiver,
    abort_connections,
    close_idle_connections,
    take_over_connection,
    unread_bytes,
)
from diffio_async._http.exchange import Attempt, Exchange, fetch
from diffio_async._http.sessions import Sessions
from diffio_async._protocol.requests import signed_url_request
from tests.http.peers import peer, responds

BODY = os.urandom(6 * 2**20)


async def received(url: str) -> tuple[bytes, bool]:
    """Return a response, and whether its connection was taken over from aiohttp."""
    sessions = Sessions(ClientOptions())
    attempt = Attempt(request=signed_url_request("GET", url, {}), timeouts=Timeouts())
    try:
        async with Exchange(sessions, attempt) as exchange:
            taken_over = isinstance(exchange._receiver, BodyReceiver)
            body = bytearray()
            async with contextlib.aclosing(exchange.iter_bytes()) as pieces:
                async for piece in pieces:
                    body += piece
            return bytes(body), taken_over
    finally:
        await sessions.aclose()


async def test_a_large_body_is_received_directly() -> None:
    async with peer(responds(200, BODY)) as host:
        assert await received(host.url()) == (BODY, True)


NAMES = {"read_timeout", "start_timeout", "set_response_params"}


@pytest.mark.parametrize("name", sorted(NAMES))
async def test_without_the_handlers_attributes_aiohttp_reads_the_body(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The result is the same: the connection stays with aiohttp."""

    def take_over(response: Any, stall: float | None) -> BodyReceiver | None:
        incomplete: Any = _Without(response, name)
        return take_over_connection(incomplete, stall)

    monkeypatch.setattr("diffio_async._http.exchange.take_over_connection", take_over)
    async with peer(responds(200, BODY)) as host:
        assert await received(host.url()) == (BODY, False)


class _Without:
    """A response whose connection's protocol lacks an attribute."""

    def __init__(self, response: Any, name: str) -> None:
        self._response = response
        self.protocol = SimpleNamespace(**dict.fromkeys(NAMES - {name}))
        self.transport = response.connection.transport
        self.connection = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


async def test_an_open_connection_does_not_keep_the_task_that_opened_it() -> None:
    """The task can be collected, with what it holds, although its connection is reused."""
    sessions = Sessions(ClientOptions())
    async with peer(responds(200, b"{}"), keep=True) as host:
        attempt = Attempt(request=signed_url_request("GET", host.url(), {}), timeouts=Timeouts())
        first = asyncio.create_task(fetch(sessions, attempt, 10))
        await first
        task = weakref.ref(first)
        del first
        await fetch(sessions, attempt, 10)
        gc.collect()
        assert (task(), host.connections) == (None, 1)
        await sessions.aclose()


async def test_bytes_before_a_failure_can_be_read() -> None:
    """Aiohttp itself would raise the failure first."""
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(ResponseHandler(loop), 2**16, loop=loop)
    content.feed_data(b"before ")
    assert await content.read(3) == b"bef"
    content.feed_data(b"the failure")
    content.set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await content.readany()
    assert unread_bytes(content) == b"ore the failure"
    assert unread_bytes(content) == b""


def test_objects_without_these_attributes_are_left_unchanged() -> None:
    content: Any = object()
    assert unread_bytes(content) == b""
    for connector in (None, content):
        abort_connections(connector)
        close_idle_connections(connector, yarl.URL("http://127.0.0.1/"))
