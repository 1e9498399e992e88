"""Transfers by this package, with its default options."""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import metered
from moving.profiling import profiled
from moving.sink import check

from diffio_async import AsyncDiffio, ClientOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Number of small files that are transferred at once; the client has lower limits of its own.
AT_ONCE = 16
_TICK = 0.002


@contextmanager
def lag() -> Iterator[dict[str, Any]]:
    """Measure the delay of the event loop in milliseconds; `_busy_ms` is the part due to our code.

    On a machine with few cores, the process is suspended now and then. It uses no CPU then, and
    the delay is not caused by the loop.
    """
    late: list[float] = []
    busy: list[float] = []
    found: dict[str, Any] = {}

    async def meter() -> None:
        before, used = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_TICK)
            now, now_used = time.perf_counter(), time.thread_time()
            late.append((now - before - _TICK) * 1000)
            busy.append(min(late[-1], (now_used - used) * 1000))
            before, used = now, now_used

    task = asyncio.create_task(meter())
    try:
        yield found
    finally:
        task.cancel()
        late.extend([0.0, 0.0])
        busy.append(0.0)
        found["lag_worst_ms"] = max(late)
        found["lag_p99_ms"] = statistics.quantiles(late, n=100, method="inclusive")[98]
        found["lag_busy_worst_ms"] = max(busy)


async def move(client: AsyncDiffio, parameters: dict[str, Any]) -> None:
    """Make the requested transfers."""
    folder = Path(parameters["folder"])
    places = asyncio.Semaphore(AT_ONCE)

    async def upload(path: str) -> None:
        async with places:
            await client.projects.create(path)

    async def download(number: int, size: int) -> None:
        async with places:
            await client.generations.download(
                generation_id=f"g-{size}",
                api_project_id="p-0",
                download_file_path=folder / str(number),
            )

    async with asyncio.TaskGroup() as tasks:
        for path in parameters["sources"]:
            tasks.create_task(upload(path))
        for number, size in enumerate(parameters["results"]):
            tasks.create_task(download(number, size))


async def main() -> None:
    """Warm up, then make the requested transfers."""
    parameters = json.loads(sys.argv[1])
    trusted = (
        ssl.create_default_context(cafile=parameters["authority"])
        if parameters["authority"]
        else None
    )
    options = ClientOptions(ssl=trusted)
    async with AsyncDiffio("key", base_url=parameters["base"], options=options) as client:
        await client.projects.create(parameters["warm_up"])
        await client.generations.download(
            generation_id="g-1000",
            api_project_id="p-0",
            download_file_path=Path(parameters["folder"], "warm"),
        )
        if parameters["also"] == "lag":
            with lag() as found:
                await move(client, parameters)
        elif parameters["also"] == "profile":
            with profiled() as found:
                await move(client, parameters)
        else:
            with metered() as found:
                await move(client, parameters)
        for number, size in enumerate(parameters["results"]):
            check(Path(parameters["folder"], str(number)), size)
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
