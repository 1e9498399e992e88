"""`create_project` is repeated only if the earlier request was certainly not accepted."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import pytest

from diffio_async import (
    ApiError,
    AsyncDiffio,
    ClientOptions,
    ConnectionFailed,
    InvalidResponse,
    ResponseLost,
    ResponseTimeout,
    UploadFailed,
)
from diffio_async.options import Timeouts
from diffio_async.sandbox import Delay, Drop, Fault, LoseResponse, RespondWith, Sandbox, Truncate
from tests.conftest import QUICK
from tests.uploads.scenes import PART, scene, sound

pytestmark = pytest.mark.usefixtures("_no_task_left")

CREATE = "/v1/create_project"


def create(action: Any, times: int | None = 1) -> Fault:
    """Return a fault of `create_project`."""
    return Fault(path=CREATE, times=times, action=action)


@pytest.mark.parametrize("action", [LoseResponse(), Truncate(0.5)], ids=["lost", "cut"])
async def test_a_request_with_a_lost_response_is_not_retried(action: Any) -> None:
    """One project exists, and the error states that it may."""
    async with scene(faults=[create(action)]) as on:
        with pytest.raises(ResponseLost, match="may have been accepted"):
            await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 1
        assert len(on.sandbox.state.projects) == 1


@pytest.mark.slow
async def test_a_request_that_timed_out_is_not_retried() -> None:
    async with scene(faults=[create(Delay(5))], timeouts=Timeouts(total=1.0)) as on:
        with pytest.raises(ResponseTimeout):
            await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_a_request_that_may_have_been_accepted_is_not_retried(status: int) -> None:
    async with scene(faults=[create(RespondWith(status))]) as on:
        with pytest.raises(ApiError) as caught:
            await on.client.projects.create(b"x")
        assert caught.value.status == status
        assert len(on.seen(CREATE)) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_request_is_retried_after_a_response_with_retry_after(status: int) -> None:
    """With `Retry-After`, 429 and 503 mean "not accepted"."""
    busy = create(RespondWith(status, {"Retry-After": "0"}), times=2)
    async with scene(faults=[busy]) as on:
        project = await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 3
        assert on.only_project() == project.api_project_id


async def test_a_request_that_was_not_sent_is_retried() -> None:
    """The port is closed at first, and then opened."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    events: list[object] = []
    late = Sandbox(engine="echo", port=port, uploads=("signed",))
    url, key = f"http://localhost:{port}", late.api_key
    options = ClientOptions(retry=QUICK, observers=(events.append,))
    async with AsyncDiffio(key, base_url=url, options=options) as client:
        with pytest.raises(ConnectionFailed):
            await client.projects.create(b"x")
        assert str(events).count("RequestSent") == QUICK.attempts
        async with late:
            await client.projects.create(b"x")


async def test_a_dropped_keep_alive_connection_does_not_lose_a_create() -> None:
    """It uses no connection that may be dead, so a lost response is not caused by one."""
    async with scene() as on:
        await on.client.projects.list()
        await on.client.projects.create(b"x")
        await on.client.projects.create(b"x")
        assert len(on.sandbox.state.projects) == 2
        on.fail(create(Drop()))
        with pytest.raises(ResponseLost):
            await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 3


async def test_the_declared_metadata_is_sent() -> None:
    content = sound(PART + 1)
    async with scene() as on:
        await on.client.projects.create(
            content, file_name="a.wav", file_format="wav", params={"meeting": 7}
        )
        (request,) = on.seen(CREATE)
        assert request.json == {
            "fileName": "a.wav",
            "contentType": "audio/x-wav",
            "contentLength": len(content),
            "fileFormat": "wav",
            "params": {"meeting": 7},
        }


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
async def test_a_failed_upload_keeps_the_project(upload_mode: str) -> None:
    """The error and its notes contain the id and the cause, also after pickling."""
    refused = Fault(method="PUT", times=None, action=RespondWith(403, text="<Error/>"))
    async with scene(uploads=(upload_mode,), faults=[refused]) as on:
        with pytest.raises(UploadFailed, match="could not be uploaded") as caught:
            await on.client.projects.create(b"x", file_name="a.wav")
        failure = caught.value
        assert failure.api_project_id == on.only_project()
        assert f"api_project_id={on.only_project()}" in failure.__notes__
        copied = pickle.loads(pickle.dumps(failure))
        assert copied.api_project_id == on.only_project()
        assert getattr(failure.__cause__, "status", None) == 403


async def test_a_response_without_an_offer_is_an_error() -> None:
    async with scene(faults=[create(RespondWith(json={"apiProjectId": "proj_7"}))]) as on:
        with pytest.raises(UploadFailed, match="has no upload offer") as caught:
            await on.client.projects.create(b"x")
        assert isinstance(caught.value.__cause__, InvalidResponse)
        assert caught.value.api_project_id == "proj_7"
