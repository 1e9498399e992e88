"""Taskiq: the trace of a webhook continues in the task, through the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio, ClientOptions, WebhookEvent, WebhookInbox, WebhookVerifier

pytest.importorskip("opentelemetry.sdk", reason="the SDK is not installed")
pytest.importorskip("psutil", reason="the middleware of Taskiq needs it")
pytest.importorskip("taskiq.middlewares.opentelemetry_middleware", reason="an older Taskiq")
from taskiq import InMemoryBroker
from taskiq.middlewares.opentelemetry_middleware import OpenTelemetryMiddleware

from diffio_async.webhooks.taskiq import TaskiqSink, forward
from tests.telemetry.recorder import context_of
from tests.webhooks.scenes import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.telemetry.recorder import Recorder


@pytest.mark.parametrize("stored", [True, False], ids=["inbox", "sink"])
async def test_a_task_is_part_of_the_trace_of_its_webhook(
    sandbox: Sandbox, recorder: Recorder, tmp_path: Path, *, stored: bool
) -> None:
    """The webhook's span is linked to the start of the generation, and the task is its child."""
    observer, tracer = recorder.observer(), recorder.tracers.get_tracer("program")
    settings = ClientOptions(observers=observer)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client:
        project = await client.projects.create(b"RIFF")
        generation = await client.generations.create(api_project_id=project.api_project_id)
    [created] = recorder.named("diffio.create_generation")
    # The worker of a broker has another process, to which only the labels of the message are sent.
    broker = InMemoryBroker(await_inplace=True)
    broker.add_middlewares(OpenTelemetryMiddleware(tracer_provider=recorder.tracers))
    done = asyncio.Event()

    @broker.task(task_name="handle")
    async def handle(body: str, message_id: str) -> None:
        tracer.start_span(f"handled {message_id}").end()
        done.set()

    event = WebhookEvent(
        event_type="generation.completed",
        message_id="msg_1",
        generation_id=generation.generation_id,
        status="complete",
    )
    body = b'{"eventType": "generation.completed", "generationId": "%s"}' % (
        generation.generation_id.encode()
    )
    if stored:
        async with WebhookInbox(tmp_path / "inbox", observers=observer) as inbox:
            await inbox.store(event, body)
            running = asyncio.create_task(forward(inbox, handle))
            await done.wait()
            while not recorder.named("diffio.webhook"):
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait([running])
    else:
        sink = TaskiqSink(handle, verifier=WebhookVerifier(SECRET), observers=observer)
        await sink.store(event, body)
    [webhook] = recorder.named("diffio.webhook")
    assert [link.context for link in webhook.links] == [context_of(created)]
    trace = context_of(webhook).trace_id
    tree = [line for line in recorder.tree() if "diffio." not in line and "POST" not in line]
    assert [line.strip() for line in tree if "PUT" not in line] == [
        "send/handle",
        "execute/handle",
        "handled msg_1",
    ]
    for name in ("send/handle", "execute/handle", "handled msg_1"):
        [span] = recorder.named(name)
        assert context_of(span).trace_id == trace
    [sent], [executed] = recorder.named("send/handle"), recorder.named("execute/handle")
    assert sent.parent == context_of(webhook)
    assert executed.parent is not None
    assert executed.parent.span_id == context_of(sent).span_id
    assert executed.parent.is_remote
