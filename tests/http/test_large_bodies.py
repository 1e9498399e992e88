"""Large bodies, which are received into buffers of ours."""

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
    made = Sessions(options or ClientOptions())
    try:
        yield made
    finally:
        await made.aclose()


async def received(
    made: Sessions, url: str, into: bytearray, read: float | None = 60.0
) -> list[int]:
    """Fetch; what came is in `into`, whatever is raised. The sizes of the pieces."""
    attempt = Attempt(request=signed_url_request("GET", url, {}), timeouts=Timeouts(read=read))
    sizes = []
    async with (
        Exchange(made, attempt) as exchange,
        contextlib.aclosing(exchange.iter_bytes()) as pieces,
    ):
        async for piece in pieces:
            into += piece
            sizes.append(len(piece))
    return sizes


@pytest.mark.parametrize("secured", [False, True])
async def test_large_bodies_come_whole_and_leave_the_connection_to_the_next(
    authority: Authority, secured: bool
) -> None:
    tls = authority.server if secured else None
    async with (
        peer(
            responds(200, LARGE), responds(200, b"small"), responds(200, LARGE), keep=True, tls=tls
        ) as host,
        transport(ClientOptions(ssl=authority.trusting)) as made,
    ):
        for expected in (LARGE, b"small", LARGE):
            came = bytearray()
            sizes = await received(made, host.url().replace("127.0.0.1", "localhost"), came)
            assert came == expected
            assert max(sizes) <= MIB
            assert len(sizes) < 60
    assert host.connections == 1


@pytest.mark.parametrize("given", [5 * MIB, 5 * MIB + 1])
async def test_what_came_before_the_connection_ended_is_given_first(given: int) -> None:
    announced = head(200, {"content-length": len(LARGE)})
    came = bytearray()
    async with peer(sends(announced, LARGE[:given])) as host, transport() as made:
        with pytest.raises(ResponseLost):
            await received(made, host.url(), came)
    assert came == LARGE[:given]


async def test_a_host_that_falls_silent_is_left_after_the_read_timeout() -> None:
    announced = head(200, {"content-length": len(LARGE)})
    came = bytearray()
    began = asyncio.get_running_loop().time()
    async with peer(sends(announced, LARGE[:-1], then=30)) as host, transport() as made:
        with pytest.raises(ResponseTimeout):
            await received(made, host.url(), came, read=0.3)
    assert came == LARGE[:-1]
    assert asyncio.get_running_loop().time() - began < 5


async def test_bytes_that_trickle_are_given_before_they_fill_a_buffer() -> None:
    announced = head(200, {"content-length": len(LARGE)})
    came = bytearray()
    async with peer(sends(announced, LARGE[:1000], then=30)) as host, transport() as made:
        task = asyncio.create_task(received(made, host.url(), came))
        async with asyncio.timeout(5):
            while len(came) < 1000:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert came == LARGE[:1000]


def slowly(pieces: int, pause: float) -> Script:
    """Half a MiB at a time."""

    async def script(_: Incoming, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"content-length": pieces * MIB // 2}))
        for _number in range(pieces):
            writer.write(bytes(MIB // 2))
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def test_a_host_that_takes_its_time_is_no_silent_one() -> None:
    came = bytearray()
    async with peer(slowly(12, 0.04)) as host, transport() as made:
        await received(made, host.url(), came, read=0.25)
    assert len(came) == 6 * MIB


async def test_a_cancelled_reader_is_given_what_came() -> None:
    announced = head(200, {"content-length": len(LARGE)})
    came = bytearray()
    async with peer(sends(announced, LARGE[: 5 * MIB], then=30)) as host, transport() as made:
        task = asyncio.create_task(received(made, host.url(), came))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert LARGE.startswith(came)
    assert came


async def test_a_closed_client_ends_what_it_receives() -> None:
    announced = head(200, {"content-length": len(LARGE)})
    ended: list[DiffioError] = []
    async with peer(sends(announced, LARGE[: 5 * MIB], then=30)) as host, transport() as made:

        async def reading() -> None:
            try:
                await received(made, host.url(), bytearray())
            except DiffioError as failure:
                ended.append(failure)

        task = asyncio.create_task(reading())
        await asyncio.sleep(0.2)
        await made.aclose()
        async with asyncio.timeout(5):
            await task
    assert [type(failure) for failure in ended] == [ClientClosed]


async def test_what_nobody_takes_is_left_with_the_host() -> None:
    sent = 0

    async def endless(_: Incoming, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head(200, {"content-length": 1024 * MIB}))
        for _number in range(1024):
            writer.write(bytes(MIB))
            await writer.drain()
            sent += MIB

    async with peer(endless) as host, transport() as made:
        attempt = Attempt(request=signed_url_request("GET", host.url(), {}), timeouts=Timeouts())
        async with (
            Exchange(made, attempt) as exchange,
            contextlib.aclosing(exchange.iter_bytes()) as pieces,
        ):
            assert await anext(pieces)
            await asyncio.sleep(0.3)
            assert sent < 64 * MIB


async def test_bytes_beyond_the_announced_are_not_taken_for_the_next_response() -> None:
    surplus = responds(200, LARGE)
    async with transport() as made:

        async def more(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
            await surplus(incoming, writer)
            writer.write(b"HTTP/1.1 200 Smuggled\r\ncontent-length: 8\r\n\r\nsmuggled")
            await writer.drain()

        async with peer(more, responds(200, b"right"), keep=True) as host:
            for expected in (LARGE, b"right"):
                came = bytearray()
                await received(made, host.url(), came)
                assert came == expected
                await asyncio.sleep(0.05)
