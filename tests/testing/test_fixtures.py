"""The fixtures of the pytest plugin, used by tests with and without `await`."""

from __future__ import annotations

import json
import os
import wave
from typing import TYPE_CHECKING, Any

import aiohttp.web
import pytest

from diffio_async import AsyncDiffio, WebhookRejected, WebhookVerifier
from diffio_async.sandbox import Fault, RespondWith
from tests.webhooks.scenes import served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from diffio_async.testing import SignedEvent, WebhookTester

pytestmark = pytest.mark.diffio(max_bytes=64, failed_status="error")


@pytest.fixture
def closed_later() -> Iterator[list[AsyncDiffio]]:
    """A list of clients that fixtures requested after it must close."""
    clients: list[AsyncDiffio] = []
    yield clients
    assert [client._sender.sessions.closed for client in clients] == [True]
    assert [client._sender.sessions.open for client in clients] == [0]


async def test_the_client_is_closed_after_its_test(
    closed_later: list[AsyncDiffio], diffio_client: AsyncDiffio
) -> None:
    """The client works in the test, and is closed with its connections after it."""
    assert await diffio_client.projects.list() == []
    closed_later.append(diffio_client)


async def test_programs_find_the_sandbox_by_the_environment(
    diffio_environment: Mapping[str, str], diffio_sandbox: Sandbox
) -> None:
    """A client without arguments talks to the sandbox of the test."""
    assert os.environ["DIFFIO_API_BASE_URL"] == diffio_sandbox.base_url
    async with AsyncDiffio() as client:
        assert await client.projects.list() == []
    assert [seen.path for seen in diffio_sandbox.requests] == ["/v1/list_projects"]


@pytest.mark.diffio(failed_status="failed", faults=[Fault(action=RespondWith(404))])
async def test_the_nearest_marker_wins(diffio_sandbox: Sandbox) -> None:
    """Options of a test are added to those of its module."""
    settings = diffio_sandbox.settings
    assert (settings.max_bytes, settings.failed_status, settings.engine) == (64, "failed", "echo")
    assert len(diffio_sandbox.faults) == 1


@pytest.mark.slow
@pytest.mark.diffio(engine="restore", workers=1, max_bytes=10**6)
async def test_sound_is_restored_if_a_test_wants_it(
    diffio_client: AsyncDiffio, diffio_sandbox: Sandbox, tmp_path: Path, sample: Path
) -> None:
    """The processes that restore start from the thread of the sandbox too."""
    second = tmp_path / "second.wav"
    with wave.open(str(sample)) as whole, wave.open(str(second), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(whole.getframerate()))
    restoration = await diffio_client.restore(second)
    assert restoration.content
    assert restoration.content != second.read_bytes()
    assert restoration.generation.generation_id in diffio_sandbox.state.generations


class Receiver:
    """ASGI application that verifies deliveries, and counts the events by their id."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Respond with the type and the path of the event, or with the reason of the rejection."""
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            event = WebhookVerifier(os.environ["DIFFIO_WEBHOOK_SECRET"]).verify(body, headers)
        except WebhookRejected as error:
            status, content = 400, error.code
        else:
            self.seen.append(event.message_id)
            query = scope["query_string"].decode()
            status, content = 200, f"{event.event_type} {event.status} {scope['path']} {query}"
        await send({"type": "http.response.start", "status": status, "headers": []})
        text = json.dumps(content).encode()
        await send({"type": "http.response.body", "body": text[:3], "more_body": True})
        await send({"type": "http.response.body", "body": text[3:]})
        assert (await receive())["type"] == "http.disconnect"


async def test_an_application_receives_events(
    diffio_environment: Mapping[str, str], diffio_webhooks: WebhookTester
) -> None:
    """An ASGI application in the process verifies an event, its replay, and its fields."""
    app = Receiver()
    event = diffio_webhooks.event("generation.failed", generation_id="gen_1", error="too loud")
    first = await diffio_webhooks.post(app, event, path="/hook?a=b")
    assert (first.status, first.json()) == (200, "generation.failed error /hook a=b")
    again = diffio_webhooks.replay(event)
    assert (await diffio_webhooks.post(app, again)).status == 200
    assert app.seen == [event.message_id] * 2
    fields = json.loads(again.body)
    assert (fields["generationId"], fields["error"]) == ("gen_1", "too loud")


def test_attacks_are_rejected(
    diffio_environment: Mapping[str, str], diffio_webhooks: WebhookTester
) -> None:
    """A test without `await` delivers a forged event and an old one, which a verifier rejects."""
    app, event = Receiver(), diffio_webhooks.event()
    forged = diffio_webhooks.post_sync(app, diffio_webhooks.forge(event))
    assert (forged.status, forged.json()) == (400, "bad_signature")
    old = diffio_webhooks.post_sync(app, diffio_webhooks.replay(event, age=301))
    assert (old.status, old.json()) == (400, "too_old")


async def test_a_url_receives_events(
    diffio_environment: Mapping[str, str], diffio_webhooks: WebhookTester
) -> None:
    """A server receives the body and the headers as they were signed."""
    received: list[tuple[bytes, Mapping[str, str]]] = []

    async def receive(request: aiohttp.web.Request) -> aiohttp.web.Response:
        received.append((await request.read(), request.headers))
        return aiohttp.web.json_response({"ok": True}, status=202)

    app = aiohttp.web.Application()
    app.router.add_post("/hook", receive)
    event = diffio_webhooks.event("generation.queued")
    async with served(app) as url:
        response = await diffio_webhooks.post(f"{url}/hook", event)
    assert (response.status, response.json()) == (202, {"ok": True})
    ((body, headers),) = received
    verified = WebhookVerifier(diffio_webhooks.secret).verify(body, headers)
    assert (verified.message_id, verified.status) == (event.message_id, "queued")


def test_a_field_that_events_do_not_have_is_refused(diffio_webhooks: WebhookTester) -> None:
    """A misspelled name would leave the field with a value that the test does not know."""
    with pytest.raises(TypeError, match="no field 'generation_idd'; its fields are event_type"):
        diffio_webhooks.event(generation_idd="gen_1")


def test_a_target_that_is_not_an_application_is_refused(diffio_webhooks: WebhookTester) -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="must be a URL or an ASGI application, not None"):
        diffio_webhooks.post_sync(nothing, diffio_webhooks.event())


async def test_an_application_without_a_response_is_reported(
    diffio_webhooks: WebhookTester,
) -> None:
    """An application that returns without a response raises an error that states it."""

    async def silent(*_: object) -> None: ...

    event: SignedEvent = diffio_webhooks.event()
    with pytest.raises(RuntimeError, match="ended without a response"):
        await diffio_webhooks.post(silent, event)
