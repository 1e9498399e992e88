"""Telemetry of webhooks: each handled event is a span that is linked to its generation's start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from opentelemetry.trace import StatusCode

from diffio_async import AsyncDiffio, ClientOptions, WebhookEvent, WebhookInbox

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.telemetry.recorder import Recorder

EVENT = WebhookEvent(
    event_type="generation.completed", message_id="msg_1", generation_id="gen_1", status="complete"
)


@pytest.mark.parametrize("threaded", [False, True], ids=["coroutine", "thread"])
async def test_a_handled_event_is_linked_to_the_start_of_its_generation(
    sandbox: Sandbox, recorder: Recorder, tmp_path: Path, *, threaded: bool
) -> None:
    """The span is a trace of its own, and the parent of what the handler does."""
    observer, tracer = recorder.observer(), recorder.tracers.get_tracer("program")
    settings = ClientOptions(observers=observer)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client:
        project = await client.projects.create(b"RIFF")
        generation = await client.generations.create(api_project_id=project.api_project_id)
    event = evolve(EVENT, generation_id=generation.generation_id)
    async with WebhookInbox(tmp_path / "inbox", observers=observer) as inbox:
        await inbox.store(event, b'{"generationId": "%s"}' % generation.generation_id.encode())

        async def handle(_: WebhookEvent) -> None:
            tracer.start_span("handled").end()
            await inbox.aclose()

        def handle_in_thread(_: WebhookEvent) -> object:
            tracer.start_span("handled").end()
            return inbox.aclose()

        inbox.on()(handle_in_thread if threaded else handle)
        await inbox.run()
    [webhook] = recorder.named("diffio.webhook")
    [created] = recorder.named("diffio.create_generation")
    assert webhook.parent is None
    assert [link.context for link in webhook.links] == [created.get_span_context()]
    assert dict(webhook.attributes or {}) == {"diffio.generation_id": generation.generation_id}
    [handled] = recorder.named("handled")
    assert handled.parent == webhook.get_span_context()


async def test_a_failed_delivery_of_another_process_has_its_error_and_the_id(
    recorder: Recorder, tmp_path: Path
) -> None:
    """Without the start there is no link; the next span of the consumer is not a child."""
    observer, tracer = recorder.observer(), recorder.tracers.get_tracer("program")
    async with WebhookInbox(tmp_path / "inbox", observers=observer) as inbox:
        await inbox.store(EVENT, b'{"generationId": "gen_1"}')
        async for delivery in inbox.deliveries():
            with pytest.raises(ValueError, match="private"):
                async with delivery:
                    raise ValueError("private")
            break
    tracer.start_span("after").end()
    [webhook] = recorder.named("diffio.webhook")
    assert dict(webhook.attributes or {}) == {
        "diffio.generation_id": "gen_1",
        "error.type": "ValueError",
    }
    assert webhook.status.status_code is StatusCode.ERROR
    assert not webhook.links
    assert "private" not in webhook.to_json()
    assert [span.parent for span in recorder.named("after")] == [None]


async def test_a_loop_over_events_has_no_span(recorder: Recorder, tmp_path: Path) -> None:
    """`consume` may be left at any event, after which a span would remain current."""
    async with WebhookInbox(tmp_path / "inbox", observers=recorder.observer()) as inbox:
        await inbox.store(EVENT, b'{"generationId": "gen_1"}')
        events = inbox.consume()
        async for _ in events:
            break
        await events.aclose()
    assert recorder.tree() == []


async def test_the_depth_and_age_of_an_inbox_are_gauges(recorder: Recorder, tmp_path: Path) -> None:
    """They are 0 for an empty inbox."""
    observer = recorder.observer()
    async with WebhookInbox(tmp_path / "inbox") as inbox:
        await inbox.store(EVENT, b'{"generationId": "gen_1"}')
        await asyncio.sleep(0.01)
        observer.record_inbox(await inbox.entries("waiting", limit=None))
        metrics = recorder.metrics()
        [depth], [age] = metrics["diffio.inbox.depth"], metrics["diffio.inbox.age"]
        assert depth.value == 1
        assert 0.0 < age.value < 60.0
        observer.record_inbox(await inbox.entries("handled", limit=None))
        metrics = recorder.metrics()
        [depth], [age] = metrics["diffio.inbox.depth"], metrics["diffio.inbox.age"]
        assert (depth.value, age.value) == (0, 0.0)
