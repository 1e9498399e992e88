"""The shared poller: spans and metrics of polls that serve several waits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    GenerationEnded,
    PollRateChanged,
    WaitPolicy,
    WaitTimeout,
)
from diffio_async.sandbox import Fault, RespondWith

pytest.importorskip("opentelemetry.sdk", reason="the SDK is not installed")
from tests.telemetry.recorder import connect, context_of

if TYPE_CHECKING:
    from diffio_async import Event, GenerationProgress
    from diffio_async.sandbox import Sandbox
    from tests.telemetry.recorder import Recorder

PROGRESS = "/v1/get_generation_progress"


def respond(sandbox: Sandbox, status: str, times: int | None = None) -> None:
    """Let the next polls have this status."""
    body = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": status}
    sandbox.faults.add(Fault(path=PROGRESS, times=times, action=RespondWith(json=body)))


async def wait(client: AsyncDiffio, timeout: float | None = None) -> GenerationProgress:
    """Wait for the generation, with a poll every 10 ms."""
    return await client.generations.wait_for_complete(
        generation_id="gen_1", api_project_id="proj_1", poll_interval=0.01, timeout=timeout
    )


async def test_each_wait_is_a_child_of_its_caller_and_each_poll_of_a_wait(
    sandbox: Sandbox, recorder: Recorder
) -> None:
    """Although three traces wait for one generation, no poll is in a trace of nobody."""
    respond(sandbox, "processing", 5)
    respond(sandbox, "complete")
    tracer = recorder.tracers.get_tracer("program")

    async def call(name: str) -> None:
        with tracer.start_as_current_span(name) as span:
            await wait(client)
            tracer.start_span("after").end()
        callers[context_of(span).trace_id] = context_of(span).span_id  # type: ignore[arg-type]

    callers = dict[int, int]()
    async with connect(sandbox, recorder) as client, asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(call(f"caller {number}"))
    assert len(callers) == 3
    for name in ("diffio.wait", "after"):
        found = {context_of(s).trace_id: s.parent.span_id for s in recorder.named(name) if s.parent}
        assert found == callers
    waits = {context_of(span).span_id for span in recorder.named("diffio.wait")}
    polls = recorder.named("POST get_generation_progress")
    assert len(polls) >= 6
    assert {span.parent.span_id for span in polls if span.parent} <= waits


@pytest.mark.slow
async def test_polls_after_a_wait_has_ended_belong_to_one_that_continues(
    sandbox: Sandbox, recorder: Recorder
) -> None:
    """The first of two waits times out: no later poll is a child of its span."""
    respond(sandbox, "processing", 100)
    respond(sandbox, "complete")
    async with connect(sandbox, recorder) as client:
        first = asyncio.create_task(wait(client, 0.3))
        await asyncio.sleep(0)
        await wait(client)
        with pytest.raises(WaitTimeout):
            await first
    ended, continued = recorder.named("diffio.wait")
    assert (ended.attributes or {})["error.type"] == "WaitTimeout"
    polls = recorder.named("POST get_generation_progress")
    parents = [span.parent.span_id for span in polls if span.parent]
    assert parents[0] == context_of(ended).span_id
    assert parents[-1] == context_of(continued).span_id
    late = [span for span in polls if (span.start_time or 0) > (ended.end_time or 0)]
    assert late
    assert {span.parent.span_id for span in late if span.parent} == {context_of(continued).span_id}


async def test_the_delay_of_polling_is_at_most_the_pause_before_the_end(
    sandbox: Sandbox, recorder: Recorder
) -> None:
    """It is recorded once for two waits, and not for a generation that had ended before."""
    respond(sandbox, "processing", 3)
    respond(sandbox, "complete")
    async with connect(sandbox, recorder) as client:
        await asyncio.gather(wait(client), wait(client))
        [delay] = recorder.points("diffio.client.polling.delay")
        assert delay.count == 1
        span, _ = recorder.named("diffio.wait")
        waited = (span.end_time or 0) - (span.start_time or 0)
        # The pause between two polls, not the time since the first.
        assert 0.0 < delay.sum < waited / 1e9
        await wait(client)
        assert [each.count for each in recorder.points("diffio.client.polling.delay")] == [1]


async def test_the_limit_of_polls_is_a_gauge_for_each_client(
    sandbox: Sandbox, recorder: Recorder
) -> None:
    """It is known from the first poll on, and halved when the service throttles."""
    observer = recorder.observer()
    settings = ClientOptions(observers=observer, wait=WaitPolicy(max_polls_per_second=8))

    latest: dict[Any, float] = {}  # older SDKs report a gauge only if it was set again

    async def limits() -> list[float]:
        for point in recorder.points("diffio.client.polling.limit"):
            latest[point.attributes["diffio.client"]] = point.value
        return sorted(latest.values())

    def client() -> AsyncDiffio:
        return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings)

    async with client() as first, client() as second:
        assert await limits() == []
        respond(sandbox, "complete", 2)
        await wait(first)
        assert await limits() == [8.0]
        await wait(second)
        assert await limits() == [8.0, 8.0]
        sandbox.faults.add(Fault(path=PROGRESS, times=1, action=RespondWith(429)))
        respond(sandbox, "complete")
        await wait(second)
        assert await limits() == [4.0, 8.0]


async def test_any_observer_receives_ends_and_limits(sandbox: Sandbox) -> None:
    """An observer with `event_types` receives only these."""
    ends: list[Event] = []

    class Ends:
        event_types = (GenerationEnded,)

        def __call__(self, event: Event) -> None:
            ends.append(event)

    events: list[Event] = []
    settings = ClientOptions(observers=[Ends(), events.append])
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client:
        respond(sandbox, "processing", 1)
        respond(sandbox, "failed")
        with suppress(Exception):
            await wait(client)
    assert ends == [GenerationEnded("gen_1", "proj_1", "failed")]
    [ended] = [event for event in events if isinstance(event, GenerationEnded)]
    assert ended.max_delay is not None
    assert ended.max_delay > 0.0
    assert [event.polls_per_second for event in events if isinstance(event, PollRateChanged)] == [
        10.0
    ]
