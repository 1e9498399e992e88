"""Plain HTTP to other machines: allowed by an option, and only for the API's host."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from diffio_async import AsyncDiffio, ClientOptions, ConfigurationError, Diffio
from diffio_async._http.transport import _warn_of_plain_http
from diffio_async._protocol.urls import server_url
from diffio_async.sandbox import Fault, RespondWith, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

INSECURE = ClientOptions(allow_insecure_http=True)


@pytest.fixture(autouse=True)
def _reset_warnings() -> None:
    _warn_of_plain_http.cache_clear()


def by_name(sandbox: Sandbox) -> str:
    return f"http://sandbox:{urlsplit(sandbox.base_url).port}"


@pytest.mark.slow
@pytest.mark.parametrize("uploads", [("signed",), ("edge",)])
async def test_with_the_option_a_sandbox_on_another_machine_can_be_used(
    sample: Path, caplog: pytest.LogCaptureFixture, uploads: Any
) -> None:
    """Uploads and downloads use its name; several clients cause one warning."""
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def look_up(host: Any, port: Any, **how: Any) -> Any:
        return await real("127.0.0.1" if host == "sandbox" else host, port, **how)

    loop.getaddrinfo = look_up  # type: ignore[method-assign]
    try:
        async with Sandbox(engine="echo", uploads=uploads, api_key="k") as sandbox:
            url = by_name(sandbox)
            for _ in range(2):
                async with AsyncDiffio("k", base_url=url, options=INSECURE) as client:
                    restored = await client.restore(sample)
                    assert restored.content == sample.read_bytes()
            assert {seen.headers["host"] for seen in sandbox.requests} == {url[7:]}
            assert sandbox.violations == []
    finally:
        loop.getaddrinfo = real  # type: ignore[method-assign]
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert [r.getMessage() for r in warnings] == [
        f"the API key and recordings are sent unencrypted to {url}/v1: allow_insecure_http is on"
    ]


@pytest.mark.parametrize("make", [AsyncDiffio, Diffio])
def test_without_the_option_the_error_names_both_ways_to_allow_plain_http(make: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make("k", base_url="http://sandbox:8490")
    assert "allow_insecure_http=True or DIFFIO_ALLOW_INSECURE_HTTP=1" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), (" True ", True), ("0", False), ("", False)]
)
async def test_an_environment_variable_enables_plain_http(
    monkeypatch: pytest.MonkeyPatch, value: str, on: bool
) -> None:
    monkeypatch.setenv("DIFFIO_ALLOW_INSECURE_HTTP", value)
    monkeypatch.setenv("DIFFIO_API_BASE_URL", "http://sandbox:8490")
    monkeypatch.setenv("DIFFIO_API_KEY", "k")
    if on:
        await AsyncDiffio().aclose()
    else:
        with pytest.raises(ConfigurationError, match="unencrypted to sandbox"):
            AsyncDiffio()


@pytest.mark.parametrize(
    ("base", "url", "why"),
    [
        ("http://sandbox:1", "http://elsewhere/x", "unencrypted to elsewhere"),
        ("http://sandbox:1", "http://127.0.0.1:1/x", "leads to 127.0.0.1, this machine"),
        ("http://sandbox:1", "http://localhost:1/x", "leads to localhost, this machine"),
    ],
)
def test_plain_http_urls_of_the_server_are_limited_to_its_own_host(
    base: str, url: str, why: str
) -> None:
    """Other hosts require HTTPS, and no URL may lead to this machine."""
    with pytest.raises(ConfigurationError, match=why):
        server_url(url, "the signed link", base_url=base)
    assert server_url(f"{base}/x", "the link", base_url=base)
    assert server_url("http://sandbox:2/x", "the link", base_url=base)
    assert server_url("https://elsewhere/x", "the link", base_url=base)


@pytest.mark.parametrize("url", ["https://localhost/x", "http://127.0.0.1/x", "https://[::1]/x"])
def test_a_remote_api_cannot_lead_to_this_machine(url: str) -> None:
    """Only the user may name `localhost`, as the base URL; a server may not."""
    with pytest.raises(ConfigurationError, match="this machine, and the API at api"):
        server_url(url, "the signed link", base_url="https://api.diffio.ai/v1")
    assert server_url(url, "the link", base_url="http://localhost:8490/v1")


async def test_a_plain_http_upload_url_of_another_host_is_refused(
    sample: Path,
) -> None:
    """A sandbox on this machine uses plain HTTP, but must not redirect recordings elsewhere."""
    offer = {"apiProjectId": "p", "uploadUrl": "http://elsewhere/x", "uploadMethod": "PUT"}
    fault = Fault(path="*create_project", action=RespondWith(json=offer))
    async with Sandbox(engine="echo", faults=[fault]) as sandbox:
        async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
            with pytest.raises(Exception, match="unencrypted to elsewhere"):
                await client.projects.create(sample)
        assert [seen.path for seen in sandbox.requests] == ["/v1/create_project"]


async def test_a_webhook_url_may_use_plain_http_with_the_option() -> None:
    """In a container network, a receiver has a name and no certificate."""
    async with Sandbox(engine="echo", allow_remote_webhooks=True) as sandbox:
        base, key = sandbox.base_url, sandbox.api_key
        async with AsyncDiffio(key, base_url=base, options=INSECURE) as client:
            configured = await client.webhooks.configure(
                mode="live", url="http://app:8000/hook", event_types=["generation.completed"]
            )
            assert configured.url == "http://app:8000/hook"
        async with AsyncDiffio(key, base_url=base) as client:
            with pytest.raises(ConfigurationError, match="unencrypted to app"):
                await client.webhooks.configure(
                    mode="live", url="http://app:8000/hook", event_types=["generation.completed"]
                )


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "0.0.0.0"),
        *("localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1."),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]"),
    ],
)
def test_a_server_url_for_this_machine_is_refused_in_every_notation(host: str) -> None:
    """Link-local addresses are refused too, such as the metadata service of a cloud."""
    for base in ("https://api.diffio.ai/v1", "http://sandbox:8490/v1"):
        with pytest.raises(ConfigurationError, match="this machine"):
            server_url(f"https://{host}/x", "the signed link", base_url=base)
    for other in ("api.diffio.ai", "8.8.8.8", "10.0.0.7", "1.2", "cafe.babe"):
        assert server_url(f"https://{other}/x", "the link", base_url="https://api.diffio.ai/v1")
