"""Deadlines of a wait are exact, and cut the request in flight."""

from __future__ import annotations

import asyncio
import math
import time

import anyio
import pytest

from diffio_async import AsyncDiffio, ConfigurationError, ServerError, WaitTimeout
from diffio_async._polling import job
from diffio_async.sandbox import Delay, Fault, Sandbox
from tests.scripts import PROGRESS, forever, progress_body, requests_to, scripted

#: Seconds that a busy machine may add.
LEEWAY = 20.0


async def test_a_deadline_cancels_the_poll_in_flight(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """A host that does not respond does not delay a wait beyond its deadline."""
    sandbox.faults.add(Fault(path=PROGRESS, action=Delay(600)))
    started_at = time.monotonic()
    with pytest.raises(WaitTimeout, match="had no response") as caught:
        await client.generations.wait_for_complete(generation_id="gen_1", timeout=0.2)
    assert 0.2 <= time.monotonic() - started_at < 0.2 + LEEWAY
    assert caught.value.progress is None
    assert caught.value.generation_id == "gen_1"


@pytest.mark.slow
async def test_a_long_interval_ends_at_the_deadline(
    client: AsyncDiffio, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an interval of an hour the wait still ends on time, after one last poll."""
    monkeypatch.setattr(job, "_FINAL_POLL_MARGIN", 1.5)  # a busy machine may stop for a moment
    sandbox.faults.add(forever(progress_body("processing")))
    started_at = time.monotonic()
    with pytest.raises(WaitTimeout, match="'processing'") as caught:
        await client.generations.wait_for_complete(
            generation_id="gen_1", timeout=2, poll_interval=3600
        )
    assert 2 <= time.monotonic() - started_at < 2 + LEEWAY
    assert caught.value.progress is not None
    assert len(requests_to(sandbox, PROGRESS)) >= 2


@pytest.mark.slow
async def test_a_result_during_the_last_interval_is_not_a_timeout(
    client: AsyncDiffio, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last poll is just before the deadline, not after it."""
    # Long enough for a poll on a busy machine.
    monkeypatch.setattr("diffio_async._polling.job._FINAL_POLL_MARGIN", 1.0)
    sandbox.faults.add(*scripted(progress_body("processing")), forever(progress_body("complete")))
    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", timeout=2, poll_interval=3600
    )
    assert progress.complete


async def test_a_timeout_of_zero_polls_once(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """0 means: is it complete now?"""
    sandbox.faults.add(*scripted(progress_body("complete"), progress_body("processing")))
    progress = await client.generations.wait_for_complete(generation_id="gen_1", timeout=0)
    assert progress.complete
    with pytest.raises(WaitTimeout) as caught:
        await client.generations.wait_for_complete(generation_id="gen_1", timeout=0)
    assert caught.value.progress is not None
    assert len(requests_to(sandbox, PROGRESS)) == 2


async def test_an_infinite_timeout_waits_to_the_end(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """`math.inf` waits as long as it takes."""
    sandbox.faults.add(*scripted(progress_body("processing"), progress_body("complete")))
    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", timeout=math.inf, poll_interval=0.01
    )
    assert progress.complete


async def test_a_timeout_is_a_timeout_error_with_a_hint(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """`except TimeoutError` catches it, and the error of the last poll is its cause."""
    sandbox.faults.add(forever(500))
    with pytest.raises(TimeoutError, match="wait again with the same ids") as caught:
        await client.generations.wait_for_complete(
            generation_id="gen_1", timeout=1, poll_interval=0.05
        )
    assert isinstance(caught.value.__cause__, ServerError)


@pytest.mark.slow
async def test_a_callers_own_deadline_wins(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """`asyncio.timeout` and anyio's scopes cancel a wait and its polls."""
    sandbox.faults.add(forever(progress_body("processing")))
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await client.generations.wait_for_complete(generation_id="gen_1")
    assert not isinstance(caught.value, WaitTimeout)
    with anyio.move_on_after(0.1) as scope:
        await client.generations.wait_for_complete(generation_id="gen_1")
    assert scope.cancelled_caught
    await asyncio.sleep(0.15)  # a request that was sent before may arrive
    before = len(requests_to(sandbox, PROGRESS))
    await asyncio.sleep(0.15)
    assert len(requests_to(sandbox, PROGRESS)) == before


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
async def test_an_invalid_poll_interval_is_rejected(
    client: AsyncDiffio, sandbox: Sandbox, seconds: float
) -> None:
    """Nothing is polled with an interval that would spin or never poll."""
    with pytest.raises(ConfigurationError, match="poll_interval"):
        await client.generations.wait_for_complete(generation_id="g", poll_interval=seconds)
    assert requests_to(sandbox, PROGRESS) == []


@pytest.mark.parametrize("seconds", [-1, math.nan])
async def test_an_invalid_timeout_is_rejected(client: AsyncDiffio, seconds: float) -> None:
    """A deadline in the past is a mistake."""
    with pytest.raises(ConfigurationError, match="timeout"):
        await client.generations.wait_for_complete(generation_id="g", timeout=seconds)
