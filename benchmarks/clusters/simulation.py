"""Simulated batches on clusters: throughput, and the resource that limits it.

Each file passes the coordinator's core, the uplink of a worker, the generation, the polls of the
account and the downlink of a worker, while it has one of the slots in flight.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Figures

#: Standard deviation of the logarithms of the durations of generations.
_SIGMA = 0.5
#: Share of the time above which a resource is the limit.
_BUSY = 0.9


@frozen(kw_only=True)
class Batch:
    """A batch; times in seconds.

    Attributes:
        transfer: Time of one file on a worker's link, in each direction.
        generation: Median duration of a generation.
        coordinator: CPU time of the coordinator for one file.
        polls: Polls for one file when they are limited.
        poll_rate: Polls per second; 0: webhooks report the ends.
        in_flight: Maximum number of files in flight.
    """

    files: int
    workers: int
    transfer: float
    generation: float
    coordinator: float
    polls: float
    poll_rate: float
    in_flight: int


def simulate(batch: Batch) -> Figures:
    """Return the throughput of a batch, and what limits it."""
    rng = random.Random(1)  # noqa: S311 - the same batch every time
    free_at: dict[str, float] = {"the coordinator's core": 0.0, "polls": 0.0}
    up, down = [0.0] * batch.workers, [0.0] * batch.workers
    # The heap has the time and the number of the next step of each file in flight.
    queue = list[tuple[float, int]]()
    started = ended = 0
    now = 0.0

    def on(name: str, seconds: float) -> float:
        free_at[name] = max(now, free_at[name]) + seconds
        return free_at[name]

    def on_link(links: list[float]) -> float:
        end = max(now, heapq.heappop(links)) + batch.transfer
        heapq.heappush(links, end)
        return end

    while ended < batch.files:
        while started < batch.files and started - ended < batch.in_flight:
            heapq.heappush(queue, (now, 0))
            started += 1
        now, step = heapq.heappop(queue)
        match step:
            case 0 | 4:
                after = on("the coordinator's core", batch.coordinator / 2)
            case 1:
                after = on_link(up)
            case 2:
                after = now + batch.generation * rng.lognormvariate(0, _SIGMA)
            case 3:
                after = on("polls", batch.polls / batch.poll_rate) if batch.poll_rate else now
            case 5:
                after = on_link(down)
            case _:
                ended += 1
                continue
        heapq.heappush(queue, (after, step + 1))
    busy = {
        "links": batch.files * batch.transfer / batch.workers,
        "the coordinator's core": batch.files * batch.coordinator,
        "polls": batch.files * batch.polls / batch.poll_rate if batch.poll_rate else 0.0,
    }
    limit = max(busy, key=lambda name: busy[name])
    return {
        "hours": now / 3600,
        "files_per_hour": batch.files / now * 3600,
        "limit": limit if busy[limit] > _BUSY * now else "files in flight",
    }


def rows(files: int, coordinator: float) -> Iterator[Figures]:
    """Yield a row for each number of workers and each setting."""
    settings = {
        "defaults: 250 in flight, 100 polls/s": (250, 100.0),
        "12,000 in flight, 10 polls/s": (12_000, 10.0),
        "12,000 in flight, 100 polls/s": (12_000, 100.0),
        "12,000 in flight, webhooks": (12_000, 0.0),
    }
    for what, (in_flight, poll_rate) in settings.items():
        for workers in (1, 4, 16, 64):
            batch = Batch(
                files=files,
                workers=workers,
                transfer=20e6 / 125e6,
                generation=60.0,
                coordinator=coordinator,
                polls=1.4,
                poll_rate=poll_rate,
                in_flight=in_flight,
            )
            yield {"what": what, "who": f"{workers} workers", **simulate(batch)}
