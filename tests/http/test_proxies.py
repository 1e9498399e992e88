"""Proxies: tunnels for hosts other than this machine, without showing passwords."""

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
from tests.http.peers import ONCE, Incoming, failure_at, once, peer, request, responds, sends

API = "https://api.diffio.test/v1"
EMPTY = responds(200, b'{"projects": []}')


@define
class Proxy:
    """A running proxy that tunnels all connections to one local port."""

    port: int = 0
    requests: list[Incoming] = field(factory=list)


@contextlib.asynccontextmanager
async def proxy(to: int, *, status: int = 200, silent: bool = False) -> AsyncIterator[Proxy]:
    """Run a proxy that responds to `CONNECT` with `status`, or never if `silent`."""
    running_proxy = Proxy()
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            running_proxy.requests.append(await request(reader, 1))
            if silent:
                await asyncio.sleep(30)
            writer.write(b"HTTP/1.1 %d Scripted\r\n\r\n" % status)
            if status == 200:
                reader_out, writer_out = await asyncio.open_connection("127.0.0.1", to)
                try:
                    await asyncio.gather(copy(reader, writer_out), copy(reader_out, writer))
                finally:
                    writer_out.close()
        except (asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    running_proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield running_proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


async def test_a_proxy_receives_only_the_host_name_and_its_own_password(
    authority: Authority,
) -> None:
    """The API key and other headers are sent inside the tunnel only."""
    async with peer(EMPTY, tls=authority.server) as host, proxy(host.port) as tunnel:
        options = evolve(
            ONCE, ssl=authority.trusting, proxy=f"http://me:s3cr3tpass@127.0.0.1:{tunnel.port}"
        )
        async with once(API, options) as client:
            assert await client.projects.list() == []
    (request_,) = tunnel.requests
    assert (request_.method, request_.target) == ("CONNECT", "api.diffio.test:443")
    credentials = request_.headers["proxy-authorization"].removeprefix("Basic ")
    assert base64.b64decode(credentials) == b"me:s3cr3tpass"
    assert "authorization" not in request_.headers
    assert host.requests[0].headers["authorization"] == "Bearer diffio_key_1234567890"
    assert "proxy-authorization" not in host.requests[0].headers


async def test_requests_to_this_machine_never_use_a_proxy(sandbox: Sandbox) -> None:
    async with proxy(1) as tunnel:
        options = ClientOptions(proxy=f"http://127.0.0.1:{tunnel.port}")
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            assert await client.projects.list() == []
    assert tunnel.requests == []


@pytest.mark.parametrize(("status", "permanent"), [(407, True), (403, True), (502, False)])
async def test_a_refusal_of_the_proxy_is_a_failed_connection(status: int, permanent: bool) -> None:
    """A refused password is a permanent failure."""
    async with proxy(1, status=status) as tunnel:
        address = f"http://me:s3cr3tpass@127.0.0.1:{tunnel.port}"
        error = await failure_at(API, evolve(ONCE, proxy=address))
    assert isinstance(error, ConnectionFailed)
    assert f"it returned {status}" in str(error)
    assert error.permanent == permanent
    assert "s3cr3tpass" not in repr(error)


async def test_a_missing_proxy_is_a_failed_connection() -> None:
    error = await failure_at(API, evolve(ONCE, proxy="http://127.0.0.1:1"))
    assert isinstance(error, ConnectionFailed)
    assert "the proxy for https://api.diffio.test" in str(error)


@pytest.mark.parametrize("api", [API, "http://api.diffio.test/v1"])
async def test_a_proxy_whose_name_is_unknown_is_named_as_the_cause(api: str) -> None:
    """Its name cannot be resolved; that of the API is not even looked up."""
    options = evolve(ONCE, proxy="http://proxy.invalid:3128", allow_insecure_http=True)
    error = await failure_at(api, options)
    assert isinstance(error, ConnectionFailed)
    assert f"the proxy for {api}" in str(error)
    assert "its name cannot be resolved" in str(error)


async def test_a_proxy_that_closes_the_connection_is_described_in_words() -> None:
    async with peer(sends(b"")) as closing:
        error = await failure_at(API, evolve(ONCE, proxy=f"http://127.0.0.1:{closing.port}"))
    assert isinstance(error, ConnectionFailed)
    assert "the connection was closed without a response" in str(error)


async def test_a_silent_proxy_ends_with_the_connect_timeout() -> None:
    """Downloads have no total timeout that would end them."""
    async with proxy(1, silent=True) as tunnel:
        options = evolve(
            ONCE,
            proxy=f"http://127.0.0.1:{tunnel.port}",
            timeouts=Timeouts(connect=0.2, total=None),
        )
        started_at = time.monotonic()
        error = await failure_at(API, options)
    assert isinstance(error, ConnectionFailed)
    assert time.monotonic() - started_at < 20


@pytest.mark.parametrize(
    "address", ["socks5://me:s3cr3tpass@host:1", "http://:s3cr3tpass@", "x://"]
)
def test_an_unsupported_proxy_is_refused_without_showing_its_password(address: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy cannot be used") as caught:
        AsyncDiffio("diffio_key_1234567890", options=ClientOptions(proxy=address))
    assert "s3cr3tpass" not in repr(caught.value)


async def test_the_environment_is_used_with_trust_env_and_netrc_never(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.diffio.test login me password s3cr3tpass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    async with peer(EMPTY, tls=authority.server) as host, proxy(host.port) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{tunnel.port}")
        options = evolve(ONCE, ssl=authority.trusting, trust_env=True)
        async with once(API, options) as client:
            assert await client.projects.list() == []
        untrusting = await failure_at(API, evolve(options, trust_env=False))
    assert isinstance(untrusting, ConnectionFailed)
    assert len(tunnel.requests) == 1
    assert "proxy-authorization" not in tunnel.requests[0].headers
    assert host.requests[0].headers["authorization"] == "Bearer diffio_key_1234567890"


@pytest.mark.parametrize(
    ("no_proxy", "bypassed"),
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
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, bypassed: bool
) -> None:
    """The environment is read once, when the client is created."""
    for name in ("NO_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:3128")
    proxies = Proxies(None, trust_env=True)
    monkeypatch.setenv("NO_PROXY", "")
    assert proxies.address_for(API) == (None if bypassed else "http://proxy.test:3128")
    assert Proxies(None, trust_env=False).address_for(API) is None
