"""Failed connections: whether the host was reached, or the response was lost."""

import asyncio
import socket
import time

import pytest
from attrs import evolve

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    ConnectionFailed,
    RequestOptions,
    ResponseLost,
    ResponseTimeout,
    Timeouts,
)
from diffio_async.sandbox import (
    Delay,
    Drop,
    Fault,
    LoseResponse,
    Sandbox,
    Stall,
    Truncate,
)
from tests.http.conftest import Authority
from tests.http.peers import ONCE, failure_at, head, once, peer, responds, sends
from tests.ports import free_port

LIST = "*list_projects"


async def test_a_refused_connection_is_a_failed_connection() -> None:
    error = await failure_at(f"http://127.0.0.1:{free_port()}")
    assert type(error) is ConnectionFailed
    assert "Connection refused" in str(error)
    assert not error.permanent


@pytest.mark.parametrize(
    "host", ["LOCALHOST:9", "API.Diffio.Invalid", "[0:0:0:0:0:0:0:1]:9", "[::FFFF:7f00:1]:9"]
)
async def test_a_failure_without_a_proxy_does_not_blame_one(host: str) -> None:
    """However the host is written."""
    error = await failure_at(f"http://{host}", evolve(ONCE, allow_insecure_http=True))
    assert type(error) is ConnectionFailed
    assert "proxy" not in str(error)


async def test_an_unknown_host_name_is_a_failed_connection() -> None:
    error = await failure_at("https://api.diffio.invalid/v1")
    assert type(error) is ConnectionFailed
    assert "its name cannot be resolved" in str(error)


async def test_a_host_that_never_accepts_ends_with_the_connect_timeout() -> None:
    """Its backlog is full, so that connecting never finishes."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        started_at = time.monotonic()
        options = evolve(ONCE, timeouts=Timeouts(connect=0.2))
        error = await failure_at(f"http://127.0.0.1:{full.getsockname()[1]}", options)
        for one in waiting:
            one.close()
    assert type(error) is ConnectionFailed
    assert "in time" in str(error)
    assert time.monotonic() - started_at < 20


async def test_a_host_silent_during_the_tls_handshake_ends_with_the_connect_timeout() -> None:
    """The connect timeout includes the TLS handshake."""
    release = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = evolve(ONCE, timeouts=Timeouts(connect=0.2))
    error = await failure_at(f"https://localhost:{port}", options)
    release.set()
    server.close()
    await asyncio.sleep(0.01)
    assert type(error) is ConnectionFailed
    assert "in time" in str(error)


async def test_an_untrusted_certificate_is_a_permanent_failure(authority: Authority) -> None:
    """It is not retried, and the message explains how to trust a private authority."""
    async with peer(responds(), tls=authority.server) as host:
        error = await failure_at(f"https://localhost:{host.port}", ClientOptions())
        other_name = await failure_at(
            f"https://127.0.0.1:{host.port}", evolve(ONCE, ssl=authority.trusting)
        )
    for one, why in ((error, "issuer"), (other_name, "not valid for '127.0.0.1'")):
        assert type(one) is ConnectionFailed
        assert one.permanent
        assert why in str(one)
        assert "ClientOptions(ssl=ssl.create_default_context(cafile=…))" in str(one)
    assert host.requests == []


async def test_a_private_authority_can_be_trusted(authority: Authority) -> None:
    async with peer(responds(200, b'{"projects": []}'), tls=authority.server) as host:
        options = ClientOptions(ssl=authority.trusting)
        async with once(f"https://localhost:{host.port}", options) as client:
            assert await client.projects.list() == []


@pytest.mark.parametrize(
    "action", [Drop(), LoseResponse(), Truncate(0.5)], ids=lambda action: type(action).__name__
)
async def test_a_connection_that_breaks_after_the_request_loses_the_response(
    sandbox: Sandbox, action: Drop | LoseResponse | Truncate
) -> None:
    """It breaks before the request is read, after it, or within the response."""
    sandbox.faults.add(Fault(path=LIST, action=action))
    error = await failure_at(sandbox.base_url, key=sandbox.api_key)
    assert type(error) is ResponseLost
    assert "may have been accepted" in str(error)


@pytest.mark.parametrize(
    "response",
    [b"SMTP ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n", b"HTTP/1.1 200 OK\r\nConte"],
)
async def test_a_response_that_is_not_http_is_lost(response: bytes) -> None:
    async with peer(sends(response)) as host:
        error = await failure_at(host.url())
    assert type(error) is ResponseLost


@pytest.mark.parametrize("action", [Delay(30), Stall(0, 30), Stall(5, 30)])
async def test_a_silent_server_ends_with_the_read_timeout(
    sandbox: Sandbox, action: Delay | Stall
) -> None:
    sandbox.faults.add(Fault(path=LIST, action=action))
    started_at = time.monotonic()
    error = await failure_at(
        sandbox.base_url, evolve(ONCE, timeouts=Timeouts(read=0.2)), sandbox.api_key
    )
    assert time.monotonic() - started_at < 20
    assert type(error) is ResponseTimeout
    assert isinstance(error, TimeoutError)
    assert "read time-out" in str(error)


@pytest.mark.slow
async def test_the_total_timeout_ends_a_response_that_trickles() -> None:
    """Each byte arrives within the read timeout."""
    body = b'{"projects": []}'

    async def trickle(incoming: object, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"content-length": len(body)}))
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    async with peer(trickle) as host, once(host.url()) as client:
        started_at = time.monotonic()
        with pytest.raises(ResponseTimeout, match=r"not send its whole response within 0\.3 s"):
            await client.projects.list(options=RequestOptions(timeout=0.3))
        assert 0.25 < time.monotonic() - started_at < 10


@pytest.mark.slow
async def test_only_the_total_timeout_ends_waiting_for_a_free_connection(sandbox: Sandbox) -> None:
    """The connect timeout does not apply, and nothing was sent."""
    sandbox.faults.add(Fault(path=LIST, action=Delay(2)))
    options = evolve(ONCE, max_connections_per_host=1, timeouts=Timeouts(connect=1.0))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        first, second, third = await asyncio.gather(
            client.projects.list(),
            client.projects.list(),
            client.projects.list(options=RequestOptions(timeout=1.2)),
            return_exceptions=True,
        )
    assert first == second == []
    assert type(third) is ConnectionFailed
    assert len(sandbox.requests) == 2
