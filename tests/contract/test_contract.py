"""Contract of the three clients (async, sync and compat), with and without faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import DiffioError
from diffio_async.compat import DiffioApiError
from diffio_async.sandbox import Drop, Fault, LoseResponse, RespondWith, Sandbox
from tests.contract.surface import NAMES, Surface, surface
from tests.scripts import GENERATION, PROGRESS, forever, progress_body, requests_to, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SPEECH = b"speech " * 5000
#: Base classes of all errors, including those that compat raises itself.
FAILURES = (DiffioError, DiffioApiError, RuntimeError, ValueError)


@pytest.fixture(params=NAMES)
async def client(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Surface]:
    """Each of the three clients."""
    async with surface(request.param, sandbox) as surface_client:
        yield surface_client


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """Path of a file to upload, the type of source that all three clients accept."""
    path = tmp_path / "speech.wav"
    path.write_bytes(SPEECH)
    return str(path)


async def project_of(client: Surface, recording: str) -> str:
    """Upload a recording and return the id of its project."""
    project = await client.call("projects.create", source=recording, file_format="wav")
    return str(client.seen(project, "api_project_id"))


def status_of(failure: BaseException) -> Any:
    """Return the HTTP status of an error."""
    return getattr(failure, "status", getattr(failure, "statusCode", None))


async def test_the_complete_workflow(
    client: Surface, sandbox: Sandbox, recording: str, tmp_path: Path
) -> None:
    """Create, generate, wait, list and download: requests and values are the same."""
    project = await project_of(client, recording)
    generation = await client.call(
        "generations.create",
        api_project_id=project,
        model="diffio-4.6-pro",
        sampling={"preset": "balanced"},
        params={"tag": "docs"},
    )
    generation_id = client.seen(generation, "generation_id")
    ids = {"generation_id": generation_id, "api_project_id": project}
    progress = await client.call("generations.wait_for_complete", **ids, poll_interval=0.05)
    assert client.seen(progress, "status") == "complete"
    assert client.seen(progress, "has_video") is False
    (summary,) = client.rows(await client.call("projects.list"), "projects")
    assert client.seen(summary, "original_file_name") == "speech.wav"
    listed = await client.call("projects.list_generations", api_project_id=project)
    (row,) = client.rows(listed, "generations")
    assert client.seen(row, "model_key") == "diffio-4.6-pro"
    link = await client.call("generations.get_download", **ids, download_type="mp3")
    assert client.seen(link, "download_type") == "audio"
    assert client.seen(link, "download_url").startswith(sandbox.media_url)
    target = tmp_path / "restored.mp3"
    await client.call(
        "generations.download", **ids, download_file_path=str(target), download_type="mp3"
    )
    assert target.read_bytes() == SPEECH
    (sent,) = requests_to(sandbox, "/v1/diffio-4.6-pro-generation")
    assert sent.json["sampling"] == {"preset": "balanced"}
    assert sent.json["params"] == {"tag": "docs"}
    (created,) = requests_to(sandbox, "/v1/create_project")
    assert created.json["fileFormat"] == "wav"
    assert created.json["contentLength"] == len(SPEECH)


async def test_account_keys_usage_and_webhooks(client: Surface) -> None:
    """The remaining calls of the API."""
    settings = await client.call("account.get_settings")
    assert client.seen(settings, "api_key_id")
    surface_client = await client.call("api_keys.create", label="worker", scopes=["projects:read"])
    key_id = client.seen(surface_client, "key_id")
    assert list(client.seen(surface_client, "scopes")) == ["projects:read"]
    keys = client.rows(await client.call("api_keys.list"), "keys")
    assert key_id in {client.seen(key, "key_id") for key in keys}
    rotated = await client.call("api_keys.rotate", key_id=key_id)
    assert client.seen(rotated, "key") != client.seen(surface_client, "key")
    revoked = await client.call("api_keys.revoke", key_id=key_id)
    assert client.seen(revoked, "status") == "revoked"
    usage = await client.call("usage.summary")
    assert client.seen(usage, "usage") is not None
    await client.call(
        "webhooks.configure",
        mode="live",
        url="https://example.com/webhooks/diffio",
        event_types=["generation.completed"],
    )


async def test_transient_failures_are_retried(
    client: Surface, sandbox: Sandbox, recording: str
) -> None:
    """After dropped connections, 5xx and lost responses, one project and generation exist."""
    sandbox.faults.add(
        Fault(origin="edge", path="*/start", action=RespondWith(503)),
        Fault(origin="edge", path="*/parts/1", times=2, action=Drop()),
        Fault(origin="edge", path="*/complete", action=LoseResponse()),
        Fault(path=GENERATION, action=LoseResponse()),
        *scripted(502, 500),
    )
    project = await project_of(client, recording)
    generation = await client.call(
        "generations.create", api_project_id=project, idempotency_key="one"
    )
    progress = await client.call(
        "generations.wait_for_complete",
        generation_id=client.seen(generation, "generation_id"),
        api_project_id=project,
        poll_interval=0.05,
    )
    assert client.seen(progress, "status") == "complete"
    assert len(requests_to(sandbox, "/v1/create_project")) == 1
    listed = await client.call("projects.list_generations", api_project_id=project)
    assert len(client.rows(listed, "generations")) == 1


async def test_a_failed_generation_is_raised_with_its_reason(
    client: Surface, sandbox: Sandbox
) -> None:
    """The statuses `failed` and `error` are the same, after one poll."""
    for count, status in enumerate(("failed", "error"), 1):
        sandbox.faults.add(*scripted(progress_body(status, error=f"{status}: no speech in it")))
        with pytest.raises(FAILURES, match=f"{status}: no speech in it"):
            await client.call(
                "generations.wait_for_complete", generation_id=f"gen_{count}", poll_interval=0.05
            )
        assert len(requests_to(sandbox, PROGRESS)) == count


async def test_a_wait_ends_in_time(client: Surface, sandbox: Sandbox) -> None:
    """The wait ends at the deadline."""
    sandbox.faults.add(forever(progress_body("processing")))
    with pytest.raises((TimeoutError, RuntimeError)):
        await client.call("generations.wait_for_complete", generation_id="gen_1", timeout=0.1)


#: Errors of the API that are not retried: status and code.
REFUSALS = (
    (401, None),
    (402, "spendLimitExceeded"),
    (403, None),
    (404, None),
    (410, "model_retired"),
)


async def test_refusals_keep_their_status(client: Surface, sandbox: Sandbox) -> None:
    """The error has the status of the response, and the request is not repeated."""
    for count, (status, code) in enumerate(REFUSALS, 1):
        body = {"error": f"refused {status}", **({"code": code} if code else {})}
        sandbox.faults.add(Fault(path=GENERATION, action=RespondWith(status, json=body)))
        with pytest.raises(FAILURES, match=f"refused {status}") as caught:
            await client.call("generations.create", api_project_id="proj_1")
        assert status_of(caught.value) == status
        assert len(requests_to(sandbox, "*-generation")) == count


async def test_callbacks_receive_progress(client: Surface, sandbox: Sandbox) -> None:
    """Each change is reported once, in the caller's thread, where the client may be called."""
    sandbox.faults.add(
        *scripted(progress_body("queued"), progress_body("processing")),
        forever(progress_body("complete")),
    )
    seen: list[str] = []
    await client.call(
        "generations.wait_for_complete",
        generation_id="gen_1",
        poll_interval=0.05,
        on_progress=lambda progress: seen.append(progress.status),
    )
    assert seen == ["queued", "processing", "complete"]


async def test_a_missing_source_costs_no_request(client: Surface, sandbox: Sandbox) -> None:
    """Nothing is sent."""
    for path in ("no-such-file.wav", ""):
        with pytest.raises((*FAILURES, OSError)):
            await client.call("projects.create", source=path)
    assert list(sandbox.requests) == []
