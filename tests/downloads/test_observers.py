"""Events of a download: each request to the media host, its response, and retries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    DownloadProgress,
    DownloadResumed,
    Event,
    RequestSent,
    ResponseReceived,
)
from diffio_async.sandbox import Fault, Sandbox, Truncate
from tests.conftest import QUICK
from tests.downloads.scenes import RESULT, finished, leads_to, linked, media
from tests.http.peers import head, once, peer, responds, sends

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT = os.urandom(400_000)


def watched(sandbox: Sandbox, events: list[Event]) -> AsyncDiffio:
    """Return a client that appends its events to a list."""
    options = ClientOptions(retry=QUICK, observers=(events.append,))
    return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options)


def summary(events: Sequence[Event]) -> list[tuple[object, ...]]:
    """Return the events of the download itself, abbreviated."""
    found: list[tuple[object, ...]] = []
    for event in events:
        match event:
            case RequestSent(call="download"):
                found.append(("sent", event.method, event.attempt))
            case ResponseReceived(call="download"):
                found.append(("response", event.status, event.attempt))
            case DownloadResumed():
                found.append(("again", event.offset))
    return found


async def test_every_request_of_a_download_and_its_response_are_reported(sandbox: Sandbox) -> None:
    """For a complete one, one that broke, and one whose link expired."""
    events: list[Event] = []
    async with watched(sandbox, events) as client:
        job = await finished(client, CONTENT)
        assert (await job.download()).content == CONTENT
        assert summary(events) == [("sent", "GET", 1), ("response", 200, 1)]
        events.clear()
        sandbox.faults.add(Fault(path=RESULT, action=Truncate(0.5)))

        def expire(progress: DownloadProgress) -> None:
            if len(media(sandbox)) == 2:
                sandbox.forget_link()

        assert (await job.download(on_progress=expire)).content == CONTENT
    half = len(CONTENT) // 2
    assert summary(events) == [
        ("sent", "GET", 1),
        ("response", 200, 1),
        ("again", half),
        ("sent", "GET", 2),
        ("response", 403, 2),
        ("again", half),
        ("sent", "GET", 3),
        ("response", 206, 3),
    ]
    resumed = [event for event in events if isinstance(event, DownloadResumed)]
    assert "signed link is refused" in resumed[1].reason
    sent = [event for event in events if isinstance(event, RequestSent) and event.method == "GET"]
    assert {event.url for event in sent} == {sandbox_url(sandbox)}
    assert "signature" not in repr(events)


def sandbox_url(sandbox: Sandbox) -> str:
    """Return the address of the result without its signature."""
    return f"{sandbox.media_url}{media(sandbox)[-1].path}"


async def test_each_step_of_a_redirect_is_reported(sandbox: Sandbox) -> None:
    events: list[Event] = []
    async with peer(responds(200, CONTENT)) as there:
        async with peer(responds(302, location=there.url("/r?signature=s3cret"))) as here:
            leads_to(sandbox, here.url("/l?signature=s3cret"))
            async with watched(sandbox, events) as client:
                assert (await linked(client).download()).content == CONTENT
        assert summary(events) == [
            ("sent", "GET", 1),
            ("response", 302, 1),
            ("sent", "GET", 1),
            ("response", 200, 1),
        ]
        assert there.url("/r") in {e.url for e in events if isinstance(e, RequestSent)}
        assert "s3cret" not in repr(events)


async def test_a_download_that_has_to_start_over_reports_it(sandbox: Sandbox) -> None:
    """Without an ETag the received bytes cannot be used: it restarts at byte 0."""
    events: list[Event] = []
    broken = sends(head(200, {"content-length": len(CONTENT)}) + CONTENT[:1000])
    async with peer(broken, responds(200, CONTENT)) as host, watched(sandbox, events) as client:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT
    assert ("again", 0) in summary(events)


async def test_the_name_of_a_request_is_found_under_each_of_its_headers() -> None:
    """The event has the same `request_id` as an error."""
    events: list[Event] = []
    options = ClientOptions(observers=(events.append,))
    async with (
        peer(responds(200, b'{"projects": []}', cf_ray="9a7-FRA")) as host,
        once(host.url("/v1"), options) as client,
    ):
        await client.projects.list()
    assert [e.request_id for e in events if isinstance(e, ResponseReceived)] == ["9a7-FRA"]
