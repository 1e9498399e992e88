"""Waits that listen to webhooks, beside waits that only ask: questions, and delay after the end.

    python benchmarks/hybrid.py                       # 1,000 generations of 10 to 30 s
    python benchmarks/hybrid.py --jobs 200 --median 5 --cut

The sandbox, the receiver and the client share one process and one loop, over real sockets; the
receiver's inbox and the client's are two objects on one file, as in two processes. With `--cut`
nothing is delivered any more from when half of the generations have ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from diffio_async import AsyncDiffio, ClientOptions, WaitPolicy, WebhookInbox, WebhookVerifier
from diffio_async.sandbox import Sandbox
from diffio_async.sandbox.settings import DEFAULT_WEBHOOK_SECRET
from diffio_async.webhooks import aiohttp_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUESTIONS = {"/v1/get_generation_progress", "/v1/list_project_generations"}
TYPES = [f"generation.{kind}" for kind in ("queued", "processing", "completed", "failed")]
#: Generations that are started at once.
AT_ONCE = 20


@contextlib.asynccontextmanager
async def receiver(inbox: WebhookInbox) -> AsyncIterator[str]:
    """The address of a running receiver."""
    runner = web.AppRunner(aiohttp_app(inbox), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def fleet(client: AsyncDiffio, words: argparse.Namespace) -> dict[str, float]:
    """Start generations and wait for each; the instant each wait ended, by id."""
    places, ended = asyncio.Semaphore(AT_ONCE), dict[str, float]()
    homes = [
        (await client.projects.create(b"speech " * 10, file_name="speech.wav")).api_project_id
        for _ in range(words.projects or words.jobs)
    ]

    async def one(number: int) -> None:
        async with places:
            made = await client.generations.create(api_project_id=homes[number % len(homes)])
        await client.generations.wait_for_complete(
            generation_id=made.generation_id, api_project_id=made.api_project_id
        )
        ended[made.generation_id] = time.time()

    async with asyncio.TaskGroup() as group:
        for number in range(words.jobs):
            group.create_task(one(number))
    return ended


async def cut_half_way(sandbox: Sandbox, jobs: int) -> float:
    """Deliver nothing any more from when half of the generations have ended; that instant."""
    while sum(each.ended for each in sandbox.state.generations.values()) < jobs / 2:  # noqa: ASYNC110 - others end them
        await asyncio.sleep(0.05)
    sandbox.state.endpoints.clear()
    return time.time()


async def measured(words: argparse.Namespace, folder: Path, *, listens: bool) -> dict[str, Any]:
    """One run."""
    policy = WaitPolicy(push_check_interval=words.safety)
    async with (
        Sandbox(
            engine="echo", duration=words.median, duration_spread=0.5, keep_requests=1_000_000
        ) as sandbox,
        WebhookInbox(
            folder / "inbox.db", verifier=WebhookVerifier(DEFAULT_WEBHOOK_SECRET)
        ) as inbox,
        receiver(inbox) as url,
        AsyncDiffio(
            sandbox.api_key,
            base_url=sandbox.base_url,
            options=ClientOptions(wait=policy),
            inbox=WebhookInbox(folder / "inbox.db") if listens else None,
        ) as client,
    ):
        cutting = None
        if listens:
            await client.webhooks.configure(mode="live", url=url, event_types=TYPES)
            if words.cut:
                cutting = asyncio.create_task(cut_half_way(sandbox, words.jobs))
        began = time.process_time()
        ended = await fleet(client, words)
        cpu = time.process_time() - began
        finished = {each.id: each.finished_at or 0.0 for each in sandbox.state.generations.values()}
        asked = sum(seen.path in QUESTIONS for seen in sandbox.requests)
        cut = await cutting if cutting else float("inf")
        delays = [at - finished[each] for each, at in ended.items() if finished[each] < cut]
        after = [at - finished[each] for each, at in ended.items() if finished[each] >= cut]
        return {
            "ended": len(ended),
            "questions": asked,
            "questions_per_generation": round(asked / words.jobs, 3),
            "mean_delay_ms": round(statistics.mean(delays) * 1e3, 1),
            "p99_delay_ms": round(statistics.quantiles(delays, n=100)[98] * 1e3, 1),
            "longest_delay_ms": round(max(delays) * 1e3, 1),
            **({"ended_after_the_cut": len(after)} if after else {}),
            **({"mean_delay_after_the_cut_s": round(statistics.mean(after), 2)} if after else {}),
            **({"longest_delay_after_the_cut_s": round(max(after), 2)} if after else {}),
            "cpu_s_of_all": round(cpu, 1),
        }


def main() -> None:
    """Measure with an inbox, and where asked for without one."""
    parser = argparse.ArgumentParser(description="Waits that listen to webhooks.")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--projects", type=int, default=0, help="one for each job, by default")
    parser.add_argument(
        "--median", type=float, default=20.0, help="seconds; half to one and a half"
    )
    parser.add_argument("--safety", type=float, default=WaitPolicy().push_check_interval)
    parser.add_argument("--cut", action="store_true")
    parser.add_argument("--ask-only", action="store_true", help="without an inbox")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    logging.getLogger("diffio_async.sandbox").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        said = asyncio.run(measured(words, Path(folder), listens=not words.ask_only))
    if words.json:
        print(json.dumps(said))
    else:
        print(f"Python {platform.python_version()}, {words.jobs} generations")
        for name, value in said.items():
            print(f"{name.replace('_', ' '):>32}  {value}")


if __name__ == "__main__":
    main()
