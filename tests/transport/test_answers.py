"""Answers that arrive and are no use: no JSON, too large, pointing elsewhere, too early."""

import os

import pytest

from diffio_async import AsyncDiffio, DiffioError, ResponseInvalid
from diffio_async.sandbox import Fault, RefuseBody, Sandbox
from tests.transport.peers import ONCE, Script, failure_at, once, peer, says

ODD: list[tuple[Script, str]] = [
    (says(200, b"<html>Log in to the Wi-Fi</html>", content_type="text/html"), "not JSON"),
    (says(200, b""), "not JSON"),
    (says(204), "not JSON"),
    (says(200, b"[1, 2]"), "object"),
    (says(200, b"null"), "object"),
]


@pytest.mark.parametrize(("script", "why"), ODD)
async def test_a_success_that_is_no_json_object_is_an_invalid_answer(
    script: Script, why: str
) -> None:
    """Scar 11: a captive portal's page is not an empty list."""
    async with peer(script) as host:
        error = await failure_at(host.url())
    assert type(error) is ResponseInvalid
    assert error.status in {200, 204}


async def test_json_is_json_whatever_its_content_type_says() -> None:
    for content_type in ("application/problem+json", "text/plain", "nonsense"):
        async with (
            peer(says(200, b'{"projects": []}', content_type=content_type)) as host,
            once(host.url()) as client,
        ):
            assert await client.projects.list() == []


async def test_a_large_answer_is_read_whole() -> None:
    """From some size on aiohttp does not read it: whoever took the connection over does."""
    rows = b", ".join(
        b'{"apiProjectId": "proj_%08d", "status": "uploaded"}' % n for n in range(100_000)
    )
    async with (
        peer(says(200, b'{"projects": [' + rows + b"]}")) as host,
        once(host.url()) as client,
    ):
        projects = await client.projects.list()
    assert len(projects) == 100_000
    assert projects[-1].api_project_id == "proj_00099999"


async def test_an_answer_larger_than_any_of_the_apis_is_not_read() -> None:
    async with peer(says(200, b" " * (33 * 2**20))) as host:
        error = await failure_at(host.url())
    assert type(error) is ResponseInvalid
    assert "more than 33,554,432 bytes" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_of_the_api_is_not_followed(status: int) -> None:
    """The key would go along; the error names what to check instead."""
    async with peer(says()) as other, peer(says(status, location=other.url())) as host:
        error = await failure_at(host.url())
    assert "check the base URL" in str(error)
    assert getattr(error, "status", None) == status
    assert other.asked == []


async def test_an_answer_given_before_the_body_was_read_is_heard(sandbox: Sandbox) -> None:
    """A server may refuse an upload without reading it."""
    refused = RefuseBody(413, json={"error": "too large"})
    sandbox.faults.add(Fault(origin="edge", method="PUT", action=refused))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=ONCE) as client:
        with pytest.raises(DiffioError, match="413"):
            await client.projects.create(os.urandom(8 * 2**20), file_name="a.wav")
