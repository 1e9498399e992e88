"""Cost of a blocking call on loopback: of this package, its coroutine, and the published SDK.

    python benchmarks/sync_calls.py [--rounds 20] [--calls 50] [--threads 8] [--json FILE]

The sandbox runs in a separate process. The three clients alternate, round by round, so that noise
affects all of them. `--published` makes an environment for `diffio==0.3.10` and measures
it in its own process, beside the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffio_async import AsyncDiffio, Diffio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PUBLISHED = """
import json, sys, time
from diffio import DiffioClient
client = DiffioClient()
client.projects.list()
for line in sys.stdin:
    taken = []
    for _ in range(int(line)):
        began = time.perf_counter()
        client.projects.list()
        taken.append(time.perf_counter() - began)
    print(json.dumps(taken), flush=True)
"""


@contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """Run a sandbox in a separate process; yield its environment."""
    command = [sys.executable, "-m", "diffio_async.sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        if process.stdout is None:
            raise RuntimeError("the sandbox has no output")
        lines = [process.stdout.readline().strip() for _ in range(2)]
        try:
            yield dict(line.removeprefix("export ").split("=", 1) for line in lines)
        finally:
            process.terminate()


@contextmanager
def published(folder: str) -> Iterator[Callable[[int], list[float]]]:
    """Yield the published SDK in a separate environment and process, run round by round."""
    python = Path(folder) / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603
    install = [str(python), "-m", "pip", "install", "--quiet", "diffio==0.3.10"]
    subprocess.run(install, check=True)  # noqa: S603
    command = [str(python), "-c", PUBLISHED]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the published SDK has no pipes")

        def round_of(calls: int) -> list[float]:
            stdin.write(f"{calls}\n")
            stdin.flush()
            taken: list[float] = json.loads(stdout.readline())
            return taken

        yield round_of
        stdin.close()


def timed(call: Callable[[], object], calls: int) -> list[float]:
    """Return the seconds of each call."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


async def timed_coroutines(client: AsyncDiffio, calls: int) -> list[float]:
    """Return the seconds of each awaited call."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        await client.projects.list()
        taken.append(time.perf_counter() - began)
    return taken


def row(name: str, taken: list[float]) -> dict[str, Any]:
    """Return median and 99th percentile, in microseconds."""
    ordered = sorted(taken)
    return {
        "client": name,
        "calls": len(taken),
        "median_us": round(statistics.median(ordered) * 1e6),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6),
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with sandbox() as environment, tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment)
        rows = measured(options, folder)
    for each in rows:
        print("  ".join(f"{name}={value}" for name, value in each.items()))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measured(options: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    ours: dict[str, list[float]] = {"AsyncDiffio": [], "Diffio": [], "diffio 0.3.10": []}
    with asyncio.Runner() as runner, Diffio() as blocking:
        coroutine = AsyncDiffio()
        runner.run(timed_coroutines(coroutine, 5))
        timed(blocking.projects.list, 5)

        def take_turns(other: Callable[[int], list[float]] | None) -> None:
            for _ in range(options.rounds):
                ours["AsyncDiffio"] += runner.run(timed_coroutines(coroutine, options.calls))
                ours["Diffio"] += timed(blocking.projects.list, options.calls)
                if other is not None:
                    ours["diffio 0.3.10"] += other(options.calls)

        if options.published:
            with published(folder) as other:
                take_turns(other)
        else:
            take_turns(None)
        runner.run(coroutine.aclose())
        began = time.perf_counter()
        with ThreadPoolExecutor(options.threads) as pool:
            calls = options.threads * options.calls * 2
            list(pool.map(lambda _: blocking.projects.list(), range(calls)))
        rate = calls / (time.perf_counter() - began)
    rows = [row(name, taken) for name, taken in ours.items() if taken]
    rows.append({"client": f"Diffio, {options.threads} threads", "calls_per_s": round(rate)})
    return rows


if __name__ == "__main__":
    main()
