"""Contender with the published SDK and threads; run like `contender.py`, without this package."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from harness import cpu_seconds, resident


def main() -> None:
    """Wait for each job in a thread of a pool."""
    spec: dict[str, Any] = json.loads(sys.stdin.readline())
    client = import_module("diffio").DiffioClient(apiKey="diffio_live_none", baseUrl=spec["url"])
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    cpu_at_start, resident_at_start, ends = cpu_seconds(), resident(), []

    def follow(job: list[Any]) -> None:
        client.wait_for_generation(
            generationId=job[0], apiProjectId=job[1], pollInterval=spec["interval"]
        )
        ends.append((job[0], time.monotonic()))

    with ThreadPoolExecutor(spec["threads"]) as pool:
        pending = [pool.submit(follow, job) for job in spec["jobs"]]
        time.sleep(spec["sample_after"])
        resident_waiting = resident()
        for each in pending:
            each.result()
    result = {
        "ends": ends,
        "cpu": cpu_seconds() - cpu_at_start,
        "resident_before": resident_at_start,
        "resident_waiting": resident_waiting,
        "resident_max": resident("VmHWM"),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
