"""Overhead of a blocking call over its coroutine, which is empty: `python benchmarks/bridge.py`.

Three ways to call a loop that runs in another thread, in turns, in one run:

- `run`: that of the facades, `diffio_async._bridge.run`;
- `asyncio`: `run_coroutine_threadsafe(...).result()`, which survives neither Ctrl-C nor a fork;
- `anyio`: `BlockingPortal.call`, likewise.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from anyio.from_thread import start_blocking_portal
from harness import Figures, parser, report

from diffio_async import _bridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = (1, 8, 32)


async def nothing() -> None:
    """Return at once, so that only the overhead is measured."""


@contextmanager
def asyncio_call() -> Iterator[Callable[[], object]]:
    """Yield a call of a loop in a thread, by asyncio."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda: asyncio.run_coroutine_threadsafe(nothing(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def anyio_call() -> Iterator[Callable[[], object]]:
    """Yield a call of a portal, by anyio."""
    with start_blocking_portal() as portal:
        yield lambda: portal.call(nothing)


@contextmanager
def bridge_call() -> Iterator[Callable[[], object]]:
    """Yield a call of the bridge."""
    try:
        yield lambda: _bridge.run(nothing)
    finally:
        _bridge.stop()


def times(call: Callable[[], object], calls: int) -> list[float]:
    """Return the microseconds of each call, in one thread."""
    taken = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begun) * 1e6)
    return taken


def rate(call: Callable[[], object], threads: int, seconds: float) -> float:
    """Return the calls per second of several threads together."""
    counts = [0] * threads
    gate = threading.Barrier(threads + 1)
    end = 0.0

    def work(which: int) -> None:
        gate.wait()
        done = 0
        while time.perf_counter() < end:
            call()
            done += 1
        counts[which] = done

    workers = [threading.Thread(target=work, args=(which,)) for which in range(threads)]
    for worker in workers:
        worker.start()
    begun = time.perf_counter()
    end = begun + seconds
    gate.wait()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begun)


def awaited(calls: int) -> float:
    """Return the median microseconds of the coroutine alone, awaited on its loop."""

    async def main() -> list[float]:
        taken = []
        for _ in range(calls):
            begun = time.perf_counter()
            await nothing()
            taken.append((time.perf_counter() - begun) * 1e6)
        return taken

    return statistics.median(asyncio.run(main()))


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, rounds=5)
    given.add_argument("--calls", type=int, default=4000, help="calls timed in a turn (4000)")
    given.add_argument("--seconds", type=float, default=0.5, help="of each rate, a turn (0.5)")
    options = given.parse_args()
    ways = {"run": bridge_call, "asyncio": asyncio_call, "anyio": anyio_call}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[tuple[str, int], list[float]] = {}
    alone = awaited(options.calls)
    with ExitStack() as stack:
        calls = {name: stack.enter_context(way()) for name, way in ways.items()}
        for call in calls.values():
            times(call, options.calls // 4)  # warm
        # Alternately, so that noise affects all of them.
        for _ in range(options.rounds):
            for name, call in calls.items():
                taken[name] += times(call, options.calls)
                for threads in THREADS:
                    found = rates.setdefault((name, threads), [])
                    found.append(rate(call, threads, options.seconds))
    rows: list[Figures] = []
    for name, found in taken.items():
        many = {f"calls_per_s_{n}_threads": statistics.median(rates[name, n]) for n in THREADS}
        p99 = statistics.quantiles(found, n=100)[98]
        median = statistics.median(found) - alone
        rows.append({"what": "bridge", "who": name, "median_us": median, "p99_us": p99, **many})
    report(rows, options)


if __name__ == "__main__":
    main()
