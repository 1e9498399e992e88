"""Proxies: used beyond this machine only, by tunnel, with a password that shows nowhere."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import define, evolve, field

from diffio_async import AsyncDiffio, ClientOptions, ConfigurationError, ConnectionFailed, Timeouts
from diffio_async._http.proxies import Proxies
from diffio_async.sandbox import Sandbox
from tests.http.conftest import Authority
from tests.http.peers import ONCE, Incoming, failure_at, once, peer, request, responds

API = "https://api.diffio.test/v1"
EMPTY = responds(200, b'{"projects": []}')


@define
class Proxy:
    """A proxy that tunnels everything to one port of this machine."""

    port: int = 0
    incoming: list[Incoming] = field(factory=list)


@contextlib.asynccontextmanager
async def proxy(to: int, *, status: int = 200, silent: bool = False) -> AsyncIterator[Proxy]:
    """The proxy; it responses `CONNECT` with `status`, or never."""
    found = Proxy()
    running: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            found.incoming.append(await request(reader, 1))
            if silent:
                await asyncio.sleep(30)
            writer.write(b"HTTP/1.1 %d Said\r\n\r\n" % status)
            if status == 200:
                there, away = await asyncio.open_connection("127.0.0.1", to)
                try:
                    await asyncio.gather(copy(reader, away), copy(there, writer))
                finally:
                    away.close()
        except (asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0.01)


async def test_a_proxy_tunnels_and_sees_no_more_than_the_hosts_name(authority: Authority) -> None:
    """Its own password goes to it, in the one header it is for; the key does not."""
    async with peer(EMPTY, tls=authority.server) as host, proxy(host.port) as between:
        options = evolve(
            ONCE, ssl=authority.trusting, proxy=f"http://me:s3cr3tpass@127.0.0.1:{between.port}"
        )
        async with once(API, options) as client:
            assert await client.projects.list() == []
    (incoming,) = between.incoming
    assert (incoming.method, incoming.target) == ("CONNECT", "api.diffio.test:443")
    given = incoming.headers["proxy-authorization"].removeprefix("Basic ")
    assert base64.b64decode(given) == b"me:s3cr3tpass"
    assert "authorization" not in incoming.headers
    assert host.incoming[0].headers["authorization"] == "Bearer diffio_key_1234567890"
    assert "proxy-authorization" not in host.incoming[0].headers


async def test_this_machine_is_never_asked_for_through_a_proxy(sandbox: Sandbox) -> None:
    async with proxy(1) as between:
        options = ClientOptions(proxy=f"http://127.0.0.1:{between.port}")
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            assert await client.projects.list() == []
    assert between.incoming == []


@pytest.mark.parametrize(("status", "permanent"), [(407, True), (403, True), (502, False)])
async def test_a_proxy_that_refuses_means_not_reached(status: int, permanent: bool) -> None:
    """A password it does not like will not be liked the next time either."""
    async with proxy(1, status=status) as between:
        address = f"http://me:s3cr3tpass@127.0.0.1:{between.port}"
        error = await failure_at(API, evolve(ONCE, proxy=address))
    assert isinstance(error, ConnectionFailed)
    assert f"it returned {status}" in str(error)
    assert error.permanent == permanent
    assert "s3cr3tpass" not in repr(error)


async def test_a_proxy_that_is_not_there_means_not_reached() -> None:
    error = await failure_at(API, evolve(ONCE, proxy="http://127.0.0.1:1"))
    assert isinstance(error, ConnectionFailed)
    assert "the proxy for https://api.diffio.test" in str(error)


async def test_a_proxy_that_says_nothing_is_left_when_connecting_took_too_long() -> None:
    """Downloads have no total: nothing else would end them."""
    async with proxy(1, silent=True) as between:
        options = evolve(
            ONCE,
            proxy=f"http://127.0.0.1:{between.port}",
            timeouts=Timeouts(connect=0.2, total=None),
        )
        began = time.monotonic()
        error = await failure_at(API, options)
    assert isinstance(error, ConnectionFailed)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "address", ["socks5://me:s3cr3tpass@host:1", "http://:s3cr3tpass@", "x://"]
)
def test_a_proxy_of_another_kind_is_refused_without_showing_its_password(address: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy cannot be used") as caught:
        AsyncDiffio("diffio_key_1234567890", options=ClientOptions(proxy=address))
    assert "s3cr3tpass" not in repr(caught.value)


async def test_the_environment_is_read_when_trusted_and_netrc_never(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.diffio.test login me password s3cr3tpass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    async with peer(EMPTY, tls=authority.server) as host, proxy(host.port) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{between.port}")
        options = evolve(ONCE, ssl=authority.trusting, trust_env=True)
        async with once(API, options) as client:
            assert await client.projects.list() == []
        untrusting = await failure_at(API, evolve(options, trust_env=False))
    assert isinstance(untrusting, ConnectionFailed)
    assert len(between.incoming) == 1
    assert "proxy-authorization" not in between.incoming[0].headers
    assert host.incoming[0].headers["authorization"] == "Bearer diffio_key_1234567890"


@pytest.mark.parametrize(
    ("no_proxy", "spared"),
    [
        ("api.diffio.test", True),
        (".diffio.test", True),
        ("*.diffio.test, other", True),
        ("API.Diffio.Test:443", True),
        ("api.diffio.test:8443", False),
        ("fio.test", False),
        ("*", True),
        ("", False),
        (" , ", False),
    ],
)
def test_no_proxy_names_hosts_domains_and_ports(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, spared: bool
) -> None:
    """And is read with the rest, once."""
    for name in ("NO_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:3128")
    proxies = Proxies(None, trust_env=True)
    monkeypatch.setenv("NO_PROXY", "")
    assert proxies.address_for(API) == (None if spared else "http://proxy.test:3128")
    assert Proxies(None, trust_env=False).address_for(API) is None
