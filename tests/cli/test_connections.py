"""Connection limits of `webhooks listen`: idle and incomplete requests are closed."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, web

from diffio_async.cli.webhooks.listen import Connections, Limits, listen
from tests.ports import free_port
from tests.webhooks.scenes import SECRET, body_of, headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = Limits(headers=0.1, idle=0.1, body=0.1, connections=20)
HALVES = {
    "nothing": b"",
    "half a header": b"POST / HTTP/1.1\r\nHost: x\r\nX-Slo",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
    "half a chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx",
    "a request and nothing more": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
    "a request and half of one": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabPOST / HTTP/1.1\r\nHo"
    ),
}


@contextlib.asynccontextmanager
async def served(limits: Limits, seconds: float = 0.0) -> AsyncIterator[int]:
    """Run a server with these limits and a handler of this duration; its port."""
    connections = Connections(limits)

    async def handle(request: web.BaseRequest) -> web.Response:
        async with connections.handling(request):
            await request.read()
            await asyncio.sleep(seconds)
            return web.Response(text="there")

    server = web.Server(handle)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(connections.protocol_factory(server), "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.shutdown(0.1)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends."""
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""


def ended(reader: asyncio.StreamReader) -> bool:
    """Return whether the peer closed or reset the connection."""
    return reader.at_eof() or reader.exception() is not None


@pytest.mark.usefixtures("_no_task_left")
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("trickles", [False, True])
async def test_an_incomplete_request_is_closed(half: str, trickles: bool) -> None:
    """Within the limit, whether the client sends nothing or single bytes."""
    async with served(QUICK) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALVES[half])
        trickling = asyncio.create_task(_trickle(writer)) if trickles else None
        await rest(reader)
        if trickling is not None:
            trickling.cancel()
            await asyncio.wait([trickling])
        writer.close()


async def _trickle(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(0.03)
            writer.write(b"x")
            await writer.drain()


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_a_handler_may_take_longer_than_its_client() -> None:
    """The limits apply only to what the client has to send."""
    limits = Limits(headers=5.0, body=0.5)
    async with (
        served(limits, 1.0) as port,
        ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/", data=b"x") as response,
    ):
        assert await response.text() == "there"


@pytest.mark.usefixtures("_no_task_left")
async def test_connections_are_bounded_and_new_ones_are_served() -> None:
    """The connections that have waited longest are closed."""
    limits = Limits(headers=30, connections=20)
    async with served(limits) as port, ClientSession() as session:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        async with session.post(f"http://127.0.0.1:{port}/", data=b"x") as response:
            assert await response.text() == "there"
        closed = await asyncio.gather(*(rest(reader) for reader, _ in idle[:40]))
        assert closed == [b""] * 40
        assert not any(ended(reader) for reader, _ in idle[-15:])
        for _, writer in idle:
            writer.close()


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_the_listener_closes_connections_that_send_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 300 connections 50 stay open, for the limit; deliveries are accepted meanwhile."""
    limits = Limits(headers=5, connections=50)
    monkeypatch.setattr(
        "diffio_async.cli.webhooks.listen.Connections", partial(Connections, limits)
    )
    port = free_port()
    task = asyncio.create_task(
        listen(
            "127.0.0.1",
            port,
            "/hook",
            inbox_file=None,
            forward_url=None,
            secrets=[SECRET],
            as_json=True,
        )
    )
    printed = ""
    while "listening" not in printed:
        await asyncio.sleep(0.01)
        printed += capsys.readouterr().out
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
    for _, writer in idle[::2]:
        writer.write(HALVES["half a header"])
    body = body_of("generation.completed")
    url = f"http://127.0.0.1:{port}/hook"
    async with (
        ClientSession() as session,
        session.post(url, data=body, headers=headers_of(body)) as response,
    ):
        assert response.status == 200
    assert "received" in capsys.readouterr().out
    await asyncio.sleep(0.1)
    stayed = sum(not ended(reader) for reader, _ in idle)
    await asyncio.gather(*(rest(reader) for reader, _ in idle))
    for _, writer in idle:
        writer.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < stayed <= 50
