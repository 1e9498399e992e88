"""Intervals between polls, and progress callbacks."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientClosed,
    ClientOptions,
    GenerationProgress,
    WaitPolicy,
    WaitTimeout,
)
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.polling.sandbox_fleet import generate, sandbox_client
from tests.scripts import PROGRESS, forever, progress_body, requests_to, scripted, uploaded


async def test_an_explicit_interval_is_fixed(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """`poll_interval` is the time between polls."""
    sandbox.faults.add(
        *scripted(*[progress_body("processing")] * 4), forever(progress_body("complete"))
    )
    await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=0.05)
    times = [seen.at for seen in requests_to(sandbox, PROGRESS)]
    assert len(times) == 5
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.05


@pytest.mark.slow
async def test_without_an_interval_the_gaps_grow(sandbox: Sandbox) -> None:
    """A long wait polls less and less often, within the bounds of the policy."""
    options = ClientOptions(wait=WaitPolicy(min_interval=0.02, max_interval=10))
    sandbox.faults.add(forever(progress_body("processing")))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        with pytest.raises(WaitTimeout):
            await client.generations.wait_for_complete(generation_id="gen_1", timeout=3)
    times = [seen.at for seen in requests_to(sandbox, PROGRESS)]
    # A fixed interval of 0.02 s would have taken 150 polls.
    assert 8 <= len(times) <= 110
    assert times[-2] - times[-3] > times[1] - times[0]


async def test_retry_after_extends_the_interval(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """`Retry-After` takes precedence over a fixed interval."""
    busy = Fault(path=PROGRESS, action=RespondWith(status=429, headers={"Retry-After": "0.15"}))
    sandbox.faults.add(busy, forever(progress_body("complete")))
    started_at = time.monotonic()
    await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=0.01)
    assert time.monotonic() - started_at >= 0.15


async def test_callbacks_receive_changes_only(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Unchanged progress is reported once; coroutine functions are awaited."""
    steps = [
        progress_body("queued"),
        progress_body("queued"),
        progress_body("processing"),
        progress_body("processing"),
    ]
    sandbox.faults.add(*scripted(*steps), forever(progress_body("complete")))
    seen: list[str] = []

    async def on_progress(progress: GenerationProgress) -> None:
        await asyncio.sleep(0)
        seen.append(progress.status)

    await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=0.01, on_progress=on_progress
    )
    assert seen == ["queued", "processing", "complete"]


async def test_a_callback_that_raises_does_not_end_the_wait(
    client: AsyncDiffio, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged, and the wait continues."""
    sandbox.faults.add(*scripted(progress_body("processing")), forever(progress_body("complete")))

    def on_progress(progress: GenerationProgress) -> None:
        raise ZeroDivisionError(progress.status)

    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=0.01, on_progress=on_progress
    )
    assert progress.complete
    assert caplog.text.count("ZeroDivisionError: ") == 2


@pytest.mark.slow
async def test_a_slow_callback_does_not_turn_a_result_into_a_timeout(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A generation that was complete before the deadline is complete."""
    sandbox.faults.add(forever(progress_body("complete")))

    async def on_progress(_: GenerationProgress) -> None:
        await asyncio.sleep(0.4)

    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", timeout=0.25, on_progress=on_progress
    )
    assert progress.complete


async def test_shown_progress_goes_to_standard_error(
    client: AsyncDiffio, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """`show_progress` does not use standard output."""
    sandbox.faults.add(
        *scripted(progress_body("processing", stage="inference")),
        forever(progress_body("complete")),
    )
    await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=0.01, show_progress=True
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "gen_1: processing (inference) 0 %",
        "gen_1: complete 100 %",
    ]


async def test_closing_the_client_ends_its_waits(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """A wait on a closed client raises `ClientClosed`, at the next poll at the latest."""
    sandbox.faults.add(forever(progress_body("processing")))
    wait = asyncio.ensure_future(
        client.generations.wait_for_complete(generation_id="gen_1", poll_interval=0.05)
    )
    await asyncio.sleep(0.1)
    await client.aclose()
    with pytest.raises(ClientClosed):
        await wait


async def test_waits_are_independent(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Cancelling one of several waits leaves the others to their end."""
    sandbox.faults.add(forever(progress_body("processing")))

    def wait() -> asyncio.Future[GenerationProgress]:
        return asyncio.ensure_future(
            client.generations.wait_for_complete(generation_id="gen_1", poll_interval=0.015)
        )

    first, second, third = wait(), wait(), wait()
    await asyncio.sleep(0.05)
    second.cancel()
    sandbox.faults.clear()
    sandbox.faults.add(forever(progress_body("complete")))
    assert (await first).complete
    assert (await third).complete
    assert second.cancelled()


@pytest.mark.slow
async def test_while_durations_are_unknown_only_a_few_of_many_are_polled_early() -> None:
    """The others wait for `min_interval`, and use the durations that the few show."""
    policy = WaitPolicy(min_interval=1.6, max_polls_per_second=250, burst=50)
    async with sandbox_client(duration=2.4, wait=policy) as (client, sandbox):
        generations = await generate(client, 12, 1)
        created_at = time.monotonic()
        await asyncio.gather(
            *(
                client.generations.wait_for_complete(generation_id=each.generation_id)
                for each in generations
            )
        )
        first_polls = dict[str, float]()
        for seen in requests_to(sandbox, PROGRESS):
            first_polls.setdefault(seen.json["generationId"], seen.at)
    early = [at for at in first_polls.values() if at - created_at < 0.96]
    assert 1 <= len(early) <= 4


async def test_a_generation_of_a_repeated_idempotency_key_has_an_unknown_age(
    client: AsyncDiffio,
) -> None:
    """So its duration is not observed, and it is polled at once."""
    project = await uploaded(client)
    new, again = [
        await client.generations.create(api_project_id=project, idempotency_key="same")
        for _ in range(2)
    ]
    assert again.idempotent_replay
    assert new.generation_id == again.generation_id
    pacer = client.generations._pacer
    assert pacer.age_of(new.generation_id) is not None
    await client.generations.create(api_project_id=project, idempotency_key="same")
    assert pacer.age_of(new.generation_id) is None
