"""Parts of an upload: their size, concurrency and retries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    InvalidResponse,
    PartUploaded,
    RequestOptions,
    ResponseLost,
    RetryPolicy,
    Timeouts,
    UploadFailed,
)
from diffio_async.sandbox import Delay, Drop, DropAfter, Fault, LoseResponse, RespondWith
from tests.uploads.scenes import PART, max_concurrency, scene, sound

if TYPE_CHECKING:
    from diffio_async.sandbox.faults import Action

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(5 * PART + 17)
SLOW = Fault(method="PUT", times=None, action=Delay(0.02))


def at_part(number: int, action: Action, times: int | None = 1) -> Fault:
    """Return a fault for one part."""
    return Fault(origin="edge", method="PUT", path=f"*/parts/{number}", times=times, action=action)


async def test_the_edge_is_preferred_if_both_methods_are_offered() -> None:
    async with scene(uploads=("signed", "edge")) as on:
        assert on.uploaded_bytes(await on.client.projects.create(CONTENT)) == CONTENT
        assert {seen.origin for seen in on.parts()} == {"edge"}
        (confirmed,) = on.seen("/complete_project_upload")
        assert confirmed.status == 200


async def test_the_part_size_of_the_start_response_is_used() -> None:
    """The response to `start` overrides the size in the offer."""
    async with scene() as on:
        on.fail(
            Fault(path="*create_project", action=RespondWith(json=_offer(on.sandbox.edge_url, 7))),
            Fault(path="*/start", action=RespondWith(json={"uploadId": "u", "partSizeBytes": 100})),
            Fault(path="*/parts/*", times=None, action=RespondWith(json={"etag": "e"})),
            Fault(path="*/complete", action=RespondWith(json={})),
            Fault(path="*/complete_project_upload", action=RespondWith(json=_landed())),
        )
        await on.client.projects.create(bytes(250))
        assert sorted(seen.bytes_received for seen in on.parts()) == [50, 100, 100]


async def test_the_part_size_of_the_offer_is_used_without_one_in_the_start_response() -> None:
    async with scene() as on:
        on.fail(
            Fault(
                path="*create_project", action=RespondWith(json=_offer(on.sandbox.edge_url, 100))
            ),
            Fault(path="*/start", action=RespondWith(json={"uploadId": "a/b&c"})),
            Fault(path="*/parts/*", times=None, action=RespondWith(json={"etag": "e"})),
            Fault(path="*/complete", action=RespondWith(status=204)),
            Fault(path="*/complete_project_upload", action=RespondWith(json=_landed())),
        )
        await on.client.projects.create(bytes(250))
        assert sorted(seen.bytes_received for seen in on.parts()) == [50, 100, 100]
        assert {seen.query["uploadId"] for seen in on.parts()} == {"a/b&c"}


def _offer(edge_url: str, part_size: int) -> dict[str, object]:
    upload = {
        "uploadSessionId": "s",
        "edgeBaseUrl": f"{edge_url}/",
        "uploadToken": "token",
        "partSizeBytes": part_size,
    }
    return {"apiProjectId": "proj_1", "upload": upload}


def _landed() -> dict[str, object]:
    return {"apiProjectId": "proj_1", "status": "uploaded", "sizeBytes": 250}


@pytest.mark.parametrize("upload_mode", ["edge", "signed"])
async def test_all_uploads_of_a_client_share_one_limit(upload_mode: str) -> None:
    async with scene(uploads=(upload_mode,), faults=[SLOW], max_concurrent_parts=2) as on:
        create = on.client.projects.create
        await asyncio.gather(create(CONTENT), create(CONTENT), create(CONTENT))
        assert max_concurrency(on.parts()) == 2


@pytest.mark.parametrize(
    "action",
    [
        RespondWith(503),
        RespondWith(429, {"Retry-After": "0"}),
        Drop(),
        DropAfter(PART // 2),
        LoseResponse(),
    ],
    ids=lambda action: type(action).__name__,
)
async def test_a_part_that_fails_is_sent_again_alone(action: Action) -> None:
    """The others are sent once, and the etags are listed in the order of the parts."""
    async with scene(faults=[at_part(2, action)]) as on:
        assert on.uploaded_bytes(await on.client.projects.create(CONTENT)) == CONTENT
        numbers = on.part_numbers()
        assert numbers.count(2) > 1
        assert [number for number in numbers if number != 2] == [1, 3, 4, 5, 6]
        (complete,) = on.seen("/uploads/complete")
        assert [part["partNumber"] for part in complete.json["parts"]] == [1, 2, 3, 4, 5, 6]
        assert len(on.seen("/uploads/start")) == 1


async def test_a_part_is_sent_again_by_the_retry_policy_alone() -> None:
    """Aiohttp by itself would retry a PUT when a kept-alive connection breaks."""
    once = RetryPolicy(attempts=1)
    async with scene(faults=[at_part(2, Drop())], retry=once, max_concurrent_parts=1) as on:
        with pytest.raises(UploadFailed) as caught:
            await on.client.projects.create(CONTENT)
        assert isinstance(caught.value.__cause__, ResponseLost)
        assert sum(seen.bytes_received for seen in on.parts() if seen.path.endswith("/2")) == 0
        assert on.sandbox.state.uploads == {}


async def test_a_signed_upload_that_breaks_is_sent_again_from_its_first_byte() -> None:
    broken = Fault(origin="media", action=DropAfter(3 * PART))
    async with scene(uploads=("signed",), faults=[broken]) as on:
        assert on.uploaded_bytes(await on.client.projects.create(CONTENT)) == CONTENT
        assert len(on.parts()) > 1
        assert on.seen("/complete_project_upload") == []


@pytest.mark.slow
async def test_a_part_is_retried_however_long_the_first_attempt_took() -> None:
    """The total timeout of the retries does not apply to bodies on a slow link."""
    policy = RetryPolicy(initial_delay=0.01, total_timeout=2)
    late = [at_part(1, Delay(2.2)), at_part(1, RespondWith(503))]
    async with scene(faults=late, retry=policy) as on:
        assert on.uploaded_bytes(await on.client.projects.create(b"x")) == b"x"
        assert on.part_numbers() == [1, 1]


async def test_a_part_without_an_etag_ends_the_upload() -> None:
    for response in ({}, {"etag": ""}, {"etag": None}):
        async with scene(faults=[at_part(3, RespondWith(json=response))]) as on:
            with pytest.raises(UploadFailed, match="etag") as caught:
                await on.client.projects.create(CONTENT)
            assert isinstance(caught.value.__cause__, InvalidResponse)
            assert caught.value.api_project_id == on.only_project()
            assert on.sandbox.state.uploads == {}


async def test_an_invalid_part_size_ends_the_upload() -> None:
    started = Fault(path="*/start", action=RespondWith(json={"uploadId": "u", "partSizeBytes": -1}))
    async with scene(faults=[started]) as on:
        with pytest.raises(UploadFailed, match="a part size of -1 bytes"):
            await on.client.projects.create(b"x")
        assert len(on.seen("/uploads/abort")) == 1


async def test_observers_receive_every_part() -> None:
    reports: list[object] = []
    async with scene(observers=(reports.append,)) as on:
        project = await on.client.projects.create(CONTENT)
    parts = {e.part_number: e for e in reports if isinstance(e, PartUploaded)}
    assert [parts[n].size for n in range(1, 7)] == [PART] * 5 + [17]
    assert parts[1].api_project_id == project.api_project_id


async def test_options_of_one_call_reach_its_parts() -> None:
    async with scene(faults=[at_part(2, RespondWith(503))]) as on:
        with pytest.raises(UploadFailed, match="upload parts/2 returned 503"):
            await on.client.projects.create(
                CONTENT, options=RequestOptions(retry=RetryPolicy(attempts=1))
            )
        assert on.part_numbers().count(2) == 1
        assert on.sandbox.state.uploads == {}


@pytest.mark.parametrize("etag", [5, ["e"], {"e": "e"}, True])
async def test_an_etag_that_is_not_text_ends_the_upload(etag: object) -> None:
    """The upload is aborted, and the message contains the path of the invalid field."""
    async with scene(faults=[at_part(3, RespondWith(json={"etag": etag}))]) as on:
        with pytest.raises(UploadFailed, match="etag: expected a string") as caught:
            await on.client.projects.create(CONTENT)
        assert caught.value.api_project_id == on.only_project()
        assert on.sandbox.state.uploads == {}


async def test_an_unknown_upload_session_ends_the_upload() -> None:
    """The error contains its message, and the upload is aborted."""
    lie = {"uploadId": "u", "partSizeBytes": 2 * PART}
    async with scene(faults=[Fault(path="*/start", action=RespondWith(json=lie))]) as on:
        with pytest.raises(UploadFailed, match=r"upload parts/\d returned 404"):
            await on.client.projects.create(CONTENT)
        assert len(on.seen("/uploads/abort")) == 1


@pytest.mark.slow
async def test_a_part_that_stalls_is_sent_again() -> None:
    """Its response does not arrive: after the read time-out it is retried; the others continue."""
    stalled = at_part(2, Delay(60))
    async with scene(faults=[stalled], timeouts=Timeouts(read=1.0)) as on:
        assert on.uploaded_bytes(await on.client.projects.create(CONTENT)) == CONTENT
        assert on.part_numbers().count(2) == 2
