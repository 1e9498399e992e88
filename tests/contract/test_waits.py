"""Waits for many generations, by the async and the sync client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import BatchFailed, ConfigurationError, GenerationFailed, NotFound
from tests.contract.surface import Surface, surface
from tests.scripts import progress_body, scripted, uploaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox


@pytest.fixture(params=["async", "sync"])
async def waiting(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Surface]:
    """The two clients that can wait for many generations."""
    async with surface(request.param, sandbox) as created:
        yield created


async def ids_of(client: AsyncDiffio, how_many: int) -> list[str]:
    """Start generations of one project; return their handles."""
    project = await uploaded(client)
    created = [await client.generations.create(api_project_id=project) for _ in range(how_many)]
    return [generation.handle for generation in created]


async def test_wait_many_returns_outcomes_in_order(waiting: Surface, client: AsyncDiffio) -> None:
    """Outcomes have the given order, including one for a missing generation."""
    handles = await ids_of(client, 3)
    outcomes: Any = await waiting.call("generations.wait_many", generations=[*handles, "gen_gone"])
    assert [outcome.handle for outcome in outcomes[:3]] == handles
    assert [outcome.ok for outcome in outcomes] == [True, True, True, False]
    assert isinstance(outcomes[3].error, NotFound)


async def test_progress_of_many_is_reported(waiting: Surface, client: AsyncDiffio) -> None:
    """The callback receives progress of each generation."""
    handles = await ids_of(client, 2)
    seen: list[str] = []
    await waiting.call(
        "generations.wait_many",
        generations=handles,
        on_progress=lambda progress: seen.append(progress.handle),
    )
    assert set(seen) == set(handles)


async def test_outcomes_are_yielded_as_they_end(waiting: Surface, client: AsyncDiffio) -> None:
    """The source is a list, or a generator that is consumed lazily."""
    handles = await ids_of(client, 3)

    def lazily() -> Iterator[str]:
        yield from handles

    for given in (handles, lazily()):
        outcomes = await waiting.items("generations.as_completed", generations=given)
        assert {outcome.handle for outcome in outcomes} == set(handles)


async def test_watch_yields_changes(waiting: Surface, sandbox: Sandbox) -> None:
    """Changes are yielded in order, and a failure is raised."""
    sandbox.faults.add(
        *scripted(
            progress_body("queued"),
            progress_body("complete"),
            progress_body("failed", error="silence"),
        )
    )
    steps = await waiting.items("generations.watch", generation_id="gen_1")
    assert [step.status for step in steps] == ["queued", "complete"]
    with pytest.raises(GenerationFailed, match="silence"):
        await waiting.items("generations.watch", generation_id="gen_1")


async def test_failures_can_be_raised_together(waiting: Surface, sandbox: Sandbox) -> None:
    """All failures are raised together, as the same error by both clients."""
    sandbox.faults.add(*scripted(progress_body("failed", error="silence")))
    with pytest.raises(BatchFailed) as caught:
        await waiting.call("generations.wait_many", generations=["gen_1"], raise_on_failure=True)
    assert [outcome.status for outcome in caught.value.outcomes] == ["failed"]
    with pytest.raises(ConfigurationError, match="7"):
        await waiting.call("generations.wait_many", generations=[7])


async def test_a_handle_is_attached(waiting: Surface, client: AsyncDiffio) -> None:
    """The handle works with the other calls."""
    (handle,) = await ids_of(client, 1)
    attached: Any = await waiting.call("generations.attach", handle=handle)
    assert attached.handle == handle
    progress: Any = await waiting.call("generations.wait_for_complete", generation_id=handle)
    assert progress.complete
