"""One who waits, in a process of its own: `ours` or `naive`.

    python contender.py ours|naive

It reads a line of JSON (what to wait for, and how), writes `ready`, reads a line (the instant the
fleet began), waits, and writes a line of JSON: when it learned of which end, and what that took.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Ends = list[tuple[str, float]]


async def ours(spec: dict[str, Any], ends: Ends) -> None:
    """One `as_completed` over all of them."""
    from diffio_async import AsyncDiffio, ClientOptions, WaitPolicy
    from diffio_async.models.generations import handle_of

    options = ClientOptions(wait=WaitPolicy(**spec["policy"]))

    async def begun() -> AsyncIterator[str]:
        for handle, begins in sorted(handles, key=itemgetter(1)):
            await until(spec, begins)
            yield handle

    handles = [(handle_of(job, project), begins) for job, project, begins in spec["jobs"]]
    async with AsyncDiffio("diffio_live_none", base_url=spec["url"], options=options) as client:
        await ready(spec)
        late = any(begins for _, begins in handles)
        waited = begun() if late else [handle for handle, _ in handles]
        async for outcome in client.generations.as_completed(waited):
            if outcome.error is not None:
                raise outcome.error
            ends.append((outcome.generation_id, time.monotonic()))


async def naive(spec: dict[str, Any], ends: Ends) -> None:
    """A task for each, that asks on a beat, as is written in a minute."""
    import aiohttp

    beat, url = spec["beat"], spec["url"] + "/get_generation_progress"

    async def follow(generation: str, project: str, begins: float) -> None:
        # Fairer than it often is: the loops are not in step.
        await until(spec, begins + beat * random.random())  # noqa: S311 - no secret
        body = {"generationId": generation, "apiProjectId": project}
        while True:
            async with session.post(url, json=body) as answer:
                if (await answer.json())["status"] == "complete":
                    break
            await asyncio.sleep(beat)
        ends.append((generation, time.monotonic()))

    async with aiohttp.ClientSession() as session:
        await ready(spec)
        async with asyncio.TaskGroup() as group:
            for job in spec["jobs"]:
                group.create_task(follow(*job))


async def ready(spec: dict[str, Any]) -> None:
    """Wait for the word to go; from here on it counts."""
    print("ready", flush=True)
    spec["began"] = float(await asyncio.to_thread(sys.stdin.readline))
    spec["before"] = cost()
    spec["going"].set()


async def until(spec: dict[str, Any], instant: float) -> None:
    """Wait for an instant of the fleet."""
    left = spec["began"] + instant - time.monotonic()
    if left > 0:
        await asyncio.sleep(left)


def cost() -> tuple[float, int]:
    """CPU seconds so far, and the memory that is resident now, in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return used.ru_utime + used.ru_stime, pages * resource.getpagesize()


async def run(way: Callable[[dict[str, Any], Ends], Awaitable[None]], spec: dict[str, Any]) -> Ends:
    """Wait to the end, or for as long as is wanted; look at the memory while all wait."""
    ends: Ends = []

    spec["going"] = asyncio.Event()

    async def look() -> None:
        await spec["going"].wait()
        await asyncio.sleep(spec["look_after"])
        spec["waiting"] = cost()

    looking = asyncio.create_task(look())
    waiting = asyncio.ensure_future(way(spec, ends))
    try:
        await asyncio.wait_for(waiting, spec["stop_after"])
    except TimeoutError:
        pass
    finally:
        looking.cancel()
    return ends


def main() -> None:
    """Be the contender of the first argument."""
    spec: dict[str, Any] = json.loads(sys.stdin.readline())
    ends = asyncio.run(run({"ours": ours, "naive": naive}[sys.argv[1]], spec))
    cpu, resident = cost()
    before, waiting = spec["before"], spec.get("waiting", (0.0, resident))
    result = {
        "ends": ends,
        "cpu": cpu - before[0],
        "resident_before": before[1],
        "resident_waiting": waiting[1],
        "resident_most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
