"""A download that breaks resumes where it broke, or restarts with another version."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    DownloadFailed,
    DownloadProgress,
    DownloadResumed,
    Event,
    RequestOptions,
    RetryPolicy,
    Timeouts,
)
from diffio_async.sandbox import Drop, Fault, RespondWith, Sandbox, Stall, Truncate
from tests.downloads.scenes import LINK, RESULT, entries, finished, leads_to, linked, media
from tests.http.peers import Incoming, Script, head, peer, responds, sends
from tests.scripts import requests_to

CONTENT = os.urandom(900_000)
#: No reports of the received bytes.
NO_REPORTS: Sequence[DownloadProgress] = ()
COMPLETE = {"content-length": len(CONTENT), "etag": '"one"'}


def ranged(
    version: bytes,
    etag: str,
    *,
    most: int | None = None,
    reports: Sequence[DownloadProgress] = NO_REPORTS,
) -> Script:
    """A host that serves ranges of one version, `most` bytes per connection.

    It waits until `reports` shows that they arrived: buffered bytes are lost with the connection.
    """

    async def script(request: Incoming, writer: asyncio.StreamWriter) -> None:
        start = 0
        headers: dict[str, object] = {"etag": etag}
        if "range" in request.headers and request.headers.get("if-range", etag) == etag:
            start = int(request.headers["range"][len("bytes=") : -1])
            headers["content-range"] = f"bytes {start}-{len(version) - 1}/{len(version)}"
        headers["content-length"] = len(version) - start
        status = 206 if "content-range" in headers else 200
        end = len(version) if most is None else min(start + most, len(version))
        await sends(head(status, headers) + version[start:end])(request, writer)
        while reports is not NO_REPORTS and (not reports or reports[-1].received < end):
            await asyncio.sleep(0.001)

    return script


async def test_a_body_cut_short_is_resumed_from_where_it_broke(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """By `Range` and `If-Range`, and no byte that arrived is sent twice."""
    reports: list[DownloadProgress] = []
    async with peer(ranged(CONTENT, '"one"', most=400_000, reports=reports)) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3", on_progress=reports.append)
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert [(one.headers.get("range"), one.headers.get("if-range")) for one in host.requests] == [
        (None, None),
        ("bytes=400000-", '"one"'),
        ("bytes=800000-", '"one"'),
    ]
    assert [progress.received for progress in reports] == sorted(p.received for p in reports)
    assert len(requests_to(sandbox, LINK)) == 1


async def test_a_result_of_the_sandbox_cut_short_is_resumed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    sandbox.faults.add(
        Fault(path=RESULT, action=Truncate(0.5)), Fault(path=RESULT, action=Truncate(0.25))
    )
    await job.download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert len(media(sandbox)) == 3


async def test_a_stalled_host_is_left_after_the_read_timeout(sandbox: Sandbox) -> None:
    """The rest is requested again; observers are notified."""
    events: list[Event] = []
    options = ClientOptions(
        timeouts=Timeouts(read=0.2),
        retry=RetryPolicy(initial_delay=0.01),
        observers=(events.append,),
    )
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        job = await finished(client, CONTENT)
        sandbox.faults.add(Fault(path=RESULT, action=Stall(after=400_000, seconds=30)))
        started_at = time.monotonic()
        assert (await job.download()).content == CONTENT
    assert time.monotonic() - started_at < 20
    assert [seen.headers.get("range") for seen in media(sandbox)] == [None, "bytes=400000-"]
    resumed = [event for event in events if isinstance(event, DownloadResumed)]
    assert [event.offset for event in resumed] == [400_000]
    assert "read time-out" in resumed[0].reason


@pytest.mark.slow
async def test_a_host_that_only_stalls_ends_the_download(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """After the attempts of the retry policy, no file is left."""
    # Of the download alone: the upload before it takes longer on a busy machine.
    options = RequestOptions(
        timeout=Timeouts(read=0.4), retry=RetryPolicy(attempts=3, initial_delay=0.01)
    )
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, times=None, action=Stall(after=0, seconds=30)))
    with pytest.raises(DownloadFailed, match="could not be downloaded") as caught:
        await job.download(options=options)
    assert len(media(sandbox)) == 3
    assert len(caught.value.__notes__) >= 2


async def test_attempts_are_counted_only_without_progress(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A connection that breaks ten times, with progress each time, does not fail."""
    reports: list[DownloadProgress] = []
    async with peer(ranged(CONTENT, '"one"', most=82_000, reports=reports)) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download(on_progress=reports.append)).content == CONTENT
    assert len(host.requests) == 11


@pytest.mark.parametrize(
    "action", [Drop(), RespondWith(503), RespondWith(500, text="<html>Oops</html>")]
)
async def test_a_storage_host_that_fails_is_retried(
    client: AsyncDiffio, sandbox: Sandbox, action: Drop | RespondWith
) -> None:
    job = await finished(client, CONTENT)
    sandbox.faults.add(
        Fault(path=RESULT, action=Truncate(0.5)), Fault(path=RESULT, times=2, action=action)
    )
    assert (await job.download()).content == CONTENT
    assert len(requests_to(sandbox, LINK)) == 1


OTHER = os.urandom(500_000)


async def test_a_result_that_changed_is_fetched_again_completely(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The host sends all of the new version."""
    arrived: list[DownloadProgress] = []
    first = ranged(CONTENT, '"one"', most=300_000, reports=arrived)
    async with peer(first, ranged(OTHER, '"two"')) as host:
        leads_to(sandbox, host.url("/r"))
        target = tmp_path / "voice.mp3"
        result = await linked(client).download(target, on_progress=arrived.append)
    assert (tmp_path / "voice.mp3").read_bytes() == OTHER
    assert result.size == len(OTHER)
    assert host.requests[1].headers["if-range"] == '"one"'


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": '"two"', "content-range": "bytes 300000-499999/500000"},
        {"etag": 'W/"one"', "content-range": "bytes 300000-499999/500000"},
        {"content-range": "bytes 300000-499999/500000"},  # another total than before
        {"etag": '"one"', "content-range": "bytes 299999-499999/500000"},
        {"etag": '"one"', "content-range": "bytes 300000-899999/*", "connection": "close"},
        {"etag": '"one"'},
    ],
)
async def test_a_range_of_another_version_is_not_combined(
    client: AsyncDiffio, sandbox: Sandbox, headers: dict[str, object]
) -> None:
    """If a host ignores `If-Range` and sends another version, everything is requested again."""
    odd = sends(head(206, {"content-length": 200_000, **headers}) + OTHER[300_000:])
    arrived: list[DownloadProgress] = []
    first = ranged(CONTENT, '"one"', most=300_000, reports=arrived)
    async with peer(first, odd, ranged(OTHER, '"two"')) as host:
        leads_to(sandbox, host.url("/r"))
        result = await linked(client).download(on_progress=arrived.append)
    assert result.content == OTHER
    assert "range" in host.requests[1].headers
    assert "range" not in host.requests[2].headers


@pytest.mark.parametrize("etag", [{}, {"etag": 'W/"one"'}, {"etag": "one"}])
async def test_without_a_strong_etag_a_broken_download_starts_over(
    client: AsyncDiffio, sandbox: Sandbox, etag: dict[str, object], tmp_path: Path
) -> None:
    cut = sends(head(200, {"content-length": len(CONTENT), **etag}) + CONTENT[:400_000])
    async with peer(cut, ranged(OTHER, '"two"')) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == OTHER
    assert "range" not in host.requests[1].headers


async def test_a_download_from_a_host_that_ignores_ranges_restarts(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A host that never sends more than before ends the download."""
    cut = sends(head(200, COMPLETE) + CONTENT[:400_000], then=0.02)
    async with peer(cut, responds(200, CONTENT, etag='"one"')) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT
    sandbox.faults.clear()
    async with peer(cut) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="broke before the whole response arrived"):
            await linked(client).download()
    assert len(host.requests) == RetryPolicy().attempts


async def test_everything_is_requested_again_after_a_refused_range(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    cut = sends(head(200, COMPLETE) + CONTENT[:400_000], then=0.05)
    refused = responds(416, b"<Error/>", content_range="bytes */5")
    async with peer(cut, refused, responds(200, b"short", etag='"two"')) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == b"short"
    assert entries(tmp_path) == ["voice.mp3"]
    assert ["range" in one.headers for one in host.requests] == [False, True, False]
