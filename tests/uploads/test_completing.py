"""Completion of uploads: after a lost response, finished uploads are not aborted."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from diffio_async import NotReady, ResponseLost, RetryPolicy, UploadFailed
from diffio_async.sandbox import Delay, Drop, Fault, LoseResponse, RespondWith
from tests.uploads.scenes import Scene, cancelled_at, scene, sound

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(100_000)
COMPLETE = "/uploads/complete"
CONFIRM = "/complete_project_upload"
ABORT = "/uploads/abort"


def fault(path: str, action: object, times: int | None = 1) -> Fault:
    """Return a fault for requests to paths that end with `path`."""
    return Fault(path=f"*{path}", times=times, action=action)  # type: ignore[arg-type]


async def created(on: Scene) -> None:
    """Upload, and check that all bytes arrived and no finished upload was aborted."""
    project = await on.client.projects.create(CONTENT)
    assert project.status == "uploaded"
    assert on.uploaded_bytes(project) == CONTENT
    assert on.seen(ABORT) == []
    assert on.sandbox.state.uploads == {}


async def test_a_lost_response_to_complete_ends_in_success() -> None:
    """The response to the second `complete` is a 404, so the API is queried."""
    async with scene(faults=[fault(COMPLETE, LoseResponse())]) as on:
        await created(on)
        assert [seen.status for seen in on.seen(COMPLETE)] == [None, 404]
        assert len(on.seen(CONFIRM)) == 1


async def test_a_lost_response_to_complete_ends_in_success_without_retries() -> None:
    async with scene(faults=[fault(COMPLETE, LoseResponse())], retry=RetryPolicy(attempts=1)) as on:
        await created(on)
        assert len(on.seen(COMPLETE)) == 1


async def test_after_an_uncertain_complete_storage_may_take_a_moment() -> None:
    """A "not received yet" does not abort an upload that may be finished."""
    late = fault(CONFIRM, RespondWith(409, json={"error": "not yet"}), times=2)
    async with scene(faults=[fault(COMPLETE, LoseResponse()), late]) as on:
        await created(on)
        assert [seen.status for seen in on.seen(CONFIRM)] == [409, 409, 200]


async def test_a_complete_with_an_html_response_is_confirmed_with_the_api() -> None:
    """A proxy sends a page in place of the response of the edge, which has finished."""
    page = RespondWith(200, text="<html>")
    async with scene(faults=[fault(COMPLETE, LoseResponse()), fault(COMPLETE, page)]) as on:
        await created(on)


async def test_a_complete_that_never_arrived_is_sent_again() -> None:
    """The connection was dropped, or the host overloaded; the upload itself is valid."""
    faults = [fault(COMPLETE, Drop()), fault(COMPLETE, RespondWith(503))]
    async with scene(faults=faults) as on:
        await created(on)
        assert [seen.status for seen in on.seen(COMPLETE)] == [None, 503, 200]


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_complete_that_fails_permanently_is_aborted(status: int) -> None:
    """The API reports that nothing was received: the upload is aborted, the first error raised."""
    refused = fault(
        COMPLETE, RespondWith(status, json={"error": {"code": "no", "message": "No."}}), None
    )
    async with scene(faults=[refused]) as on:
        with pytest.raises(UploadFailed, match=f"returned {status} no") as caught:
            await on.client.projects.create(CONTENT)
        assert caught.value.api_project_id == on.only_project()
        assert [seen.status for seen in on.seen(ABORT)] == [200]
        assert on.sandbox.state.uploads == {}


async def test_an_upload_of_unknown_state_is_not_aborted() -> None:
    """Neither the edge nor the API responds: an abort might delete a finished upload."""
    faults = [fault(COMPLETE, LoseResponse(), None), fault(CONFIRM, RespondWith(500), None)]
    async with scene(faults=faults) as on:
        with pytest.raises(UploadFailed) as caught:
            await on.client.projects.create(CONTENT)
        project_id = caught.value.api_project_id
        assert project_id is not None
        assert on.seen(ABORT) == []
        on.sandbox.faults.clear()
        done = await on.client.projects.complete_upload(api_project_id=project_id)
        assert done.size_bytes == len(CONTENT)


async def test_the_api_may_take_a_moment_to_confirm() -> None:
    late = fault(CONFIRM, RespondWith(409, json={"error": "not yet"}), times=3)
    async with scene(faults=[late]) as on:
        await created(on)


async def test_a_missing_confirmation_explains_how_to_confirm_again() -> None:
    never = fault(CONFIRM, RespondWith(409, json={"error": "not yet"}), None)
    async with scene(faults=[never]) as on:
        with pytest.raises(
            UploadFailed, match=r"sent completely.*projects.complete_upload"
        ) as caught:
            await on.client.projects.create(CONTENT)
        assert isinstance(caught.value.__cause__, NotReady)
        assert caught.value.api_project_id == on.only_project()
        assert on.seen(ABORT) == []


async def test_a_lost_confirmation_is_retried() -> None:
    async with scene(faults=[fault(CONFIRM, LoseResponse())]) as on:
        await created(on)


async def test_a_cancelled_complete_that_was_finished_is_not_aborted() -> None:
    """The call is cancelled before the response arrives; the API reports a received upload."""
    async with scene() as on:
        on.fail(fault(CONFIRM, Delay(0.05)))
        uploading = asyncio.create_task(on.client.projects.create(CONTENT))
        with anyio.fail_after(60):
            while not on.seen(CONFIRM):
                await asyncio.sleep(0.005)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert on.seen(ABORT) == []
        assert on.uploaded_bytes(on.only_project()) == CONTENT


@pytest.mark.slow
async def test_a_cancelled_complete_that_was_not_finished_is_aborted() -> None:
    async with scene(faults=[fault(COMPLETE, Delay(60))]) as on:
        await cancelled_at(on, COMPLETE, on.client.projects.create(CONTENT))
        assert [seen.status for seen in on.seen(CONFIRM)] == [409]
        assert [seen.status for seen in on.seen(ABORT)] == [200]
        assert on.sandbox.state.uploads == {}


async def test_complete_upload_keeps_the_project_in_its_errors() -> None:
    async with scene(faults=[fault(CONFIRM, Drop(), None)]) as on:
        with pytest.raises(ResponseLost) as caught:
            await on.client.projects.complete_upload(api_project_id="proj_x")
        assert caught.value.api_project_id == "proj_x"


@pytest.mark.parametrize("output", [{"sizeBytes": 3}, {"status": "failed", "sizeBytes": 100_000}])
async def test_a_recording_that_arrived_incomplete_is_an_error(
    output: dict[str, object],
) -> None:
    """The reported size is checked, as a generation of a partial recording would be billed."""
    body = {"apiProjectId": "proj_1", "status": "uploaded", **output}
    async with scene(faults=[fault(CONFIRM, RespondWith(json=body))]) as on:
        with pytest.raises(UploadFailed, match="but the API reports") as caught:
            await on.client.projects.create(CONTENT)
        assert caught.value.api_project_id == on.only_project()
