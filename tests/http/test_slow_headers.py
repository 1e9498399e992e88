"""Servers that never finish their headers are abandoned, although they keep sending."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    DownloadFailed,
    RetryPolicy,
    Timeouts,
    UploadFailed,
)
from diffio_async.errors import ResponseTimeout
from diffio_async.sandbox import Fault, RespondWith
from tests.downloads.scenes import leads_to, linked
from tests.http.peers import Incoming, head, peer, responds

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox
    from tests.http.peers import Script

#: Seconds after which a test gives up.
PATIENCE = 60.0
#: Trickling headers, endless informational responses, a trickling error page.
ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n"),
    "1xx": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
    "error page": (head(500, {"content-length": 10**9}), b"<p>"),
}


def sends_endlessly(kind: str) -> Script:
    """Return a script that sends bytes endlessly, with short pauses."""
    first, more = ENDLESS[kind]

    async def script(_: Incoming, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(first)
            while True:
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0.02)

    return script


def offer_upload(sandbox: Sandbox, url: str) -> None:
    """Make the next project offer a signed PUT to this URL."""
    body = {"apiProjectId": "proj_1", "uploadUrl": url, "uploadMethod": "PUT"}
    sandbox.faults.add(Fault(path="/v1/create_project", action=RespondWith(json=body)))


def impatient(sandbox: Sandbox, read: float = 1.0) -> AsyncDiffio:
    options = ClientOptions(retry=RetryPolicy(attempts=1), timeouts=Timeouts(read=read))
    return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_download_does_not_wait_for_endless_headers(sandbox: Sandbox, kind: str) -> None:
    """Headers, and the body of an error, may take twice the read timeout."""
    async with peer(sends_endlessly(kind)) as host, impatient(sandbox) as client:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed) as caught:
            async with asyncio.timeout(PATIENCE):
                await linked(client).download()
        if kind == "error page":
            assert "500" in str(caught.value)
        else:
            assert isinstance(caught.value.__cause__, ResponseTimeout)
            assert "did not send the headers of its response" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_upload_does_not_wait_for_endless_headers(sandbox: Sandbox, kind: str) -> None:
    """The time counts from the last byte that was sent."""
    async with peer(sends_endlessly(kind)) as host, impatient(sandbox) as client:
        offer_upload(sandbox, host.url("/put"))
        with pytest.raises(UploadFailed):
            async with asyncio.timeout(PATIENCE):
                await client.projects.create(b"speech " * 1000, file_name="a.wav")


async def test_informational_responses_before_the_final_one_are_ignored(sandbox: Sandbox) -> None:
    async def script(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            writer.write(ENDLESS["1xx"][1])
            await asyncio.sleep(0.02)
        await responds(200, b"result")(incoming, writer)

    async with peer(script) as host, impatient(sandbox, read=10) as client:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == b"result"
