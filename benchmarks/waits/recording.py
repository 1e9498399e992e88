"""Wait for one real restoration: the recording of the README, restored by the sandbox.

Each generation is waited for alone, by a new client, so that nothing was learned before.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import quantile

from diffio_async import AsyncDiffio, Generation
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Figures

RECORDING = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"
#: Seconds between the polls of each contender; None: the policy of this client.
INTERVALS = {"ours": None, "every 2 s": 2.0, "every 0.5 s": 0.5}


async def _measure(sandbox: Sandbox, interval: float | None) -> tuple[float, float, int]:
    """Return the seconds of a generation, the delay of its detection and the number of polls."""
    before = len(sandbox.requests)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
        project = (await client.projects.create(RECORDING)).api_project_id
        created_at = time.time()
        created = await client.generations.create(api_project_id=project)
        if interval is None:
            await client.generations.wait_for_complete(generation_id=created.handle)
        else:
            await _poll(client, created, interval)
        returned_at = time.time()
    ended_at = sandbox.state.generations[created.generation_id].finished_at or returned_at
    polls = sum(each.path.endswith("_progress") for each in sandbox.requests[before:])
    return ended_at - created_at, returned_at - ended_at, polls


async def _poll(client: AsyncDiffio, created: Generation, interval: float) -> None:
    while True:
        progress = await client.generations.get_progress(
            generation_id=created.generation_id, api_project_id=created.api_project_id
        )
        if progress.complete:
            return
        await asyncio.sleep(interval)


async def _measure_all(rounds: int) -> dict[str, list[tuple[float, float, int]]]:
    results: dict[str, list[tuple[float, float, int]]] = {who: [] for who in INTERVALS}
    async with Sandbox() as sandbox:
        await _measure(sandbox, None)  # not counted: processes start
        for _ in range(rounds):
            for who, interval in INTERVALS.items():
                results[who].append(await _measure(sandbox, interval))
    return results


def rows(rounds: int) -> Iterator[Figures]:
    """Wait for so many generations with each contender, in turn; yield their figures."""
    for who, measured in asyncio.run(_measure_all(rounds)).items():
        durations, delays, polls = zip(*measured, strict=True)
        yield {
            "what": f"{RECORDING.name}, {rounds} times",
            "who": who,
            "duration": statistics.fmean(durations),
            "requests": statistics.fmean(polls),
            "delay_mean": statistics.fmean(delays),
            "delay_p50": statistics.median(delays),
            "delay_p95": quantile(list(delays), 0.95),
        }
