"""Signed links: renewed when they expire, followed without a credential, refused when insecure."""

import os
from pathlib import Path

import pytest

from diffio_async import (
    ApiError,
    AsyncDiffio,
    ClientOptions,
    DownloadFailed,
    DownloadProgress,
    RequestOptions,
)
from diffio_async.sandbox import Fault, RespondWith, Sandbox, Truncate
from tests.downloads.scenes import LINK, RESULT, entries, finished, leads_to, linked, media
from tests.http.peers import head, peer, responds, sends
from tests.scripts import requests_to

CONTENT = os.urandom(400_000)
XML = "<?xml version='1.0'?><Error><Code>ExpiredToken</Code></Error>"


async def test_a_link_that_expired_before_the_first_byte_is_requested_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, action=RespondWith(403, text=XML)))
    result = await job.download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert len(requests_to(sandbox, LINK)) == 2
    # The link that comes with the result is the one that worked.
    assert f"signature={media(sandbox)[1].query['signature']}" in result.download.download_url


async def test_a_link_that_expires_midway_is_requested_again_and_the_rest_fetched(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, action=Truncate(0.5)))

    def expire(progress: DownloadProgress) -> None:
        if len(media(sandbox)) == 1:
            sandbox.forget_link()

    assert (await job.download(on_progress=expire)).content == CONTENT
    assert [seen.status for seen in media(sandbox)] == [200, 403, 206]
    first, refused, rest = (seen.headers.get("range") for seen in media(sandbox))
    assert first is None
    assert refused == rest is not None
    assert len(requests_to(sandbox, LINK)) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_a_link_that_is_always_refused_ends_as_a_failed_download(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, status: int
) -> None:
    """The error has a remedy, and is raised after one new link."""
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, times=None, action=RespondWith(status, text=XML)))
    with pytest.raises(DownloadFailed, match=f"signed link is refused.*{status}") as caught:
        await job.download(tmp_path / "voice.mp3")
    cause = caught.value.__cause__
    while cause is not None and not isinstance(cause, ApiError):
        cause = cause.__cause__
    assert cause is not None
    assert cause.status == status
    assert caught.value.generation_id == job.generation_id
    assert len(media(sandbox)) == 2
    assert len(requests_to(sandbox, LINK)) == 2
    assert entries(tmp_path) == []


async def test_a_refusal_with_a_long_or_broken_page_is_recognised(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    async with peer(
        responds(403, b"<html>" + bytes(3_000_000)),
        responds(200, CONTENT[:1000], etag='"one"'),
    ) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT[:1000]
    sandbox.faults.clear()
    async with peer(
        sends(head(403, {"content-length": 5000}) + b"<Error>"),
        responds(200, CONTENT[:1000], etag='"one"'),
    ) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT[:1000]


async def test_no_credential_and_no_header_of_the_user_reaches_the_media_host(
    sandbox: Sandbox,
) -> None:
    """Neither the key, nor headers of the client's or the call's options."""
    mine = {"X-Mine": "private", "Cookie": "c=1"}
    async with AsyncDiffio(
        sandbox.api_key, base_url=sandbox.base_url, options=ClientOptions(headers=mine)
    ) as client:
        job = await finished(client, CONTENT)
        options = RequestOptions(headers={"X-Api-Key": sandbox.api_key})
        sandbox.faults.add(Fault(path=RESULT, action=Truncate(0.5)))
        await job.download(options=options)
    assert requests_to(sandbox, LINK)[0].headers["x-mine"] == "private"
    assert len(media(sandbox)) == 2
    for seen in media(sandbox):
        assert set(seen.headers) <= {
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "range",
            "if-range",
        }
    assert sandbox.violations == []


async def test_redirects_are_followed_within_a_host_and_to_another(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Without a credential, and with the requested range."""
    reports = {"content-length": len(CONTENT), "etag": '"one"'}
    cut = sends(head(200, reports) + CONTENT[:100_000], then=0.2)
    rest = responds(
        206,
        CONTENT[100_000:],
        etag='"one"',
        content_range=f"bytes 100000-{len(CONTENT) - 1}/{len(CONTENT)}",
    )
    async with peer(cut, rest) as other:
        moved = responds(302, b"moved", location="next?signature=b")
        away = responds(307, location=other.url("/elsewhere?signature=c"))
        async with peer(moved, away) as host:
            leads_to(sandbox, host.url("/files/first?signature=a"))
            await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert [one.target for one in host.requests] == [
        "/files/first?signature=a",
        "/files/next?signature=b",
        "/files/first?signature=a",
    ]
    assert [one.headers.get("range") for one in other.requests] == [None, "bytes=100000-"]
    for one in (*host.requests, *other.requests):
        assert not {"authorization", "x-api-key", "cookie"} & set(one.headers)


async def test_a_redirect_within_a_host_needs_no_second_connection(sandbox: Sandbox) -> None:
    """With a limit of one connection, waiting for another would never end."""
    options = ClientOptions(max_connections_per_host=1)
    async with (
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
        peer(responds(302, location="/next"), responds(200, b"voice")) as host,
    ):
        leads_to(sandbox, host.url("/first"))
        assert (await linked(client).download()).content == b"voice"


async def test_redirects_in_a_circle_end(client: AsyncDiffio, sandbox: Sandbox) -> None:
    async with peer(responds(301, location="/again?signature=SECRET")) as host:
        leads_to(sandbox, host.url("/again?signature=SECRET"))
        with pytest.raises(DownloadFailed, match="more than 5 redirects") as caught:
            await linked(client).download()
    assert len(host.requests) == 6
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://media.example.com/r?signature=SECRET", "unencrypted to media.example.com"),
        ("ftp://media.example.com/r?signature=SECRET", "not an address"),
        ("http://[?signature=SECRET", "no address|not an address"),
        ("https://media.example.com:99999/?signature=SECRET", "not an address"),
    ],
)
async def test_an_insecure_link_or_redirect_is_not_followed(
    client: AsyncDiffio, sandbox: Sandbox, location: str, message: str
) -> None:
    async with peer(responds(302, location=location)) as host:
        leads_to(sandbox, host.url("/r"), location)
        for _ in range(2):
            with pytest.raises(DownloadFailed, match=message) as caught:
                await linked(client).download()
            assert "SECRET" not in str(caught.value)
    assert len(host.requests) == 1
