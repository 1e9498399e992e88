"""Events end waits at once, and save polls for as long as they arrive."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    GenerationFailed,
    GenerationProgress,
    WaitPolicy,
)
from tests.conftest import QUICK
from tests.polling.sandbox_fleet import generate, sandbox_client
from tests.scripts import PROGRESS, forever, progress_body, requests_to

if TYPE_CHECKING:
    from diffio_async._polling.poller import Poller
    from diffio_async.sandbox import Sandbox


def poller_of(client: AsyncDiffio) -> Poller:
    return client._pacer


def progress_of(status: str, generation_id: str = "gen_1", **more: object) -> GenerationProgress:
    return GenerationProgress(
        generation_id=generation_id,
        api_project_id="proj_1",
        status=status,
        **more,  # type: ignore[arg-type]
    )


async def until_polled(sandbox: Sandbox, generation_id: str) -> None:
    """Wait until the sandbox has responded to a poll for a generation."""
    async with asyncio.timeout(60):
        while not any(
            seen.status and seen.json["generationId"] == generation_id
            for seen in requests_to(sandbox, PROGRESS)
        ):
            await asyncio.sleep(0.01)


async def test_an_event_ends_a_wait_at_once(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Also from another thread, and reported twice, without a poll."""
    sandbox.faults.add(forever(progress_body("processing")))
    wait = asyncio.ensure_future(
        client.generations.wait_for_complete(generation_id="gen_1", poll_interval=600)
    )
    await until_polled(sandbox, "gen_1")
    before = len(sandbox.requests)

    def push() -> None:
        poller_of(client).on_push(progress_of("complete"))
        poller_of(client).on_push(progress_of("complete"))

    thread = threading.Thread(target=push)
    thread.start()
    assert (await wait).complete
    thread.join()
    assert len(sandbox.requests) == before


@pytest.mark.slow
async def test_an_event_of_a_failure_contains_its_reason(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Every wait for that generation ends with it, and no other."""
    sandbox.faults.add(forever(progress_body("processing")))
    one = asyncio.ensure_future(client.generations.wait_for_complete(generation_id="gen_1"))
    many = asyncio.ensure_future(client.generations.wait_many(["gen_1", "gen_2"], timeout=2))
    await until_polled(sandbox, "gen_2")
    poller_of(client).on_push(progress_of("error", error="the tape is empty"))
    with pytest.raises(GenerationFailed, match="tape is empty"):
        await one
    outcomes = await many
    assert [outcome.status for outcome in outcomes] == ["error", "processing"]


async def test_events_may_arrive_out_of_order(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Progress that is behind the known progress is not reported."""
    sandbox.faults.add(forever(progress_body("processing")))
    seen: list[str] = []

    async def watch() -> None:
        async for progress in client.generations.watch("gen_1"):
            seen.append(progress.status)  # noqa: PERF401 - read while the loop runs

    watching = asyncio.ensure_future(watch())
    while not seen:
        await asyncio.sleep(0.01)
    for status in ("queued", "processing", "complete"):
        poller_of(client).on_push(progress_of(status))
    await watching
    assert seen == ["processing", "complete"]


@pytest.mark.slow
async def test_polls_are_rare_while_events_arrive_and_resume_when_one_is_missed() -> None:
    """After the first event there are only checks; a missed event ends that."""
    policy = WaitPolicy(
        min_interval=0.05, max_interval=0.1, max_polls_per_second=100, push_check_interval=0.8
    )
    async with sandbox_client(duration=1.2, wait=policy) as (client, sandbox):
        reported, missed, late = await generate(client, 3, 1)
        with poller_of(client).push_active():
            wait = asyncio.ensure_future(client.generations.wait_many([reported, missed, late]))
            await asyncio.sleep(0.3)
            poller_of(client).on_push(progress_of("processing", reported.generation_id))
            await asyncio.sleep(0.15)
            before = len(requests_to(sandbox, PROGRESS))
            await asyncio.sleep(0.4)
            assert len(requests_to(sandbox, PROGRESS)) - before <= 3
            poller_of(client).on_push(progress_of("complete", reported.generation_id))
            outcomes = await asyncio.wait_for(wait, 60)
        assert [outcome.ok for outcome in outcomes] == [True] * 3


@pytest.mark.slow
async def test_polling_resumes_without_a_listener(sandbox: Sandbox) -> None:
    """The end of `push_active` resumes polling at once."""
    policy = WaitPolicy(
        min_interval=0.05, max_interval=0.1, max_polls_per_second=100, push_check_interval=60
    )
    options = ClientOptions(retry=QUICK, wait=policy)
    sandbox.faults.add(forever(progress_body("processing")))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        with poller_of(client).push_active():
            poller_of(client).on_push(progress_of("processing", "gen_9"))
            wait = asyncio.ensure_future(
                client.generations.wait_for_complete(generation_id="gen_1")
            )
            await until_polled(sandbox, "gen_1")
            await asyncio.sleep(0.25)
            assert len(requests_to(sandbox, PROGRESS)) == 1
        sandbox.faults.clear()
        sandbox.faults.add(forever(progress_body("complete")))
        assert (await asyncio.wait_for(wait, 30)).complete
