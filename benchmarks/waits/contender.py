"""Contender of the benchmark of waiting: a process that waits for a fleet.

    python contender.py ours|alone|naive

It reads a line of JSON (jobs and options), writes `ready`, reads a line (the instant at which the
fleet was started), waits, and writes a line of JSON: when each end was detected, CPU and memory.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import AsyncExitStack
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from harness import cpu_seconds, resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Ends = list[tuple[str, float]]


async def ours(spec: dict[str, Any], ends: Ends) -> None:
    """Wait for all jobs with one `as_completed`."""
    from diffio_async import AsyncDiffio, ClientOptions, WaitPolicy
    from diffio_async.models.generations import handle_of

    options = ClientOptions(wait=WaitPolicy(**spec["policy"]))

    async def created() -> AsyncIterator[str]:
        for handle, created_at in sorted(handles, key=itemgetter(1)):
            await sleep_until(spec, created_at)
            yield handle

    handles = [(handle_of(job, project), created_at) for job, project, created_at in spec["jobs"]]
    async with AsyncDiffio("diffio_live_none", base_url=spec["url"], options=options) as client:
        await ready(spec)
        gradual = any(created_at for _, created_at in handles)
        jobs = created() if gradual else [handle for handle, _ in handles]
        async for outcome in client.generations.as_completed(jobs):
            if outcome.error is not None:
                raise outcome.error
            ends.append((outcome.generation_id, time.monotonic()))


async def alone(spec: dict[str, Any], ends: Ends) -> None:
    """Wait for each job with a client of its own, which has learned nothing of other jobs."""
    from diffio_async import AsyncDiffio, ClientOptions, WaitPolicy
    from diffio_async.models.generations import handle_of

    options = ClientOptions(wait=WaitPolicy(**spec["policy"]))

    async def follow(client: AsyncDiffio, generation: str, handle: str) -> None:
        await client.generations.wait_for_complete(generation_id=handle)
        ends.append((generation, time.monotonic()))

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncDiffio("diffio_live_none", base_url=spec["url"], options=options)
            )
            for _ in spec["jobs"]
        ]
        await ready(spec)
        async with asyncio.TaskGroup() as group:
            for client, (job, project, _) in zip(clients, spec["jobs"], strict=True):
                group.create_task(follow(client, job, handle_of(job, project)))


async def naive(spec: dict[str, Any], ends: Ends) -> None:
    """Poll each job with a fixed interval in a task of its own."""
    import aiohttp

    interval, url = spec["interval"], spec["url"] + "/get_generation_progress"

    async def follow(generation: str, project: str, created_at: float) -> None:
        # The loops are not synchronised.
        await sleep_until(spec, created_at + interval * random.random())  # noqa: S311 - no secret
        body = {"generationId": generation, "apiProjectId": project}
        while True:
            async with session.post(url, json=body) as response:
                if (await response.json())["status"] == "complete":
                    break
            await asyncio.sleep(interval)
        ends.append((generation, time.monotonic()))

    async with aiohttp.ClientSession() as session:
        await ready(spec)
        async with asyncio.TaskGroup() as group:
            for job in spec["jobs"]:
                group.create_task(follow(*job))


async def ready(spec: dict[str, Any]) -> None:
    """Report that the contender is ready, and wait for the start; the measurement begins here."""
    print(json.dumps("ready"), flush=True)
    spec["started_at"] = float(await asyncio.to_thread(sys.stdin.readline))
    spec["usage_at_start"] = usage()
    spec["started"].set()


async def sleep_until(spec: dict[str, Any], instant: float) -> None:
    """Sleep until an instant in seconds since the start of the fleet."""
    seconds = spec["started_at"] + instant - time.monotonic()
    if seconds > 0:
        await asyncio.sleep(seconds)


def usage() -> tuple[float, float]:
    """Return the CPU seconds so far and the resident memory in MiB."""
    return cpu_seconds(), resident()


async def run(
    contender: Callable[[dict[str, Any], Ends], Awaitable[None]], spec: dict[str, Any]
) -> Ends:
    """Wait for all jobs, or for `stop_after` seconds; measure the memory after `sample_after`."""
    ends: Ends = []

    spec["started"] = asyncio.Event()

    async def sample() -> None:
        await spec["started"].wait()
        await asyncio.sleep(spec["sample_after"])
        spec["usage_while_waiting"] = usage()

    sampling = asyncio.create_task(sample())
    waiting = asyncio.ensure_future(contender(spec, ends))
    try:
        await asyncio.wait_for(waiting, spec["stop_after"])
    except TimeoutError:
        pass
    finally:
        sampling.cancel()
    return ends


def main() -> None:
    """Run the contender that the first argument names."""
    spec: dict[str, Any] = json.loads(sys.stdin.readline())
    ends = asyncio.run(run({"ours": ours, "alone": alone, "naive": naive}[sys.argv[1]], spec))
    cpu, memory = usage()
    before, waiting = spec["usage_at_start"], spec.get("usage_while_waiting", (0.0, memory))
    result = {
        "ends": ends,
        "cpu": cpu - before[0],
        "resident_before": before[1],
        "resident_waiting": waiting[1],
        "resident_max": resident("VmHWM"),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
