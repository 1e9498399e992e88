"""Hints in errors: each names what was refused, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    ApiError,
    AsyncDiffio,
    ClientOptions,
    ConfigurationError,
    ModelRetired,
    NotFound,
    NotReady,
    ResponseLost,
    UploadIncomplete,
)
from diffio_async._protocol.api_errors import hint_for
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.conftest import QUICK
from tests.scripts import forever, uploaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAIT = "Wait until the generation"
DOWNLOAD = "/v1/get_generation_download"


async def refused(call: Callable[[], Awaitable[object]]) -> ApiError:
    """Return the error of a call that the API refuses."""
    with pytest.raises(ApiError) as caught:
        await call()
    return caught.value


async def test_a_409_hints_at_waiting_only_for_generations(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Other calls with a 409 have no hint about waiting."""
    project = await uploaded(client)
    started = await client.generations.create(api_project_id=project)
    for path in ("api_keys/rotate", "webhooks/send_test_event", "account/settings/update"):
        sandbox.faults.add(forever(409, f"/v1/{path}"))
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.api_keys.rotate(key_id="key_1"),
        lambda: client.webhooks.send_test_event(event_type="generation.failed", mode="live"),
        lambda: client.account.update_settings(billing_policy={"type": "x"}),
    ]
    for call in calls:
        error = await refused(call)
        assert isinstance(error, NotReady)
        assert WAIT not in str(error)
        assert str(error).endswith(error.hint)
    sandbox.faults.add(Fault(path=DOWNLOAD, times=None, action=RespondWith(409, json={})))
    error = await refused(
        lambda: client.generations.get_download(
            generation_id=started.generation_id, api_project_id=project
        )
    )
    assert WAIT in str(error)


async def test_a_409_for_a_missing_upload_is_upload_incomplete(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """For `uploadNotLanded`, the message names the upload, not a generation."""
    not_landed = RespondWith(
        409, json={"error": "the upload has not landed", "code": "uploadNotLanded"}
    )
    sandbox.faults.add(
        Fault(path="/v1/*-generation", times=None, action=not_landed),
        Fault(path="/v1/complete_project_upload", times=None, action=not_landed),
    )
    for call in (
        lambda: client.generations.create(api_project_id="proj_1"),
        lambda: client.projects.complete_upload(api_project_id="proj_1"),
    ):
        error = await refused(call)
        assert isinstance(error, UploadIncomplete)
        assert WAIT not in str(error)
        assert "upload is complete" in str(error)


async def test_a_409_for_a_failed_generation_does_not_hint_at_waiting(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The code is `generationFailed`; there will be no result."""
    failed = RespondWith(409, json={"error": "it failed", "code": "generationFailed"})
    sandbox.faults.add(Fault(path=DOWNLOAD, action=failed))
    error = await refused(
        lambda: client.generations.get_download(generation_id="gen_1", api_project_id="proj_1")
    )
    assert WAIT not in str(error)
    assert "start another" in str(error)


@pytest.mark.parametrize("body", [{}, {"error": "not found"}])
async def test_a_404_of_a_result_names_the_result(
    client: AsyncDiffio, sandbox: Sandbox, body: dict[str, str]
) -> None:
    """The ids are correct, as the generation was waited for; it has no video."""
    sandbox.faults.add(Fault(path=DOWNLOAD, action=RespondWith(404, json=body)))
    with pytest.raises(NotFound) as caught:
        await client.restore(b"speech " * 100, download_type="video", file_name="talk.mp4")
    assert "usually because the recording has no picture: download the audio" in str(caught.value)
    assert "Check the id" not in str(caught.value)
    assert caught.value.generation_id


async def test_a_404_names_the_id_of_its_call(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """The message names the project, the key or the webhook endpoint to check."""
    for call, word in (
        (lambda: client.projects.list_generations(api_project_id="proj_9"), "id of the project"),
        (lambda: client.api_keys.revoke(key_id="key_9"), "key_id"),
        (
            lambda: client.webhooks.send_test_event(event_type="generation.failed", mode="live"),
            "webhooks.configure",
        ),
        (lambda: client.generations.create(api_project_id="proj_9"), "id of the project"),
    ):
        assert word in str(await refused(call))
    sandbox.faults.add(forever(404, "/v1/list_projects"))
    assert "base URL" in str(await refused(client.projects.list))
    page = RespondWith(404, text="<html>nginx</html>", headers={"Content-Type": "text/html"})
    sandbox.faults.add(Fault(path="/v1/get_generation_progress", action=page))
    error = await refused(lambda: client.generations.get_progress(generation_id="gen_1"))
    assert "the response is not from the API" in str(error)


async def test_a_410_without_a_model_is_not_a_retired_model(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A 410 without a code concerns a model only if the request named one."""
    sandbox.faults.add(forever(410, DOWNLOAD), forever(410, "/v1/*-generation"))
    error = await refused(
        lambda: client.generations.get_download(generation_id="gen_1", api_project_id="proj_1")
    )
    assert not isinstance(error, ModelRetired)
    assert "deleted or has expired" in str(error)
    error = await refused(lambda: client.generations.create(api_project_id="proj_1"))
    assert isinstance(error, ModelRetired)


def test_every_hint_is_a_sentence() -> None:
    for status in (403, 404, 409, 410):
        for call in ("get_generation_download", "api_keys/rotate", "create_project", "elsewhere"):
            hint = hint_for(call, status, None, "video")
            assert hint is None or (hint.endswith(".") and hint[0].isupper())


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        ('"dfk_0123"', "in quotes"),
        ("'dfk_0123'", "in quotes"),
        ('"dfk_0123', "in quotes"),
        ("\u201cdfk_0123\u201d", "in quotes"),
        (' "dfk_0123"\r\n', "in quotes"),
        ("dfk_0123\n", "newline"),
        (" dfk_0123", "white space"),
        ("   ", "blank"),
        ("export DIFFIO_API_KEY=dfk_0123", "assignment"),
        ("DIFFIO_API_KEY=dfk_0123", "assignment"),
        ("Bearer dfk_0123", "Bearer"),
        ("Authorization: Bearer dfk_0123", "name of the header"),
        ("dfk_0123 # mine", "white space"),
        ("dfk_0123\ndfk_4567", "white space"),
        ("dfk_0123\x00", "control"),
        ("dfk\u2013_0123", "not ASCII"),
        ("\ufeffdfk_0123", "invisible"),
        ("${DIFFIO_API_KEY}", "not expanded"),
        ("$KEY", "not expanded"),
        ("<your-key>", "placeholder"),
        ("whsec_c2VjcmV0", "DIFFIO_WEBHOOK_SECRET"),
        ("https://api.diffio.ai/v1", "DIFFIO_API_BASE_URL"),
        ("sk-ant-0123", "another service"),
    ],
)
def test_the_problem_of_a_key_is_named_and_the_key_not_shown(key: str, cause: str) -> None:
    """Quotes that a shell would remove, and text copied together with the key."""
    with pytest.raises(ConfigurationError, match="the API key") as caught:
        AsyncDiffio(key)
    assert cause in str(caught.value)
    assert "0123" not in str(caught.value)


@pytest.mark.parametrize("key", ["dfk_0123", "sk-0123", "ABCD=", "a.b-c_d~e+f/g==", "0"])
def test_other_keys_are_validated_by_the_server_only(key: str) -> None:
    AsyncDiffio(key)


@pytest.mark.parametrize("url", ['"https://api.example/v1"', "DIFFIO_API_BASE_URL=https://a.b"])
def test_the_problem_of_a_base_url_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"quotes|assignment"):
        AsyncDiffio("dfk_0123", base_url=url)


async def test_long_headers_are_read_up_to_a_limit(sandbox: Sandbox) -> None:
    """Gateways add headers of more than 8 KiB; the message names a header over the limit."""
    options = ClientOptions(retry=QUICK)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        response: dict[str, object] = {"projects": []}
        for size in (9_000, 200_000):
            sandbox.faults.add(
                Fault(
                    path="/v1/list_projects",
                    action=RespondWith(200, json=response, headers={"X-Policy": "p" * size}),
                )
            )
            assert await client.projects.list() == []
        sandbox.faults.add(
            Fault(
                path="/v1/list_projects",
                times=None,
                action=RespondWith(200, json=response, headers={"X-Policy": "p" * 300_000}),
            )
        )
        with pytest.raises(ResponseLost, match="header of the response is longer than 256 KiB"):
            await client.projects.list()
