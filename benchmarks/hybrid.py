"""Benchmark of waits with and without webhooks: polls, and delay after the end.

    python benchmarks/hybrid.py                       # 1,000 generations of 10 to 30 s
    python benchmarks/hybrid.py --jobs 200 --median 5 --cut

The sandbox, the receiver and the client run in one process and one event loop, over real sockets.
The inboxes of receiver and client are two objects with one file, as in two processes. With `--cut`
deliveries stop when half of the generations have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from harness import parser, print_heading, print_line, quantile, save

from diffio_async import AsyncDiffio, ClientOptions, WaitPolicy, WebhookInbox, WebhookVerifier
from diffio_async.sandbox import Sandbox
from diffio_async.sandbox.settings import DEFAULT_WEBHOOK_SECRET
from diffio_async.webhooks import aiohttp_app

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

POLL_PATHS = {"/v1/get_generation_progress", "/v1/list_project_generations"}
TYPES = [f"generation.{kind}" for kind in ("queued", "processing", "completed", "failed")]
#: Generations that are created concurrently.
CONCURRENCY = 20


@contextlib.asynccontextmanager
async def receiver(inbox: WebhookInbox) -> AsyncIterator[str]:
    """Run a receiver of webhooks, and yield its address."""
    runner = web.AppRunner(aiohttp_app(inbox), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def run_fleet(client: AsyncDiffio, arguments: argparse.Namespace) -> dict[str, float]:
    """Create generations, wait for each, and return when each wait ended, by id."""
    slots, ended = asyncio.Semaphore(CONCURRENCY), dict[str, float]()
    projects = [
        (await client.projects.create(b"speech " * 10, file_name="speech.wav")).api_project_id
        for _ in range(arguments.projects or arguments.jobs)
    ]

    async def one(number: int) -> None:
        async with slots:
            generation = await client.generations.create(
                api_project_id=projects[number % len(projects)]
            )
        await client.generations.wait_for_complete(
            generation_id=generation.generation_id, api_project_id=generation.api_project_id
        )
        ended[generation.generation_id] = time.time()

    async with asyncio.TaskGroup() as group:
        for number in range(arguments.jobs):
            group.create_task(one(number))
    return ended


async def cut_half_way(sandbox: Sandbox, jobs: int) -> float:
    """Stop deliveries when half of the generations have ended, and return that instant."""
    while sum(each.ended for each in sandbox.state.generations.values()) < jobs / 2:  # noqa: ASYNC110 - others end them
        await asyncio.sleep(0.05)
    sandbox.state.endpoints.clear()
    return time.time()


async def measure(
    arguments: argparse.Namespace, folder: Path, *, with_inbox: bool
) -> dict[str, Any]:
    """Run once, and return the figures."""
    policy = WaitPolicy(push_check_interval=arguments.push_check_interval)
    async with (
        Sandbox(
            engine="echo", duration=arguments.median, duration_spread=0.5, keep_requests=1_000_000
        ) as sandbox,
        WebhookInbox(
            folder / "inbox.db", verifier=WebhookVerifier(DEFAULT_WEBHOOK_SECRET)
        ) as inbox,
        receiver(inbox) as url,
        AsyncDiffio(
            sandbox.api_key,
            base_url=sandbox.base_url,
            options=ClientOptions(wait=policy),
            inbox=WebhookInbox(folder / "inbox.db") if with_inbox else None,
        ) as client,
    ):
        cutting = None
        if with_inbox:
            await client.webhooks.configure(mode="live", url=url, event_types=TYPES)
            if arguments.cut:
                cutting = asyncio.create_task(cut_half_way(sandbox, arguments.jobs))
        cpu_at_start = time.process_time()
        ended = await run_fleet(client, arguments)
        cpu = time.process_time() - cpu_at_start
        finished = {each.id: each.finished_at or 0.0 for each in sandbox.state.generations.values()}
        polls = sum(seen.path in POLL_PATHS for seen in sandbox.requests)
        cut = await cutting if cutting else float("inf")
        delays = [at - finished[each] for each, at in ended.items() if finished[each] < cut]
        after = [at - finished[each] for each, at in ended.items() if finished[each] >= cut]
        return {
            "ended": len(ended),
            "polls": polls,
            "polls_per_generation": round(polls / arguments.jobs, 3),
            "mean_delay_ms": round(statistics.mean(delays) * 1e3, 1),
            "p99_delay_ms": round(quantile(delays, 0.99) * 1e3, 1),
            "longest_delay_ms": round(max(delays) * 1e3, 1),
            **({"ended_after_the_cut": len(after)} if after else {}),
            **({"mean_delay_after_the_cut_s": round(statistics.mean(after), 2)} if after else {}),
            **({"longest_delay_after_the_cut_s": round(max(after), 2)} if after else {}),
            "total_cpu_s": round(cpu, 1),
        }


def main() -> None:
    """Measure with an inbox, or without one (`--poll-only`)."""
    given = parser(__doc__)
    given.add_argument("--jobs", type=int, default=1000)
    given.add_argument("--projects", type=int, default=0, help="default: one for each job")
    given.add_argument(
        "--median", type=float, default=20.0, help="median duration in seconds (± 50 %%)"
    )
    given.add_argument(
        "--push-check-interval", type=float, default=WaitPolicy().push_check_interval
    )
    given.add_argument("--cut", action="store_true")
    given.add_argument("--poll-only", action="store_true", help="without an inbox")
    arguments = given.parse_args()
    logging.getLogger("diffio_async.sandbox").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments, Path(folder), with_inbox=not arguments.poll_only))
    what = f"{arguments.jobs:,} generations"
    print_heading("figure", what)
    for name, value in figures.items():
        print_line(name, value)
    who = "diffio_async" if arguments.poll_only else "diffio_async, inbox"
    save([{"what": what, "who": who, **figures}], arguments)


if __name__ == "__main__":
    main()
