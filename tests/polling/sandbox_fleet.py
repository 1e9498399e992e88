"""Clients of a sandbox with real generations, and bodies of listings."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from diffio_async import AsyncDiffio, ClientOptions, Generation, WaitPolicy
from diffio_async.sandbox import Sandbox
from tests.conftest import QUICK
from tests.scripts import uploaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LISTING = "/v1/list_project_generations"
#: Intervals short enough for tests, and a rate limit that they do not reach.
BRISK = WaitPolicy(min_interval=0.03, max_interval=0.3, max_polls_per_second=300, burst=50)


@contextlib.asynccontextmanager
async def sandbox_client(
    *, duration: float = 0.0, wait: WaitPolicy = BRISK, **more: object
) -> AsyncIterator[tuple[AsyncDiffio, Sandbox]]:
    """Run a client and a sandbox whose generations take `duration` seconds."""
    options = ClientOptions(retry=QUICK, wait=wait, **more)  # type: ignore[arg-type]
    async with Sandbox(engine="echo", duration=duration) as sandbox:
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            yield client, sandbox
        assert sandbox.violations == []


async def generate(client: AsyncDiffio, projects: int, each: int) -> list[Generation]:
    """Create so many projects with `each` generations, and return these."""
    generations = []
    for _ in range(projects):
        project = await uploaded(client)
        generations += [
            await client.generations.create(api_project_id=project) for _ in range(each)
        ]
    return generations


def listing_body(*rows: tuple[str, str, float | None]) -> dict[str, Any]:
    """Return the body of a listing with rows of ids, statuses and percentages."""
    return {
        "apiProjectId": "proj_1",
        "generations": [
            {"generationId": id_, "status": status, "progress": percent}
            for id_, status, percent in rows
        ],
    }
