"""What the tests of all services share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.samples.programs import RECORDING, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from diffio_async.testing import WebhookTester

    Journey = Callable[[str], Awaitable[dict[str, str]]]


@pytest.fixture
def journey(
    diffio_client: AsyncDiffio, diffio_sandbox: Sandbox, diffio_webhooks: WebhookTester
) -> Journey:
    """Send a recording to a service at a URL, receive its event and get its result.

    It returns the ids. Forged events, forms without a recording or with an empty one, and unknown
    ids are refused.
    """

    async def travel(url: str) -> dict[str, str]:
        hook = f"{url}/webhooks/diffio"
        kinds = ["generation.completed"]
        await diffio_client.webhooks.configure(mode="live", url=hook, event_types=kinds)
        recording = RECORDING.read_bytes()
        async with aiohttp.ClientSession() as session:
            form = aiohttp.FormData({"note": "before the file"})
            form.add_field("recording", recording, filename="talk.wav", content_type="audio/wav")
            async with session.post(f"{url}/recordings", data=form) as response:
                assert response.status == 202, await response.text()
                started: dict[str, str] = await response.json()
            await until(lambda: bool(diffio_sandbox.deliveries))
            assert [made.status in {200, 204} for made in diffio_sandbox.deliveries] == [True]
            result = f"{url}/recordings/{started['generation_id']}"
            while True:
                async with session.get(result) as response:
                    if response.status == 200:
                        assert response.headers["Content-Type"] == "audio/mpeg"
                        assert await response.read() == recording
                        break
                    assert response.status == 202, await response.text()
                    assert (await response.json())["status"]
            async with session.get(f"{url}/recordings/gen_unknown") as response:
                assert response.status == 404
            async with session.post(f"{url}/recordings", data={"other": "x"}) as response:
                assert response.status == 400
            empty = aiohttp.FormData()
            empty.add_field("recording", b"", filename="empty.wav")
            async with session.post(f"{url}/recordings", data=empty) as response:
                assert response.status == 400
            async with session.post(f"{url}/recordings", data=b"no form") as response:
                assert response.status == 400
        event = diffio_webhooks.event()
        forged = await diffio_webhooks.post(hook, diffio_webhooks.forge(event))
        assert (forged.status, forged.json()) == (400, {"error": "bad_signature"})
        (generation,) = diffio_sandbox.state.generations.values()
        project = diffio_sandbox.state.projects[generation.project_id]
        assert project.file_name == "talk.wav"
        return started

    return travel
