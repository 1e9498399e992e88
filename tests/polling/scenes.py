"""Shared code of tests of waits for many: fleets of real generations, and their requests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from diffio_async import AsyncDiffio, ClientOptions, Generation, WaitPolicy
from diffio_async.sandbox import Sandbox
from tests.conftest import QUICK
from tests.scripts import uploaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LISTING = "/v1/list_project_generations"
#: Pauses short enough for tests; the budget is not what they are about.
BRISK = WaitPolicy(min_interval=0.1, max_interval=1.0, max_polls_per_second=100, burst=50)


@contextlib.asynccontextmanager
async def place(
    *, duration: float = 0.0, wait: WaitPolicy = BRISK, **more: object
) -> AsyncIterator[tuple[AsyncDiffio, Sandbox]]:
    """A client of a sandbox whose generations take `duration` seconds."""
    options = ClientOptions(retry=QUICK, wait=wait, **more)  # type: ignore[arg-type]
    async with Sandbox(engine="echo", duration=duration) as sandbox:
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            yield client, sandbox
        assert sandbox.violations == []


async def begun(client: AsyncDiffio, projects: int, each: int) -> list[Generation]:
    """Generations that were just begun, project by project."""
    made = []
    for _ in range(projects):
        project = await uploaded(client)
        made += [await client.generations.create(api_project_id=project) for _ in range(each)]
    return made
