"""A sandbox in a process of its own, started by `harness.sandbox`.

    python service.py DELAY SETTINGS

Each response of the API is delayed by `DELAY` seconds. Prints the environment of the sandbox, and
for each line of the standard input what it counted since the last, until the input is closed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from diffio_async.sandbox import Delay, Fault, Sandbox


async def serve(delay: float, settings: dict[str, Any]) -> None:
    """Run the sandbox."""
    faults = [Fault(action=Delay(delay), origin="api", times=None)] if delay else []
    async with Sandbox(faults=faults, **settings) as sandbox:
        print(json.dumps(sandbox.environment), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(counted(sandbox)), flush=True)
            sandbox.context.request_log.requests.clear()
            sandbox.state.generations.clear()


def counted(sandbox: Sandbox) -> dict[str, Any]:
    """Return requests and polls, and the delay from each end to the poll that reports it."""
    requests = sandbox.requests
    polls = [each for each in requests if each.path.endswith("get_generation_progress")]
    apart = time.time() - time.monotonic()
    late = []
    for generation in sandbox.state.generations.values():
        ended = (generation.finished_at or 0.0) - apart
        found = [
            each.responded_at or each.at
            for each in polls
            if (each.json or {}).get("generationId") == generation.id
            and (each.responded_at or each.at) >= ended
        ]
        if found:
            late.append(min(found) - ended)
    return {
        "requests": len(requests),
        "polls": len(polls),
        "generations": len(sandbox.state.generations),
        "delay_mean": statistics.fmean(late) if late else None,
        "delay_p95": sorted(late)[int(len(late) * 0.95)] if late else None,
    }


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), json.loads(sys.argv[2])))
