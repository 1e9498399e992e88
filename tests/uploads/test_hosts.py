"""Upload hosts: the requests that they receive, and their failures."""

from __future__ import annotations

import time
from typing import Any

import pytest

from diffio_async import (
    ConfigurationError,
    RequestOptions,
    ResponseTimeout,
    RetryPolicy,
    UploadFailed,
)
from diffio_async.options import Timeouts
from diffio_async.sandbox import Delay, Fault, RefuseBody, RespondWith
from tests.uploads.scenes import PART, Scene, scene, sound

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(3 * PART)
ONCE = RetryPolicy(attempts=1)


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
async def test_credentials_and_the_users_headers_stay_with_the_api(upload_mode: str) -> None:
    """The edge gets its own token and the signed host nothing, whatever the user adds."""
    mine = {"X-Api-Key": "secret-of-mine", "X-Team": "blue", "Cookie": "a=b"}
    options = RequestOptions(headers={"X-Call": "green"}, api_key=None)
    async with scene(uploads=(upload_mode,), headers=mine) as on:
        on.sandbox.state.change_secret(on.sandbox.state.keys["key_sandbox"], "secret-of-mine")
        await on.client.projects.create(CONTENT, options=options)
        for seen in on.sandbox.requests:
            names, values = set(seen.headers), " ".join(seen.headers.values())
            if seen.origin == "api":
                assert {"x-api-key", "x-team", "x-call"} <= names
                assert "authorization" not in names
                continue
            assert not {"x-api-key", "x-team", "x-call", "cookie"} & names
            assert "secret-of-mine" not in values
            assert on.sandbox.api_key not in values
            assert ("authorization" in names) == (upload_mode == "edge")


async def test_the_key_of_a_call_is_sent_to_the_api_only() -> None:
    async with scene() as on:
        on.sandbox.state.change_secret(on.sandbox.state.keys["key_sandbox"], "another")
        await on.client.projects.create(CONTENT, options=RequestOptions(api_key="another"))
        assert {
            seen.headers["authorization"] == "Bearer another" for seen in on.seen("create_project")
        } == {True}
        edge = [seen for seen in on.sandbox.requests if seen.origin == "edge"]
        assert all("another" not in seen.headers["authorization"] for seen in edge)


@pytest.mark.slow
@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
async def test_a_host_that_stalls_is_a_timeout(upload_mode: str) -> None:
    """The host reads no byte, or does not respond, for the length of the read time-out."""
    stalled = Fault(method="PUT", times=None, action=Delay(60))
    for content in (CONTENT, sound(16 * 1024 * 1024)):
        async with scene(
            uploads=(upload_mode,),
            part_size=32 * 1024 * 1024,
            faults=[stalled],
            timeouts=Timeouts(read=0.1),
            retry=ONCE,
        ) as on:
            started_at = time.monotonic()
            with pytest.raises(UploadFailed) as caught:
                await on.client.projects.create(content)
            assert isinstance(caught.value.__cause__, ResponseTimeout)
            assert time.monotonic() - started_at < 30


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
@pytest.mark.parametrize("status", [401, 413])
async def test_a_response_before_the_body_is_read_is_used(upload_mode: str, status: int) -> None:
    """The host refuses and closes the connection early: the error has its reason."""
    body = {"error": {"code": "no_space", "message": "There is no space."}}
    refused = Fault(method="PUT", times=None, action=RefuseBody(status, json=body))
    async with scene(uploads=(upload_mode,), part_size=32 * 1024 * 1024, faults=[refused]) as on:
        with pytest.raises(UploadFailed, match="no_space: There is no space") as caught:
            await on.client.projects.create(sound(8 * 1024 * 1024))
        assert getattr(caught.value.__cause__, "status", None) == status
        assert len(on.parts()) == 1
        assert on.parts()[0].bytes_received == 0


def offer_upload(on: Scene, **offer: Any) -> Fault:
    """Return a fault by which `create_project` responds with these offers."""
    return Fault(
        path="*create_project", action=RespondWith(json={"apiProjectId": "proj_1", **offer})
    )


async def test_an_insecure_upload_url_is_refused() -> None:
    """`http://` to another machine gets neither the token nor the recording."""
    upload = {
        "uploadSessionId": "s",
        "edgeBaseUrl": "http://edge.example.com",
        "uploadToken": "upload-token",
        "partSizeBytes": 100,
    }
    secret = {"uploadUrl": "http://storage.example.com/a?signature=secret", "uploadMethod": "PUT"}
    async with scene() as on:
        for offer in ({"upload": upload}, secret, {"uploadUrl": "file:///etc/passwd"}):
            on.fail(offer_upload(on, **offer))
            with pytest.raises(UploadFailed) as caught:
                await on.client.projects.create(CONTENT)
            assert isinstance(caught.value.__cause__, ConfigurationError)
            assert caught.value.api_project_id == "proj_1"
            assert "secret" not in str(caught.value)
            assert "upload-token" not in str(caught.value)
        assert {seen.origin for seen in on.sandbox.requests} == {"api"}


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
async def test_a_redirect_is_not_followed(upload_mode: str) -> None:
    """Neither the token nor the bytes are sent to a host that is not in the offer."""
    async with scene(uploads=(upload_mode,)) as on:
        elsewhere = {"Location": f"{on.sandbox.media_url}/elsewhere"}
        on.fail(Fault(method="PUT", times=None, action=RespondWith(307, elsewhere)))
        with pytest.raises(UploadFailed, match="307"):
            await on.client.projects.create(CONTENT)
        assert on.seen("/elsewhere") == []


async def test_an_expired_token_is_an_error_of_the_edge() -> None:
    """A 401 of the edge does not concern the API key: its variable is not mentioned."""
    expired = Fault(
        path="*/start", action=RespondWith(401, json={"error": {"code": "token_expired"}})
    )
    async with scene(faults=[expired]) as on:
        with pytest.raises(UploadFailed, match="token_expired") as caught:
            await on.client.projects.create(CONTENT)
        assert "DIFFIO_API_KEY" not in str(caught.value)


@pytest.mark.parametrize("method", ["DELETE", "CONNECT", "GET", "PATCH", "PUT\r\nX: y"])
async def test_only_put_and_post_are_accepted_as_upload_methods(method: str) -> None:
    """The method of an offer is restricted, as the server also chooses the host."""
    async with scene(uploads=("signed",)) as on:
        url = f"{on.sandbox.base_url}/anything"
        offer = {"apiProjectId": "proj_1", "uploadUrl": url, "uploadMethod": method}
        on.sandbox.faults.add(Fault(path="/v1/create_project", action=RespondWith(json=offer)))
        with pytest.raises(UploadFailed, match="only PUT and POST upload"):
            await on.client.projects.create(CONTENT)
        assert len(on.sandbox.requests) == 1


async def test_an_upload_method_in_lower_case_is_accepted() -> None:
    async with scene(uploads=("signed",)) as on:
        accepted = RespondWith(status=200)
        url = f"{on.sandbox.base_url}/anything"
        offer = {"apiProjectId": "proj_1", "uploadUrl": url, "uploadMethod": "post"}
        on.sandbox.faults.add(
            Fault(path="/v1/create_project", action=RespondWith(json=offer)),
            Fault(path="/v1/anything", action=accepted),
        )
        project = await on.client.projects.create(CONTENT)
        assert project.api_project_id == "proj_1"
        assert on.sandbox.requests[-1].method == "POST"
