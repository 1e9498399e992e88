"""The rate of polls adapts to the service: demand, latency, 429 and 503."""

from __future__ import annotations

import asyncio
import time

import pytest

from diffio_async import AsyncDiffio, ClientOptions, WaitPolicy, WaitTimeout
from diffio_async._protocol.rate_limit import START_RATE
from diffio_async.sandbox import Delay, Fault, RespondWith, Sandbox
from tests.conftest import QUICK
from tests.polling.sandbox_fleet import generate, sandbox_client
from tests.scripts import PROGRESS, forever, progress_body, requests_to

#: Intervals with which thirty jobs need far more polls than the rate allows at first.
DEMANDING = WaitPolicy(min_interval=0.05, max_interval=0.1, burst=5)


def rate_of(client: AsyncDiffio) -> float:
    """Return the current rate limit of a client."""
    return client.generations._pacer.rate_limiter.rate


@pytest.mark.slow
async def test_the_rate_grows_while_more_polls_are_due() -> None:
    """Up to the maximum, which the polls exceed by no more than the burst."""
    policy = WaitPolicy(min_interval=0.05, max_interval=0.1, burst=5, max_polls_per_second=25)
    async with sandbox_client(duration=60, wait=policy) as (client, sandbox):
        generations = await generate(client, 30, 1)
        assert rate_of(client) == START_RATE
        began = time.monotonic()
        waiting = asyncio.create_task(client.generations.wait_many(generations))
        reached = None
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.1)
                if reached is None and rate_of(client) == 25:
                    reached = time.monotonic()
                times = [seen.at for seen in requests_to(sandbox, PROGRESS)]
                if len(times) > (time.monotonic() - began) * START_RATE + 5 + 25:
                    break
        assert rate_of(client) == 25
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        # On a busy machine several may arrive together, so the seconds between are not compared.
        for number, at in enumerate(times, 1):
            assert number <= 25 * (at - began) + 5 + 1
        assert reached is not None
        later = [at for at in times if at >= reached]
        # The polls of a second may have been on their way when the rate reached its maximum.
        for number, at in enumerate(later, 1):
            assert number <= 25 * (at - reached) + 5 + 1 + 25


@pytest.mark.slow
async def test_the_rate_does_not_grow_while_the_latency_rises() -> None:
    """The service responds after 0.4 s to every poll but the first."""
    async with sandbox_client(duration=60, wait=DEMANDING) as (client, sandbox):
        generations = await generate(client, 30, 1)
        with pytest.raises(WaitTimeout):
            await client.generations.wait_for_complete(
                generation_id=generations[0].handle, timeout=0
            )
        sandbox.faults.add(Fault(path=PROGRESS, times=None, action=Delay(0.4)))
        await client.generations.wait_many(generations, timeout=2)
        assert rate_of(client) <= START_RATE + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "headers", "rate"),
    [
        (429, {}, START_RATE / 2),
        (429, {"Retry-After": "1"}, START_RATE / 2),
        (503, {"Retry-After": "1"}, START_RATE / 2),
        # One failed response does not mean that there are too many polls.
        (503, {}, START_RATE),
    ],
)
async def test_a_service_that_throttles_halves_the_rate(
    status: int, headers: dict[str, str], rate: float
) -> None:
    """Once, although several polls in flight are throttled."""
    # A pause so long that no poll in flight is sent after it, on a busy machine either.
    policy = WaitPolicy(min_interval=1, max_interval=2)
    async with sandbox_client(wait=policy) as (client, sandbox):
        action = RespondWith(status=status, headers=headers)
        sandbox.faults.add(
            Fault(path=PROGRESS, times=3, action=action), forever(progress_body("complete"))
        )
        handles = [each.handle for each in await generate(client, 3, 1)]
        # Waits that want progress poll at once, so three polls are in flight.
        async for _ in client.generations.as_completed(handles, on_progress=lambda _: None):
            pass
        assert rate_of(client) == pytest.approx(rate, abs=1)


@pytest.mark.slow
async def test_the_limit_of_a_client_is_a_hard_limit_of_its_batches(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """However many files a batch has in flight, each in a project of its own."""
    rate, burst, files = 5, 2, 14
    folder, results = tmp_path_factory.mktemp("recordings"), tmp_path_factory.mktemp("results")
    for number in range(files):
        (folder / f"{number}.wav").write_bytes(f"{number:08}".encode() * 16)
    policy = WaitPolicy(min_interval=0.05, max_interval=0.2, max_polls_per_second=rate, burst=burst)
    async with Sandbox(engine="echo", duration=0.3) as sandbox:
        options = ClientOptions(retry=QUICK, wait=policy)
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            outcomes = [outcome async for outcome in client.restore_many(folder, results)]
            assert rate_of(client) <= rate
        assert [outcome.state for outcome in outcomes] == ["done"] * files
        times = [seen.at for seen in requests_to(sandbox, PROGRESS)]
    assert len({outcome.api_project_id for outcome in outcomes}) == files
    assert len(times) >= files
    assert max(sum(t <= other < t + 1 for other in times) for t in times) <= rate + burst
    assert len(times) <= rate * (times[-1] - times[0]) + burst + 1
