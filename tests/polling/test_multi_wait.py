"""Waits for many generations: accepted items, order of outcomes, and requests."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import (
    AsyncDiffio,
    BatchFailed,
    ClientClosed,
    ConfigurationError,
    GenerationFailed,
    GenerationProgress,
    NotFound,
    WaitPolicy,
    WaitTimeout,
)
from tests.polling.sandbox_fleet import LISTING, generate, listing_body, sandbox_client
from tests.scripts import PROGRESS, forever, progress_body, requests_to, scripted, uploaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from diffio_async.sandbox import Sandbox


@pytest.mark.slow
async def test_outcomes_come_in_the_order_given(client: AsyncDiffio) -> None:
    """Ids, handles and models may be mixed and repeated; what failed is among the outcomes."""
    first, second, third = await generate(client, 1, 3)
    progress = await client.generations.get_progress(generation_id=third.generation_id)
    given = [second, "gen_gone", first.generation_id, third.handle, progress, second]
    outcomes = await client.generations.wait_many(given)
    ids = [second.generation_id, "gen_gone", first.generation_id, *[third.generation_id] * 2]
    assert [outcome.generation_id for outcome in outcomes] == [*ids, second.generation_id]
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True, True, True]
    assert [outcome.status for outcome in outcomes].count("complete") == 5
    assert isinstance(outcomes[1].error, NotFound)
    assert outcomes[1].error.generation_id == "gen_gone"
    assert outcomes[0].handle == second.handle
    again = await client.generations.wait_many(outcomes[2:4])
    assert [outcome.ok for outcome in again] == [True, True]


async def test_nothing_to_wait_for_sends_no_request(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Empty input has an empty result."""
    assert await client.generations.wait_many([]) == []
    assert [outcome async for outcome in client.generations.as_completed(iter(()))] == []
    assert len(sandbox.requests) == 0


@pytest.mark.parametrize("given", [["gen_1", 7], ["gen_1", None], ["gen_1", "  "], "gen_1", 5])
async def test_an_invalid_item_is_rejected_before_any_request(
    client: AsyncDiffio, sandbox: Sandbox, given: Any
) -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError, match=r"7|None|'  '|list|5"):
        await client.generations.wait_many(given)
    assert len(sandbox.requests) == 0


@pytest.mark.slow
async def test_one_listing_polls_all_generations_of_a_project() -> None:
    """Fifty jobs of one project cost a few listings, and no single polls."""
    async with sandbox_client(duration=0.4) as (client, sandbox):
        generations = await generate(client, 1, 50)
        before = len(sandbox.requests)
        outcomes = await client.generations.wait_many(generations)
        assert all(outcome.ok for outcome in outcomes)
        assert {outcome.progress.percent for outcome in outcomes if outcome.progress} == {100.0}
        assert len(sandbox.requests) - before <= 25
        assert len(requests_to(sandbox, PROGRESS)) <= 12


@pytest.mark.slow
async def test_a_project_with_one_generation_has_no_listing() -> None:
    """A batch has thousands of them in flight; a second generation starts one."""
    async with sandbox_client(duration=600) as (client, _):
        (first,), (second, third) = await generate(client, 1, 1), await generate(client, 1, 2)
        scheduler = client._pacer.scheduler()
        waits = [
            asyncio.ensure_future(client.generations.wait_many([each])) for each in (first, second)
        ]
        while len(scheduler.jobs) < 2:
            await asyncio.sleep(0.01)
        assert not scheduler.listings
        waits.append(asyncio.ensure_future(client.generations.wait_many([third])))
        while len(scheduler.jobs) < 3:
            await asyncio.sleep(0.01)
        (listing,) = scheduler.listings.values()
        assert set(listing.members) == {second.generation_id, third.generation_id}
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        assert not scheduler.listings
        assert not scheduler._lone_jobs


@pytest.mark.slow
async def test_one_alone_and_a_few_of_another_project() -> None:
    """A job alone in its project is polled by itself; responses contain unknown projects."""
    async with sandbox_client(duration=2) as (client, sandbox):
        generations = await generate(client, 3, 2) + await generate(client, 1, 1)
        ids = [generation.generation_id for generation in generations]
        outcomes = await client.generations.wait_many(ids)
        assert [outcome.api_project_id for outcome in outcomes] == [
            generation.api_project_id for generation in generations
        ]
        assert len(requests_to(sandbox, LISTING)) >= 3


async def test_completions_are_reported_as_they_occur() -> None:
    """The first to end is reported first, while others of its project continue."""
    async with sandbox_client() as (client, sandbox):
        early = [("gen_1", "complete", 100.0), ("gen_2", "complete", 100.0)]
        sandbox.faults.add(
            *scripted(listing_body(("gen_3", "processing", 50.0), *early), path=LISTING),
            forever(listing_body(("gen_3", "complete", 100.0), *early), path=LISTING),
            *scripted(progress_body("processing", generationId="gen_3")),
            forever(progress_body("complete", generationId="gen_3")),
        )
        stream = client.generations.as_completed(
            ["gen_3", "gen_1", "gen_2"], api_project_id="proj_1"
        )
        ended = [outcome.generation_id async for outcome in stream]
        assert set(ended[:2]) == {"gen_1", "gen_2"}
        assert ended[2] == "gen_3"


async def test_an_endless_iterable_is_read_up_to_max_pending() -> None:
    """`max_pending` bounds the generations that are waited for; leaving the loop ends all tasks."""
    async with sandbox_client() as (client, _):
        project = await uploaded(client)
        created = 0

        async def endless() -> AsyncIterator[str]:
            nonlocal created
            while True:
                generation = await client.generations.create(api_project_id=project)
                created += 1
                yield generation.handle

        seen = 0
        stream = client.generations.as_completed(endless(), max_pending=4)
        async for outcome in stream:
            assert outcome.ok
            assert created - seen <= 6
            seen += 1
            if seen == 12:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert len(asyncio.all_tasks()) <= 6


async def test_an_iterator_that_blocks_does_not_block_the_loop() -> None:
    """It runs in a thread: here each item follows the outcome of the one before."""
    async with sandbox_client() as (client, _):
        generations = await generate(client, 1, 3)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def one_by_one() -> Iterator[str]:
            for generation in generations:
                yield generation.generation_id
                asyncio.run_coroutine_threadsafe(ended.wait(), loop).result(60)
                loop.call_soon_threadsafe(ended.clear)

        seen = []
        async for outcome in client.generations.as_completed(one_by_one()):
            seen.append(outcome.generation_id)
            ended.set()
        assert seen == [generation.generation_id for generation in generations]


async def test_an_iterable_that_raises_ends_the_call_with_that(client: AsyncDiffio) -> None:
    """The error of the iterable is raised as it is."""

    def broken() -> Iterator[str]:
        yield "gen_1"
        raise ZeroDivisionError("the queue broke down")

    with pytest.raises(ZeroDivisionError, match="queue broke"):
        await client.generations.wait_many(broken())


async def test_failures_are_outcomes_or_one_error_of_all(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """`raise_on_failure` raises when all have ended, with every outcome."""
    sandbox.faults.add(
        *scripted(progress_body("failed", error="no speech in it"), progress_body("complete"))
    )
    with pytest.raises(BatchFailed, match="1 of 2") as caught:
        await client.generations.wait_many(["gen_1", "gen_2"], raise_on_failure=True)
    assert [outcome.ok for outcome in caught.value.outcomes] == [False, True]
    (failure,) = caught.value.exceptions
    assert isinstance(failure, GenerationFailed)
    assert failure.generation_id == "gen_1"
    assert "no speech" in str(failure)


@pytest.mark.slow
async def test_timeouts_are_outcomes_on_time() -> None:
    """A generation that does not end in time has a timeout with its last progress."""
    async with sandbox_client(duration=600) as (client, _):
        generations = await generate(client, 1, 3) + await generate(client, 2, 1)
        started_at = time.monotonic()
        outcomes = await client.generations.wait_many(generations, timeout=2)
        assert 2 <= time.monotonic() - started_at < 20
        assert all(isinstance(outcome.error, WaitTimeout) for outcome in outcomes)
        assert {outcome.status for outcome in outcomes} == {"processing"}


async def test_a_timeout_of_zero_polls_each_once() -> None:
    """Complete generations are reported as such, the rest as timed out."""
    async with sandbox_client() as (client, sandbox):
        done = await generate(client, 1, 2)
        await client.generations.wait_many(done)
        sandbox.faults.add(*scripted(progress_body("processing")))
        outcomes = await client.generations.wait_many([*done, "gen_other"], timeout=0)
        assert [outcome.ok for outcome in outcomes] == [True, True, False]


@pytest.mark.slow
async def test_progress_of_many_is_reported() -> None:
    """`on_progress` receives the progress of each, from listings and from single polls."""
    async with sandbox_client(duration=3) as (client, _):
        generations = await generate(client, 1, 3) + await generate(client, 1, 1)
        seen: dict[str, list[float]] = {}

        def on_progress(progress: GenerationProgress) -> None:
            seen.setdefault(progress.generation_id, []).append(progress.percent)

        await client.generations.wait_many(generations, on_progress=on_progress)
        assert len(seen) == 4
        for percents in seen.values():
            assert percents == sorted(percents)
            assert percents[-1] == 100
            assert len(percents) >= 2


async def test_watching_yields_changes_and_ends_with_the_job(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """`watch` yields each change once; a failure is raised as by the other waits."""
    sandbox.faults.add(*scripted(progress_body("queued"), progress_body("complete")))
    seen = [progress.status async for progress in client.generations.watch("gen_1")]
    assert seen == ["queued", "complete"]
    sandbox.faults.add(forever(progress_body("failed", error="silence")))
    with pytest.raises(GenerationFailed, match="silence"):
        async for _ in client.generations.watch("gen_1"):
            pass


async def test_handles_lead_back_to_a_generation(client: AsyncDiffio) -> None:
    """A handle is attached, waited on and watched; another key's or a broken one is refused."""
    (generation,) = await generate(client, 1, 1)
    assert (await client.generations.wait_for_complete(generation_id=generation.handle)).complete
    attached = await client.generations.attach(generation.handle)
    assert attached.generation_id == generation.generation_id
    assert attached.status == "complete"
    assert attached.handle == generation.handle
    with pytest.raises(NotFound):
        await client.generations.attach(generation.handle + "x")
    for odd in ("gen_1", generation.handle[:-30], "dgh9.a.b"):
        with pytest.raises(ConfigurationError, match="handle"):
            await client.generations.attach(odd)


@pytest.mark.slow
async def test_two_waits_for_one_generation_share_its_polls() -> None:
    """A second waiter costs hardly any polls, and gets the same result."""
    policy = WaitPolicy(min_interval=0.2, max_interval=0.5, max_polls_per_second=200, burst=50)
    async with sandbox_client(duration=0.3, wait=policy) as (client, sandbox):
        (generation,) = await generate(client, 1, 1)
        wait = client.generations.wait_for_complete
        both = await asyncio.gather(*(wait(generation_id=generation.handle) for _ in range(20)))
        assert all(progress.complete for progress in both)
        assert len(requests_to(sandbox, PROGRESS)) <= 12


@pytest.mark.slow
async def test_cancelling_one_wait_leaves_the_other() -> None:
    """No polls are sent without waiters."""
    async with sandbox_client(duration=30) as (client, sandbox):
        generations = await generate(client, 1, 3)
        many = asyncio.ensure_future(client.generations.wait_many(generations))
        one = asyncio.ensure_future(
            client.generations.wait_for_complete(generation_id=generations[0].handle)
        )
        await asyncio.sleep(0.1)
        many.cancel()
        await asyncio.sleep(0.1)
        assert not one.done()
        one.cancel()
        await asyncio.gather(many, one, return_exceptions=True)
        before = len(sandbox.requests)
        await asyncio.sleep(0.15)
        assert len(sandbox.requests) == before
        assert many.cancelled()
        assert one.cancelled()


async def test_closing_the_client_ends_every_kind_of_wait() -> None:
    """All raise `ClientClosed`, at once."""
    async with sandbox_client(duration=30) as (client, _):
        generations = await generate(client, 1, 3)

        async def watched() -> None:
            async for _ in client.generations.watch(generations[0].handle):
                pass

        async def ended() -> None:
            async for _ in client.generations.as_completed(generations):
                pass

        waits = [
            asyncio.ensure_future(wait)
            for wait in (client.generations.wait_many(generations), watched(), ended())
        ]
        await asyncio.sleep(0.1)
        started_at = time.monotonic()
        await client.aclose()
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(result) for result in results] == [ClientClosed] * 3
        assert time.monotonic() - started_at < 20
        with pytest.raises(ClientClosed):
            await client.generations.wait_many(generations)


async def test_with_a_timeout_of_zero_all_new_generations_are_polled_at_once() -> None:
    """So are generations that were just created, though they cannot have ended."""
    policy = WaitPolicy(min_interval=60.0, max_interval=60.0, max_polls_per_second=100, burst=50)
    async with sandbox_client(duration=600, wait=policy) as (client, _):
        generations = await generate(client, 6, 1)
        started_at = time.monotonic()
        outcomes = await client.generations.wait_many(generations, timeout=0)
        assert time.monotonic() - started_at < 20
    assert [type(outcome.error) for outcome in outcomes] == [WaitTimeout] * 6
