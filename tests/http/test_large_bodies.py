"""Large bodies, which are received into the package's own buffers."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from diffio_async import (
    ClientClosed,
    ClientOptions,
    DiffioError,
    ResponseLost,
    ResponseTimeout,
    Timeouts,
)
from diffio_async._http.exchange import Attempt, Exchange
from diffio_async._http.sessions import Sessions
from diffio_async._protocol.requests import signed_url_request
from tests.http.conftest import Authority
from tests.http.peers import Incoming, Script, head, peer, responds, sends

MIB = 1024 * 1024
LARGE = os.urandom(8 * MIB + 77)


@contextlib.asynccontextmanager
async def transport(options: ClientOptions | None = None) -> AsyncIterator[Sessions]:
    sessions = Sessions(options or ClientOptions())
    try:
        yield sessions
    finally:
        await sessions.aclose()


async def received(
    sessions: Sessions, url: str, into: bytearray, read: float | None = 60.0
) -> list[int]:
    """Fetch a body into `into`, also if an error is raised; return the sizes of the chunks."""
    attempt = Attempt(request=signed_url_request("GET", url, {}), timeouts=Timeouts(read=read))
    sizes = []
    async with (
        Exchange(sessions, attempt) as exchange,
        contextlib.aclosing(exchange.iter_bytes()) as chunks,
    ):
        async for chunk in chunks:
            into += chunk
            sizes.append(len(chunk))
    return sizes


@pytest.mark.parametrize("use_tls", [False, True])
async def test_large_bodies_are_complete_and_their_connection_is_reused(
    authority: Authority, use_tls: bool
) -> None:
    tls = authority.server if use_tls else None
    async with (
        peer(
            responds(200, LARGE), responds(200, b"small"), responds(200, LARGE), keep=True, tls=tls
        ) as host,
        transport(ClientOptions(ssl=authority.trusting)) as sessions,
    ):
        for expected in (LARGE, b"small", LARGE):
            body = bytearray()
            sizes = await received(sessions, host.url().replace("127.0.0.1", "localhost"), body)
            assert body == expected
            assert max(sizes) <= MIB
            assert len(sizes) < 60
    assert host.connections == 1


@pytest.mark.parametrize("size", [5 * MIB, 5 * MIB + 1])
async def test_bytes_before_a_broken_connection_are_delivered(size: int) -> None:
    headers = head(200, {"content-length": len(LARGE)})
    body = bytearray()
    async with peer(sends(headers, LARGE[:size])) as host, transport() as sessions:
        with pytest.raises(ResponseLost):
            await received(sessions, host.url(), body)
    assert body == LARGE[:size]


@pytest.mark.slow
async def test_a_host_that_becomes_silent_ends_with_the_read_timeout() -> None:
    headers = head(200, {"content-length": len(LARGE)})
    body = bytearray()
    started_at = asyncio.get_running_loop().time()
    async with peer(sends(headers, LARGE[:-1], then=30)) as host, transport() as sessions:
        with pytest.raises(ResponseTimeout):
            await received(sessions, host.url(), body, read=1.0)
    assert body == LARGE[:-1]
    assert asyncio.get_running_loop().time() - started_at < 20


async def test_a_partly_filled_buffer_is_delivered() -> None:
    headers = head(200, {"content-length": len(LARGE)})
    body = bytearray()
    async with peer(sends(headers, LARGE[:1000], then=30)) as host, transport() as sessions:
        task = asyncio.create_task(received(sessions, host.url(), body))
        async with asyncio.timeout(60):
            while len(body) < 1000:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert body == LARGE[:1000]


def slowly(chunks: int, pause: float) -> Script:
    """Return a script that sends half a MiB at a time."""

    async def script(_: Incoming, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"content-length": chunks * MIB // 2}))
        for _number in range(chunks):
            writer.write(bytes(MIB // 2))
            await writer.drain()
            await asyncio.sleep(pause)

    return script


@pytest.mark.slow
async def test_a_slow_host_does_not_exceed_the_read_timeout() -> None:
    body = bytearray()
    async with peer(slowly(12, 0.15)) as host, transport() as sessions:
        await received(sessions, host.url(), body, read=1.0)
    assert len(body) == 6 * MIB


async def test_a_cancelled_reader_has_the_received_bytes() -> None:
    headers = head(200, {"content-length": len(LARGE)})
    body = bytearray()
    async with peer(sends(headers, LARGE[: 5 * MIB], then=30)) as host, transport() as sessions:
        task = asyncio.create_task(received(sessions, host.url(), body))
        async with asyncio.timeout(20):
            while not body:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert LARGE.startswith(body)
    assert body


async def test_closing_ends_a_body_that_is_being_received() -> None:
    headers = head(200, {"content-length": len(LARGE)})
    ended: list[DiffioError] = []
    async with peer(sends(headers, LARGE[: 5 * MIB], then=30)) as host, transport() as sessions:

        async def reading() -> None:
            try:
                await received(sessions, host.url(), bytearray())
            except DiffioError as failure:
                ended.append(failure)

        task = asyncio.create_task(reading())
        await asyncio.sleep(0.2)
        await sessions.aclose()
        async with asyncio.timeout(20):
            await task
    assert [type(failure) for failure in ended] == [ClientClosed]


@pytest.mark.slow
async def test_a_body_that_is_not_consumed_stops_the_host() -> None:
    sent = 0

    async def endless(_: Incoming, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head(200, {"content-length": 1024 * MIB}))
        for _number in range(1024):
            writer.write(bytes(MIB))
            await writer.drain()
            sent += MIB

    async with peer(endless) as host, transport() as sessions:
        attempt = Attempt(request=signed_url_request("GET", host.url(), {}), timeouts=Timeouts())
        async with (
            Exchange(sessions, attempt) as exchange,
            contextlib.aclosing(exchange.iter_bytes()) as chunks,
        ):
            assert await anext(chunks)
            await asyncio.sleep(0.3)
            assert sent < 64 * MIB


SMUGGLED = b"HTTP/1.1 200 Smuggled\r\ncontent-length: 8\r\n\r\nsmuggled"


@pytest.mark.parametrize("pause", [None, 0.0, 0.02], ids=["together", "at once", "later"])
@pytest.mark.parametrize("size", [5, MIB // 4, 8 * MIB])
@pytest.mark.parametrize("use_tls", [False, True], ids=["plain", "TLS"])
async def test_bytes_after_the_content_length_are_not_the_next_response(
    authority: Authority, use_tls: bool, size: int, pause: float | None
) -> None:
    """Whether they arrive with the end of the response or while the connection is idle."""
    complete = head(200, {"content-length": size}) + LARGE[:size]

    async def surplus(_: Incoming, writer: asyncio.StreamWriter) -> None:
        if pause is None:
            writer.write(complete + SMUGGLED)
        else:
            writer.write(complete)
            await writer.drain()
            await asyncio.sleep(pause)
            writer.write(SMUGGLED)

    async with (
        peer(
            surplus,
            responds(200, b"right"),
            keep=True,
            tls=authority.server if use_tls else None,
        ) as host,
        transport(ClientOptions(ssl=authority.trusting)) as sessions,
    ):
        for expected in (LARGE[:size], b"right"):
            body = bytearray()
            await received(sessions, host.url().replace("127.0.0.1", "localhost"), body)
            assert body == expected
            if pause is not None:
                await asyncio.sleep(2 * pause + 0.01)
    assert host.connections == 2
