"""`--proxy`, `--cacert` and their environment variables, which follow curl's rules."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio, ClientOptions, ConfigurationError
from diffio_async._http.proxies import NoProxy, Proxies
from diffio_async.cli import client as cli_client
from diffio_async.cli.webhooks.forward import Forwarder
from tests.http.conftest import Authority, authority
from tests.http.peers import peer, responds
from tests.http.test_proxies import proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cli.conftest import Run

__all__ = ["authority"]

API = "https://api.diffio.test/v1"
EMPTY = responds(200, b'{"apiProjectId": "proj_1", "generations": []}')
WAIT = ("wait", "--project", "proj_1")
#: Removes the network settings of the machine that runs the tests.
KEY = {
    **dict.fromkeys(("CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"), ""),
    **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "http_proxy"), ""),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
    "DIFFIO_API_KEY": "diffio_key_1234567890",
    "DIFFIO_API_BASE_URL": API,
}


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that cannot be reached fails the first attempt."""
    monkeypatch.setattr(cli_client, "_ATTEMPTS", 1)


async def test_every_command_that_uses_the_network_uses_the_proxy(
    run: Run, authority: Authority
) -> None:
    """Set by the option or either spelling of the variable, except for hosts in NO_PROXY."""
    trust = ("--cacert", str(authority.file))
    async with peer(EMPTY, tls=authority.server) as host, proxy(host.port) as between:
        address = f"http://127.0.0.1:{between.port}"
        ways: list[tuple[tuple[str, ...], Mapping[str, str]]] = [
            (("--proxy", address), {}),
            (("--proxy", f"127.0.0.1:{between.port}"), {"HTTPS_PROXY": "http://127.0.0.1:9"}),
            ((), {"HTTPS_PROXY": address}),
            ((), {"https_proxy": address, "HTTPS_PROXY": "http://127.0.0.1:9"}),
            ((), {"ALL_PROXY": address}),
            ((), {"all_proxy": address, "NO_PROXY": "other.test"}),
        ]
        for number, (options, env) in enumerate(ways, 1):
            done = await run(*WAIT, *trust, *options, env={**KEY, **env})
            assert (done.returncode, len(between.requests)) == (0, number), done.stderr
        for options, env in (
            (("--proxy", ""), {"HTTPS_PROXY": address}),
            ((), {"HTTPS_PROXY": address, "NO_PROXY": ".diffio.test"}),
            ((), {"HTTP_PROXY": address, "http_proxy": address}),
        ):
            done = await run(*WAIT, *trust, *options, env={**KEY, **env})
            assert done.returncode == 1
            assert len(between.requests) == len(ways)


async def test_certificates_are_named_by_the_option_or_the_environment(
    run: Run, authority: Authority
) -> None:
    """`--cacert` overrides CURL_CA_BUNDLE, SSL_CERT_FILE and REQUESTS_CA_BUNDLE."""
    async with peer(EMPTY, tls=authority.server) as host, proxy(host.port) as between:
        env = {**KEY, "HTTPS_PROXY": f"http://127.0.0.1:{between.port}"}
        path = str(authority.file)
        for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            done = await run(*WAIT, env={**env, name: path})
            assert done.returncode == 0, done.stderr
        done = await run(*WAIT, env=env)
        assert done.returncode == 1
        assert "certificate" in done.stderr


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        (["--proxy", "socks5://me:s3cret@host:1"], {}, "--proxy: the proxy cannot be used"),
        (["--proxy", "http://me:s3cret@ho st:1"], {}, "--proxy: the proxy cannot be used"),
        (["--proxy", "http://me:s3cret@host:0"], {}, "--proxy: the proxy cannot be used"),
        ([], {"HTTPS_PROXY": "socks5h://me:s3cret@host"}, "HTTPS_PROXY or ALL_PROXY"),
        (["--cacert", "none.pem"], {}, "--cacert: none.pem cannot be read: No such file"),
        (["--cacert", "bad.pem"], {}, "--cacert: bad.pem contains no certificate"),
        (["--cacert", ""], {}, "given with --cacert is empty"),
        (["--cacert", "https://host/ca.pem"], {}, "--cacert is a URL"),
        ([], {"REQUESTS_CA_BUNDLE": "none.pem"}, "REQUESTS_CA_BUNDLE: none.pem cannot be read"),
    ],
    ids=str,
)
async def test_invalid_network_options_are_refused_before_anything_is_sent(
    run: Run, tmp_path: Path, options: list[str], env: dict[str, str], words: str
) -> None:
    """The exit code is 2, and the message does not contain the proxy's password."""
    (tmp_path / "bad.pem").write_text("no certificate\n")
    done = await run(*WAIT, *options, env={**KEY, **env})
    assert done.returncode == 2
    assert words in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["restore", "a.wav"],
        ["download", "g", "--project", "p"],
        ["wait", "g"],
        ["batch", "a.wav", "-o", "out"],
        ["webhooks", "configure", "--url", "https://a.test/x"],
        ["webhooks", "test"],
    ],
    ids=" ".join,
)
async def test_all_commands_have_the_options(
    run: Run, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(b"speech")
    for option in ("--proxy", "--cacert"):
        done = await run(*arguments, option, "x://y", env=KEY)
        assert done.returncode == 2
        assert option in done.stderr


@pytest.mark.parametrize("command", ["download", "wait"])
@pytest.mark.parametrize(
    ("proxy_url", "shown"),
    [
        ("http://127.0.0.1:9", "--proxy http://127.0.0.1:9"),
        ("http://me:s3cret@127.0.0.1:9", "--proxy 'http://[redacted]@127.0.0.1:9'"),
        ("", "--proxy ''"),
    ],
)
async def test_a_printed_command_has_the_same_network_options(
    run: Run, authority: Authority, command: str, proxy_url: str, shown: str
) -> None:
    """It repeats `--proxy`, without its password, and `--cacert`."""
    path = str(authority.file)
    ids = ("gen_1", "--project", "proj_1", "--timeout", "0.05", "--json")
    done = await run(command, *ids, "--proxy", proxy_url, "--cacert", path, env=KEY)
    assert done.returncode == 1, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    printed = event["resume_command" if command == "download" else "rerun_command"]
    assert printed == f"diffio-async {command} gen_1 --project proj_1 {shown} --cacert {path}"
    assert "s3cret" not in done.stdout + done.stderr


#: Host, NO_PROXY, and whether the proxy is bypassed.
ENTRIES = [
    ("api.diffio.test", "api.diffio.test", True),
    ("api.diffio.test", "diffio.test", True),
    ("api.diffio.test", ".diffio.test", True),
    ("api.diffio.test", "DIFFIO.test.", True),
    ("api.diffio.test", "fio.test", False),
    ("api.diffio.test", "a,  diffio.test", True),
    ("api.diffio.test", ",,diffio.test,", True),
    ("api.diffio.test", "*", True),
    ("api.diffio.test", "*,other", False),
    ("api.diffio.test", ".", False),
    ("api.diffio.test", "", False),
    ("10.1.2.3", "10.1.2.3", True),
    ("10.1.2.3", "10.0.0.0/8", True),
    ("10.1.2.3", "10.1.3.0/24", False),
    ("10.1.2.3", "10.1.2.3/33", False),
    ("10.1.2.3", "10.1", False),
    ("10.1.2.3", "2.3", False),
    ("[fd00::1]", "fd00::1", True),
    ("[fd00::1]", "FD00::1", True),
    ("[fd00::1]", "fe00::/8", False),
]
#: What curl does not know, and what users write.
BEYOND_CURL = [
    ("api.diffio.test", "a b,diffio.test", True),  # curl before 8 separated by spaces too
    ("api.diffio.test", "*.diffio.test", True),
    ("api.diffio.test", "diffio.test:443", True),
    ("api.diffio.test", "diffio.test:8443", False),
    ("10.1.2.3", "10.1.2.3:443", True),
    ("[fd00::1]", "[fd00::1]", True),
    ("[fd00::1]", "[fd00::1]:443", True),
    ("[fd00::1]", "[fd00::]/8", True),
    ("[fd00::1]", "fd00::/8", True),
]


@pytest.mark.parametrize(("host", "no_proxy", "spared"), [*ENTRIES, *BEYOND_CURL])
def test_no_proxy(host: str, no_proxy: str, spared: bool) -> None:
    assert NoProxy(no_proxy).contains(host.strip("[]"), 443) is spared


@pytest.mark.slow
async def test_no_proxy_is_read_as_curl_reads_it() -> None:
    """Each entry is compared with curl, through a proxy that responds itself."""
    async with peer(responds(200, b"")) as server:
        for host, no_proxy, spared in ENTRIES:
            before = len(server.requests)
            curl = await asyncio.create_subprocess_exec(
                *("curl", "--silent", "--max-time", "0.4", f"http://{host}/"),
                env={
                    "PATH": os.environ["PATH"],
                    "http_proxy": f"http://127.0.0.1:{server.port}",
                    "no_proxy": no_proxy,
                },
                stdout=subprocess.DEVNULL,
            )
            await curl.wait()
            assert (len(server.requests) == before) is spared, (host, no_proxy)


def test_a_proxy_without_a_port_uses_the_default_of_curl(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, used in (
        ("proxy.test", "http://proxy.test:1080"),
        ("https://me:pass@proxy.test", "https://me:pass@proxy.test:443"),
        (" http://proxy.test:3128/ ", "http://proxy.test:3128/"),
    ):
        assert Proxies(address, trust_env=False).address_for(API) == used
    monkeypatch.setenv("HTTPS_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", "http://all.test:1")
    assert Proxies(None, trust_env=True).address_for(API) == "http://all.test:1"


async def test_the_password_of_a_proxy_is_never_shown() -> None:
    options = ClientOptions(proxy="http://me:s3cret@127.0.0.1:9")
    client = AsyncDiffio("diffio_key_1234567890", base_url=API, options=options)
    assert "s3cret" not in f"{options!r} {client!r}"
    with pytest.raises(ConfigurationError) as caught:
        AsyncDiffio("k", options=ClientOptions(proxy="http://me:s3cret@:0"))
    assert "s3cret" not in repr(caught.value)
    await client.aclose()


async def test_events_are_forwarded_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`webhooks listen --forward` uses the proxy too, but not for localhost."""
    async with peer(responds(200, b"")) as between, peer(responds(200, b"")) as local:
        for name in ("http_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{between.port}")
        for url in ("http://app.test/hook", f"http://127.0.0.1:{local.port}/hook"):
            async with Forwarder(url, ["whsec_MDEyMzQ1Njc4OTAxMjM0NQ=="]) as forwarder:
                assert await forwarder.send("msg_1", b"{}") == 200
    assert [request.target for request in between.requests] == ["http://app.test/hook"]
    assert [request.target for request in local.requests] == ["/hook"]
