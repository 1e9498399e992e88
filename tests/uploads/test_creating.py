"""`create_project` cannot be undone: it is repeated only where it was surely not accepted."""

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
    """A fault of `create_project`."""
    return Fault(path=CREATE, times=times, action=action)


@pytest.mark.parametrize("action", [LoseResponse(), Truncate(0.5)], ids=["lost", "cut"])
async def test_a_lost_response_is_never_repeated(action: Any) -> None:
    """One project is there, and the error says that it may be."""
    async with scene(faults=[create(action)]) as on:
        with pytest.raises(ResponseLost, match="may have been accepted"):
            await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 1
        assert len(on.sandbox.state.projects) == 1


async def test_a_late_response_is_never_repeated() -> None:
    async with scene(faults=[create(Delay(5))], timeouts=Timeouts(total=0.2)) as on:
        with pytest.raises(ResponseTimeout):
            await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_an_error_that_does_not_say_refused_is_never_repeated(status: int) -> None:
    async with scene(faults=[create(RespondWith(status))]) as on:
        with pytest.raises(ApiError) as caught:
            await on.client.projects.create(b"x")
        assert caught.value.status == status
        assert len(on.seen(CREATE)) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_come_again_later_is_repeated(status: int) -> None:
    """With `Retry-After`, 429 and 503 say "not accepted"."""
    busy = create(RespondWith(status, {"Retry-After": "0"}), times=2)
    async with scene(faults=[busy]) as on:
        project = await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 3
        assert on.only_project() == project.api_project_id


async def test_a_request_that_never_arrived_is_repeated() -> None:
    """Nobody listens, and then somebody does."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    tries: list[object] = []
    late = Sandbox(engine="echo", port=port, uploads=("signed",))
    url, key = f"http://localhost:{port}", late.api_key
    options = ClientOptions(retry=QUICK, observers=(tries.append,))
    async with AsyncDiffio(key, base_url=url, options=options) as client:
        with pytest.raises(ConnectionFailed):
            await client.projects.create(b"x")
        assert str(tries).count("RequestSent") == QUICK.attempts
        async with late:
            await client.projects.create(b"x")


async def test_a_dropped_keep_alive_connection_does_not_lose_a_create() -> None:
    """It never rides on a connection that may be dead: a lost answer is then really lost."""
    async with scene() as on:
        await on.client.projects.list()
        await on.client.projects.create(b"x")
        await on.client.projects.create(b"x")
        assert len(on.sandbox.state.projects) == 2
        on.fail(create(Drop()))
        with pytest.raises(ResponseLost):
            await on.client.projects.create(b"x")
        assert len(on.seen(CREATE)) == 3


async def test_what_is_declared_is_what_is_sent() -> None:
    content = sound(PART + 1)
    async with scene() as on:
        await on.client.projects.create(
            content, file_name="a.wav", file_format="wav", params={"room": 7}
        )
        (asked,) = on.seen(CREATE)
        assert asked.json == {
            "fileName": "a.wav",
            "contentType": "audio/x-wav",
            "contentLength": len(content),
            "fileFormat": "wav",
            "params": {"room": 7},
        }


@pytest.mark.parametrize("era", ["signed", "edge"])
async def test_a_failed_upload_keeps_the_project(era: str) -> None:
    """The id is in the error, in its notes, and survives pickling; the cause is kept."""
    refused = Fault(method="PUT", times=None, action=RespondWith(403, text="<Error/>"))
    async with scene(uploads=(era,), faults=[refused]) as on:
        with pytest.raises(UploadFailed, match="could not be uploaded") as caught:
            await on.client.projects.create(b"x", file_name="a.wav")
        failure = caught.value
        assert failure.api_project_id == on.only_project()
        assert f"api_project_id={on.only_project()}" in failure.__notes__
        again = pickle.loads(pickle.dumps(failure))
        assert again.api_project_id == on.only_project()
        assert getattr(failure.__cause__, "status", None) == 403


async def test_a_response_without_an_offer_is_an_error() -> None:
    async with scene(faults=[create(RespondWith(json={"apiProjectId": "proj_7"}))]) as on:
        with pytest.raises(UploadFailed, match="has no upload offer") as caught:
            await on.client.projects.create(b"x")
        assert isinstance(caught.value.__cause__, InvalidResponse)
        assert caught.value.api_project_id == "proj_7"
