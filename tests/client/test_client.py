"""The client: its key, its base URL, its headers, and closing it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    AsyncDiffio,
    AuthenticationFailed,
    ClientClosed,
    ClientOptions,
    ConfigurationError,
    RequestOptions,
)
from tests.scripts import requests_to

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox

KEY = "diffio_live_very_secret_1234"


async def test_key_and_base_url_are_read_from_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that the sandbox prints are sufficient."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    async with AsyncDiffio() as client:
        assert await client.projects.list() == []


def test_without_a_key_both_remedies_are_named() -> None:
    """The user can create a key, or run the sandbox."""
    with pytest.raises(ConfigurationError, match=r"DIFFIO_API_KEY.*diffio-async sandbox"):
        AsyncDiffio()


@pytest.mark.parametrize("bad", [f"{KEY}\n", f" {KEY}", f"{KEY}\x00", f"{KEY}é", "", "\t"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(bad: str) -> None:
    """A key with the newline of a file must not appear in a traceback."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncDiffio(bad)
    assert KEY not in "".join(traceback.format_exception(caught.value, chain=True))


@pytest.mark.parametrize(
    "url",
    ["http://api.diffio.ai/v1", "http://10.0.0.7:8000", "ftp://x", "api.diffio.ai", "http://"],
)
def test_an_insecure_base_url_is_refused(url: str) -> None:
    """The key is never sent unencrypted over a network."""
    with pytest.raises(ConfigurationError, match="https://"):
        AsyncDiffio(KEY, base_url=url)


async def test_the_base_url_may_end_in_v1_or_not(sandbox: Sandbox) -> None:
    """With `/v1`, without it, and with a slash mean the same."""
    bare = sandbox.base_url.removesuffix("/v1")
    for url in (sandbox.base_url, bare, f"{bare}/", f"{sandbox.base_url}/"):
        async with AsyncDiffio(sandbox.api_key, base_url=url) as client:
            await client.projects.list()
    assert {seen.path for seen in sandbox.requests} == {"/v1/list_projects"}


async def test_a_wrong_key_is_reported_without_being_shown(sandbox: Sandbox) -> None:
    """401 has its own class, and the message names what to check."""
    async with AsyncDiffio(KEY, base_url=sandbox.base_url) as client:
        with pytest.raises(AuthenticationFailed, match="DIFFIO_API_KEY") as caught:
            await client.projects.list()
        assert KEY not in repr(client)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert len(requests_to(sandbox, "/v1/list_projects")) == 1


async def test_one_call_may_use_another_key_and_more_headers(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Options of a call are combined with the client's, for this call only."""
    options = RequestOptions(api_key=KEY, headers={"X-Trace": "7"})
    with pytest.raises(AuthenticationFailed):
        await client.projects.list(options=options)
    assert KEY not in repr(options)
    await client.projects.list()
    first, second = requests_to(sandbox, "/v1/list_projects")
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["x-trace"] == "7"
    assert second.headers["authorization"] == f"Bearer {sandbox.api_key}"
    assert "x-trace" not in second.headers


@pytest.mark.parametrize("name", ["authorization", "X-Api-Key", "XI-API-KEY"])
async def test_a_credential_header_of_the_user_replaces_the_key(
    sandbox: Sandbox, name: str
) -> None:
    """Two credentials are never sent, whatever the case of the header name."""
    value = f"Bearer {sandbox.api_key}" if name == "authorization" else sandbox.api_key
    options = ClientOptions(headers={name: value})
    async with AsyncDiffio(KEY, base_url=sandbox.base_url, options=options) as client:
        await client.restore(b"speech")
    sent = {"authorization", "x-api-key", "xi-api-key"}
    for seen in sandbox.requests:
        if seen.origin == "api":
            assert sent & set(seen.headers) == {name.lower()}
            assert seen.headers[name.lower()] == value
        else:
            assert sandbox.api_key not in str(seen.headers)
        assert KEY not in str(seen.headers)


async def test_requests_identify_the_sdk(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """The contract requires these headers."""
    from diffio_async import __version__

    await client.projects.list()
    headers = sandbox.requests[0].headers
    assert headers["user-agent"] == f"diffio-async/{__version__}"
    assert headers["x-diffio-sdk-language"] == "python"
    assert headers["x-diffio-sdk-name"] == "diffio-async"
    assert headers["x-diffio-sdk-version"] == __version__


async def test_a_closed_client_raises(sandbox: Sandbox) -> None:
    """It raises before any request, and may be closed several times."""
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
    await client.projects.list()
    await client.aclose()
    await client.aclose()
    with pytest.raises(ClientClosed, match="create another one"):
        await client.projects.list()
