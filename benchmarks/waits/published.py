"""The published SDK, with threads, as `contender.py` is run; it imports nothing of ours."""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any


def resident() -> int:
    """Bytes that are resident now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def cpu() -> float:
    """CPU seconds so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """A thread waits for each job, for as many as there are threads at a time."""
    spec: dict[str, Any] = json.loads(sys.stdin.readline())
    client = import_module("diffio").DiffioClient(apiKey="diffio_live_none", baseUrl=spec["url"])
    print("ready", flush=True)
    sys.stdin.readline()
    used, held, waiting, ends = cpu(), resident(), [0], []

    def follow(job: list[Any]) -> None:
        client.wait_for_generation(
            generationId=job[0], apiProjectId=job[1], pollInterval=spec["beat"]
        )
        ends.append((job[0], time.monotonic()))

    with ThreadPoolExecutor(spec["threads"]) as pool:
        pending = [pool.submit(follow, job) for job in spec["jobs"]]
        time.sleep(spec["look_after"])
        waiting[0] = resident()
        for each in pending:
            each.result()
    result = {
        "ends": ends,
        "cpu": cpu() - used,
        "resident_before": held,
        "resident_waiting": waiting[0],
        "resident_most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
