"""Waits with faults: each ends correctly, and on time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from typing import Any

import pytest

from diffio_async import (
    AsyncDiffio,
    AuthenticationFailed,
    ClientOptions,
    Generation,
    GenerationFailed,
    NotFound,
    PermissionDenied,
    PollingPaused,
    WaitPolicy,
    WaitTimeout,
)
from diffio_async.sandbox import Delay, Fault, RespondWith, Sandbox
from tests.conftest import QUICK
from tests.polling.sandbox_fleet import LISTING, generate, listing_body, sandbox_client
from tests.scripts import PROGRESS, forever, progress_body, requests_to, scripted


@pytest.mark.slow
async def test_a_third_of_the_responses_is_502() -> None:
    """Single polls and listings alike: all completions are found, without bursts of requests."""
    async with sandbox_client(duration=0.3) as (client, sandbox):
        generations = await generate(client, 1, 5) + await generate(client, 5, 1)
        sandbox.faults.add(
            Fault(path=PROGRESS, times=None, rate=0.33, action=RespondWith(status=502)),
            Fault(path=LISTING, times=None, rate=0.33, seed=1, action=RespondWith(status=502)),
        )
        before = len(sandbox.requests)
        outcomes = await client.generations.wait_many(generations, timeout=20)
        assert all(outcome.ok for outcome in outcomes)
        assert len(sandbox.requests) - before < 150


@pytest.mark.slow
async def test_nothing_but_502_ends_on_time() -> None:
    """The deadline holds, and the last failure is the cause."""
    async with sandbox_client() as (client, sandbox):
        sandbox.faults.add(Fault(times=None, action=RespondWith(status=502)))
        started_at = time.monotonic()
        outcomes = await client.generations.wait_many(
            [f"gen_{n}" for n in range(20)], api_project_id="proj_1", timeout=0.3
        )
        assert 0.3 <= time.monotonic() - started_at < 20
        assert {type(outcome.error) for outcome in outcomes} == {WaitTimeout}


@pytest.mark.slow
async def test_429_pauses_all_polls_once() -> None:
    """One `Retry-After` holds back every wait of the client; several of them do not add up."""
    events: list[object] = []
    async with sandbox_client(duration=0.15, observers=(events.append,)) as (client, sandbox):
        generations = await generate(client, 4, 1)
        busy = RespondWith(status=429, headers={"Retry-After": "2"})
        sandbox.faults.add(Fault(path=PROGRESS, times=2, action=busy))
        # Waits with `on_progress` poll at once, so several polls are in flight.
        waits = [
            client.generations.wait_for_complete(
                generation_id=each.handle, on_progress=lambda _: None
            )
            for each in generations
        ]
        await asyncio.gather(*waits)
        times = [seen.at for seen in requests_to(sandbox, PROGRESS)]
        later = [at - times[0] for at in times if at - times[0] > 1]
        assert 2 <= min(later) < 4
        assert [type(event) for event in events].count(PollingPaused) == 1


@pytest.mark.slow
async def test_each_429_without_retry_after_doubles_the_pause() -> None:
    """The pause is that of all polls."""
    policy = WaitPolicy(min_interval=0.06, max_polls_per_second=100, burst=50)
    async with sandbox_client(wait=policy) as (client, sandbox):
        sandbox.faults.add(*scripted(429, 429, 429), forever(progress_body("complete")))
        await client.generations.wait_for_complete(generation_id="gen_1")
        times = [seen.at for seen in requests_to(sandbox, PROGRESS)]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        for gap, pause in zip(gaps, (0.06, 0.12, 0.24), strict=True):
            assert gap >= 0.8 * pause


async def test_a_job_that_vanishes_is_an_outcome_and_the_others_continue() -> None:
    """404 for one; its project's listing serves the rest."""
    async with sandbox_client(duration=0.15) as (client, _):
        generations = await generate(client, 1, 4)
        project = generations[0].api_project_id
        outcomes = await client.generations.wait_many(
            ["gen_gone", *generations], api_project_id=project, timeout=10
        )
        assert isinstance(outcomes[0].error, NotFound)
        assert outcomes[0].error.api_project_id == project
        assert all(outcome.ok for outcome in outcomes[1:])


async def test_a_wrong_key_ends_all_waits_at_once(sandbox: Sandbox) -> None:
    """One 401 ends all waits, however many there are."""
    options = ClientOptions(wait=WaitPolicy(max_polls_per_second=1, burst=0))
    async with AsyncDiffio("wrong", base_url=sandbox.base_url, options=options) as client:
        ids = [f"gen_{n}" for n in range(500)]
        outcomes = await asyncio.wait_for(client.generations.wait_many(ids), 60)
    assert {type(outcome.error) for outcome in outcomes} == {AuthenticationFailed}
    assert {outcome.error.generation_id for outcome in outcomes if outcome.error} == set(ids)
    assert len(sandbox.requests) <= 2


async def test_a_project_that_may_not_be_read_ends_its_waits_at_once() -> None:
    """403 for the listing and for one of its jobs ends the waits for all of them."""
    async with sandbox_client(
        wait=WaitPolicy(min_interval=0.1, max_interval=1, max_polls_per_second=5, burst=0)
    ) as (client, sandbox):
        sandbox.faults.add(Fault(times=None, action=RespondWith(status=403)))
        ids = [f"gen_{n}" for n in range(200)]
        outcomes = await asyncio.wait_for(
            client.generations.wait_many(ids, api_project_id="proj_1"), 20
        )
        assert {type(outcome.error) for outcome in outcomes} == {PermissionDenied}
        assert len(sandbox.requests) <= 5


async def test_a_listing_may_be_forbidden_where_single_polls_are_not() -> None:
    """The jobs are then polled individually."""
    async with sandbox_client(duration=0.15) as (client, sandbox):
        generations = await generate(client, 1, 5)
        sandbox.faults.add(forever(403, path=LISTING))
        outcomes = await client.generations.wait_many(generations, timeout=10)
        assert all(outcome.ok for outcome in outcomes)
        assert len(requests_to(sandbox, LISTING)) == 1


async def test_a_status_never_seen_before_means_still_running() -> None:
    """In listings as in single responses."""
    async with sandbox_client() as (client, sandbox):
        ids = ["gen_1", "gen_2"]
        strange = listing_body(("gen_1", "warming_up", None), ("gen_2", "COMPLETE", 5))
        over = listing_body(("gen_1", "complete", 100), ("gen_2", "complete", 100))
        sandbox.faults.add(
            *scripted(strange, strange, path=LISTING),
            forever(over, path=LISTING),
            forever(progress_body("dreaming")),
        )
        outcomes = await client.generations.wait_many(ids, api_project_id="proj_1", timeout=10)
        assert [outcome.ok for outcome in outcomes] == [True, True]
        assert len(requests_to(sandbox, LISTING)) == 3


async def test_a_listing_that_lacks_a_job_does_not_lose_it() -> None:
    """After two listings without it, it is polled individually."""
    async with sandbox_client() as (client, sandbox):
        rows = [("gen_1", "processing", None), ("gen_2", "processing", None)]
        sandbox.faults.add(
            forever(listing_body(*rows), path=LISTING),
            forever(progress_body("complete", generationId="gen_3")),
        )
        stream = client.generations.as_completed(
            ["gen_1", "gen_2", "gen_3"], api_project_id="proj_1", timeout=10
        )
        # Occasional single polls check the others too, here with the same response.
        outcomes = [outcome async for outcome in stream]
        assert "gen_3" in {outcome.generation_id for outcome in outcomes if outcome.ok}
        polled = [
            seen for seen in requests_to(sandbox, PROGRESS) if seen.json["generationId"] == "gen_3"
        ]
        assert sum(seen.at < polled[0].at for seen in requests_to(sandbox, LISTING)) >= 2


@pytest.mark.slow
async def test_a_listing_that_lags_behind_does_not_hide_an_end() -> None:
    """It always contains `processing`; occasional single polls find the ends in time."""
    async with sandbox_client(duration=0.15) as (client, sandbox):
        generations = await generate(client, 1, 4)
        rows = [(each.generation_id, "processing", 40.0) for each in generations]
        sandbox.faults.add(forever(listing_body(*rows), path=LISTING))
        outcomes = await client.generations.wait_many(generations, timeout=15)
        assert all(outcome.ok for outcome in outcomes)


async def test_invalid_percentages_in_a_listing_do_not_end_the_wait() -> None:
    """Listings and single responses have the same filter for numbers."""
    async with sandbox_client(duration=0.15) as (client, sandbox):
        percents: list[Any] = [10**400, -(10**30), float("nan"), "\ud83d", {"of": 5}, None]
        generations = await generate(client, 1, len(percents))
        rows = [
            (each.generation_id, "processing", percent)
            for each, percent in zip(generations, percents, strict=True)
        ]
        fault = Fault(path=LISTING, times=2, action=RespondWith(json=listing_body(*rows)))
        sandbox.faults.add(fault)
        outcomes = await client.generations.wait_many(generations, timeout=20)
        assert all(outcome.ok for outcome in outcomes)
        assert sandbox.faults.hits(fault) > 0


@pytest.mark.slow
async def test_progress_never_goes_backwards() -> None:
    """A listing that is behind the reported progress is ignored."""
    async with sandbox_client() as (client, sandbox):
        sandbox.faults.add(
            *scripted(
                listing_body(("gen_1", "processing", 40), ("gen_2", "queued", None)),
                listing_body(("gen_1", "queued", None), ("gen_2", "processing", 10)),
                listing_body(("gen_1", "processing", 20), ("gen_2", "processing", 5)),
                listing_body(("gen_1", "processing", 60), ("gen_2", "processing", 70)),
                listing_body(("gen_1", "complete", 100), ("gen_2", "complete", 100)),
                path=LISTING,
            ),
            forever(progress_body("processing")),
        )
        seen: dict[str, list[float]] = {"gen_1": [], "gen_2": []}
        await client.generations.wait_many(
            ["gen_1", "gen_2"],
            api_project_id="proj_1",
            timeout=10,
            on_progress=lambda progress: seen[progress.generation_id].append(progress.percent),
        )
        assert seen == {"gen_1": [40, 60, 100], "gen_2": [0, 10, 70, 100]}


async def test_a_failure_in_a_listing_is_polled_for_its_reason() -> None:
    """The listing does not contain it: one poll does."""
    async with sandbox_client() as (client, sandbox):
        sandbox.faults.add(
            forever(
                listing_body(("gen_1", "failed", None), ("gen_2", "complete", 100)), path=LISTING
            ),
            forever(progress_body("failed", error="no speech in it")),
        )
        outcomes = await client.generations.wait_many(["gen_1", "gen_2"], api_project_id="proj_1")
        assert isinstance(outcomes[0].error, GenerationFailed)
        assert "no speech in it" in str(outcomes[0].error)
        assert outcomes[1].ok
        assert len(requests_to(sandbox, PROGRESS)) == 1


async def test_a_reported_end_without_confirmation_is_an_end() -> None:
    """A wait for one polls for the complete response; if that lags, the listing counts."""
    async with sandbox_client() as (client, sandbox):
        sandbox.faults.add(
            forever(
                listing_body(("gen_1", "complete", 100), ("gen_2", "complete", 100)), path=LISTING
            ),
            forever(progress_body("processing")),
        )
        started_at = time.monotonic()
        wait = client.generations.wait_for_complete
        both = await asyncio.gather(
            *(wait(generation_id=f"gen_{n}", api_project_id="proj_1", timeout=60) for n in (1, 2))
        )
        assert all(progress.complete for progress in both)
        assert time.monotonic() - started_at < 30


async def test_a_project_with_far_more_generations_than_are_waited_for() -> None:
    """A thousand rows of which two are of interest: these are polled individually."""
    async with sandbox_client(duration=0.2) as (client, sandbox):
        generations = await generate(client, 1, 2)
        rows = [(f"gen_of_long_ago_{n}", "complete", 100.0) for n in range(1000)]
        rows += [(each.generation_id, "processing", 10.0) for each in generations]
        sandbox.faults.add(forever(listing_body(*rows), path=LISTING))
        outcomes = await client.generations.wait_many(generations, timeout=10)
        assert all(outcome.ok for outcome in outcomes)
        assert len(requests_to(sandbox, LISTING)) == 1


@pytest.mark.slow
async def test_a_thousand_jobs_of_one_project() -> None:
    """They cost one listing per second, not a thousand polls."""
    async with sandbox_client(duration=3.0, wait=WaitPolicy()) as (client, sandbox):
        generations = await generate(client, 1, 1000)
        before = len(sandbox.requests)
        outcomes = await client.generations.wait_many(generations, timeout=60)
        assert all(outcome.ok for outcome in outcomes)
        assert len(sandbox.requests) - before < 30


@pytest.mark.slow
async def test_a_loop_that_was_blocked_does_not_flood() -> None:
    """After the user's code blocked the loop, overdue polls keep to the rate limit."""
    policy = WaitPolicy(min_interval=0.05, max_interval=0.2, max_polls_per_second=20, burst=5)
    async with sandbox_client(duration=60, wait=policy) as (client, sandbox):
        generations = await generate(client, 40, 1)
        wait = asyncio.ensure_future(client.generations.wait_many(generations, timeout=2))
        await asyncio.sleep(0.4)
        time.sleep(1.0)  # noqa: ASYNC251 - this is what the test is about
        before, began = len(requests_to(sandbox, PROGRESS)), time.monotonic()
        await asyncio.sleep(0.5)
        after, seconds = len(requests_to(sandbox, PROGRESS)), time.monotonic() - began
        assert after - before <= 20 * seconds + 10
        outcomes = await wait
        assert {type(outcome.error) for outcome in outcomes} == {WaitTimeout}


async def test_the_wall_clock_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits use the monotonic clock."""
    async with sandbox_client(duration=0.15) as (client, _):
        generations = await generate(client, 1, 2)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 86400)
        outcomes = await client.generations.wait_many(generations, timeout=10)
        assert all(outcome.ok for outcome in outcomes)


@pytest.mark.slow
async def test_a_poll_that_hangs_does_not_delay_others() -> None:
    """One job's host is stuck; the others end, and it ends at its deadline."""
    async with sandbox_client(duration=0.2) as (client, sandbox):
        generations = await generate(client, 4, 1)
        sandbox.faults.add(Fault(path=PROGRESS, times=1, action=Delay(30)))
        started_at = time.monotonic()
        outcomes = await client.generations.wait_many(generations, timeout=3)
        assert sorted(outcome.ok for outcome in outcomes) == [False, True, True, True]
        assert 3 <= time.monotonic() - started_at < 20


@pytest.mark.slow
async def test_the_rate_limit_is_never_exceeded_and_no_job_starves() -> None:
    """Many more jobs than the limit allows: the rate is kept, and every job is polled."""
    policy = WaitPolicy(min_interval=0.1, max_interval=0.5, max_polls_per_second=50, burst=10)
    options = ClientOptions(retry=QUICK, wait=policy)
    async with Sandbox(engine="echo") as sandbox:
        sandbox.faults.add(forever(progress_body("processing")))
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            ids = [f"gen_{n}" for n in range(120)]
            projects = {id_: f"proj_{n}" for n, id_ in enumerate(ids)}
            generations = [
                Generation(generation_id=id_, api_project_id=projects[id_], status="queued")
                for id_ in ids
            ]
            began = time.monotonic()
            waiting = asyncio.create_task(client.generations.wait_many(generations))
            polls = Counter[str]()
            # A job that starves is not polled three times.
            async with asyncio.timeout(100):
                while min(polls[id_] for id_ in ids) < 3:
                    await asyncio.sleep(0.1)
                    polls = Counter(
                        seen.json["generationId"]
                        for seen in requests_to(sandbox, PROGRESS)
                        if seen.json
                    )
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        seen = requests_to(sandbox, PROGRESS)
    # On a busy machine several may arrive together, so the seconds between are not compared.
    assert len(seen) <= 50 * (seen[-1].at - began) + 10 + 1
    assert max(polls.values()) <= 3 * min(polls.values())
