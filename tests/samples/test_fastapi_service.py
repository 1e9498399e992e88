"""The FastAPI service of `samples`, served by uvicorn in this process, with a sandbox."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest
import uvicorn

from diffio_async.sandbox import Fault, RespondWith

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from diffio_async.testing import WebhookTester

APP = Path(__file__).parents[2] / "samples" / "fastapi_service" / "app.py"


class Service:
    """A client of the running service."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and decoded body of a response."""
        async with self._session.get(path) as response:
            return response.status, await response.json()

    async def upload(self, content: Any, key: str | None = "key-1") -> tuple[int, Any]:
        """Send a recording, and return status and decoded body of the response."""
        headers = {} if key is None else {"Idempotency-Key": key}
        async with self._session.post(
            "/recordings?file_name=talk.wav", data=content, headers=headers
        ) as response:
            return response.status, await response.json()

    async def until(self, state: str, recording: str) -> dict[str, Any]:
        """Wait for the state of a recording."""
        with anyio.fail_after(60):
            while (found := (await self.get(f"/recordings/{recording}"))[1])["state"] != state:
                await anyio.sleep(0.01)
        return dict(found)

    async def audio(self, recording: str) -> bytes:
        """Return the restored file."""
        async with self._session.get(f"/recordings/{recording}/audio") as response:
            assert (response.status, response.content_type) == (200, "audio/mpeg")
            return await response.read()


@asynccontextmanager
async def running(port: int = 0) -> AsyncIterator[tuple[Service, str]]:
    """Serve the application with its lifespan; yield a client of it and its URL."""
    spec = importlib.util.spec_from_file_location("fastapi_service", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = uvicorn.Server(uvicorn.Config(module.app, port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await anyio.sleep(0.005)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession(url) as session:
        yield Service(session), url
    server.should_exit = True
    await serving


@pytest.fixture
def environment(
    diffio_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Set the environment of the service."""
    monkeypatch.setenv("RECORDINGS", str(tmp_path / "recordings"))


@pytest.fixture
async def service(environment: None, diffio_client: AsyncDiffio) -> AsyncIterator[Service]:
    """The service, to which the sandbox delivers its events."""
    async with running() as (service, url):
        await configure(diffio_client, url)
        yield service


async def configure(client: AsyncDiffio, url: str) -> None:
    """Have the events of generations delivered to the service."""
    kinds = ["generation.completed", "generation.failed"]
    await client.webhooks.configure(mode="live", url=f"{url}/webhooks/diffio", event_types=kinds)


def started(sandbox: Sandbox) -> list[str | None]:
    """Return the keys of the generations in the books of the sandbox."""
    return [each.idempotency_key for each in sandbox.state.generations.values()]


async def test_a_recording_is_restored_once_for_its_key(
    service: Service, diffio_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A request that is repeated, at any time, returns the same recording and uploads nothing."""
    first, second = await asyncio.gather(service.upload(b"a talk"), service.upload(b"a talk"))
    assert first[0] == second[0] == 202
    assert first[1]["id"] == second[1]["id"]
    recording = first[1]["id"]
    assert await service.until("restored", recording) == {
        "id": recording,
        "state": "restored",
        "error": None,
    }
    assert await service.audio(recording) == b"a talk"
    projects = len(diffio_sandbox.state.projects)
    assert (await service.upload(b"a talk"))[1]["state"] == "restored"
    assert len(diffio_sandbox.state.projects) == projects
    assert started(diffio_sandbox) == ["key-1"]
    assert [file.name for file in (tmp_path / "recordings").glob("*.mp3")] == [f"{recording}.mp3"]
    assert not list((tmp_path / "recordings").glob(".*"))


@pytest.mark.diffio(duration=60.0)
async def test_events_of_others_and_forged_ones_change_nothing(
    service: Service, diffio_webhooks: WebhookTester, diffio_sandbox: Sandbox
) -> None:
    """A failure is shown with its reason; until there is a result, it cannot be requested."""
    recording = (await service.upload(b"a talk"))[1]["id"]
    assert await service.get(f"/recordings/{recording}/audio") == (
        409,
        {"detail": "the recording is processing"},
    )
    [generation] = diffio_sandbox.state.generations
    [url] = [each.url for each in diffio_sandbox.state.endpoints.values()]
    ids = {"api_project_id": recording, "generation_id": generation}
    failed = diffio_webhooks.event("generation.failed", error="no speech", **ids)
    other = diffio_webhooks.event("generation.completed")
    assert (await diffio_webhooks.post(url, diffio_webhooks.forge(failed))).status == 400
    assert (await diffio_webhooks.post(url, other)).json() == {"status": "stored"}
    assert (await service.get(f"/recordings/{recording}"))[1]["state"] == "processing"
    assert (await diffio_webhooks.post(url, failed)).json() == {"status": "stored"}
    assert (await diffio_webhooks.post(url, diffio_webhooks.replay(failed))).json() == {
        "status": "duplicate"
    }
    assert (await service.until("failed", recording))["error"] == "no speech"
    assert (await service.get(f"/recordings/{other.message_id}"))[0] == 404


@pytest.mark.slow
async def test_what_was_uploaded_but_not_started_is_started_by_the_next_start(
    environment: None, diffio_client: AsyncDiffio, diffio_sandbox: Sandbox
) -> None:
    """A request that could not start its generation has a 503, and the recording is kept."""
    diffio_sandbox.faults.add(Fault(path="*/diffio-*-generation", action=RespondWith(402)))
    async with running() as (service, url):
        await configure(diffio_client, url)
        assert (await service.upload(b"a talk"))[0] == 503
        assert started(diffio_sandbox) == []
    [recording] = diffio_sandbox.state.projects
    async with running(int(url.rpartition(":")[2])) as (service, _):
        await service.until("restored", recording)
        assert (await service.upload(b"a talk"))[1]["id"] == recording
    assert started(diffio_sandbox) == ["key-1"]


async def test_an_upload_that_is_empty_or_breaks_off_starts_nothing(
    service: Service, diffio_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A body is read to its end before its upload begins."""
    assert await service.upload(b"") == (
        400,
        {"detail": "the body is empty: send a recording"},
    )
    assert (await service.upload(b"a talk", key=None))[0] == 422
    projects = len(diffio_sandbox.state.projects)

    async def breaking() -> AsyncIterator[bytes]:
        yield b"a ta"
        raise OSError("the phone is out of reach")

    with pytest.raises((aiohttp.ClientError, OSError)):
        await service.upload(breaking())
    assert (await service.get("/recordings/proj_1"))[0] == 404
    assert len(diffio_sandbox.state.projects) == projects
    assert started(diffio_sandbox) == []
    assert "Traceback" not in caplog.text
