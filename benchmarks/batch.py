"""Many small recordings: `restore_many` against the published SDK in a pool of threads.

    python benchmarks/batch.py [--files 200] [--seconds 2] [--delay 0.03] [--threads 32]
                               [--published PYTHON] [--rounds 1] [--json FILE]

The service is a sandbox in a process of its own: each generation takes so many seconds, more or
less by half, and each answer of the API is late by the delay. Each contender is a process of its
own, too, and has run once before, uncounted: what is installed has its bytecode, and so has what is
worked on. `--published` names a Python that has `diffio==0.3.10`. Polls, and the delay until a
completion is known (from the generation's end to the first question that finds it ended), are the
service's own count.
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
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffio_async.sandbox import Delay, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = """
import asyncio, sys
from diffio_async import AsyncDiffio

async def main():
    count = 0
    async with AsyncDiffio() as client:
        async for outcome in client.restore_many(sys.argv[1], sys.argv[2]):
            assert outcome.state == "done", outcome
            count += 1
    print(count)

asyncio.run(main())
"""

PUBLISHED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from diffio import DiffioClient

client = DiffioClient()
to = Path(sys.argv[2])
to.mkdir()

def restore(path):
    content, info = client.audio_isolation.restore_audio(
        filePath=str(path), raiseOnError=True
    )
    (to / f"{path.stem}.restored.mp3").write_bytes(content)
    return 1

with ThreadPoolExecutor(int(sys.argv[3])) as pool:
    print(sum(pool.map(restore, sorted(Path(sys.argv[1]).iterdir()))))
"""


async def serve(seconds: float, delay: float) -> None:
    """A service that tells what it saw whenever a line comes in, and begins to count anew."""
    faults = [Fault(action=Delay(delay), origin="api", times=None)]
    async with Sandbox(
        engine="echo",
        duration=seconds,
        duration_spread=0.5,
        faults=faults,
        keep_requests=1_000_000,
    ) as sandbox:
        print(json.dumps(sandbox.environment), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(seen(sandbox)), flush=True)
            sandbox.context.request_log.requests.clear()
            sandbox.state.generations.clear()


def seen(sandbox: Sandbox) -> dict[str, Any]:
    """The service's own numbers."""
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
        "delay_mean_s": round(statistics.fmean(late), 3) if late else None,
        "delay_p95_s": round(sorted(late)[int(len(late) * 0.95)], 3) if late else None,
    }


@contextmanager
def service(asked: argparse.Namespace) -> Iterator[tuple[dict[str, str], Any]]:
    """The service; its environment, and a function that asks what it saw."""
    command = [sys.executable, __file__, "--serve", "--seconds", str(asked.seconds)]
    with subprocess.Popen(  # noqa: S603
        [*command, "--delay", str(asked.delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the service cannot be talked to")

        def look() -> dict[str, Any]:
            stdin.write("\n")
            stdin.flush()
            told: dict[str, Any] = json.loads(stdout.readline())
            return told

        try:
            yield json.loads(stdout.readline()), look
        finally:
            stdin.close()


def contend(
    python: str, program: str, environment: dict[str, str], folder: Path, threads: int
) -> dict[str, Any]:
    """Run one contender; its seconds, CPU seconds and peak memory, and its connections."""
    to = folder / "out"
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        [python, "-c", program, str(folder / "in"), str(to), str(threads)],
        env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if process.stdout:
        process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"a contender failed: {output.decode()}")
    for result in to.rglob("*"):
        if result.is_file():
            result.unlink()
    return {
        "files": int(output),
        "wall_s": round(wall, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def measured(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each run."""
    contenders = {"restore_many": (sys.executable, OURS)}
    if asked.published:
        contenders[f"diffio 0.3.10, {asked.threads} threads"] = (asked.published, PUBLISHED)
    rows = []
    with service(asked) as (environment, look):

        def run(python: str, program: str, files: int) -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                recordings(Path(folder) / "in", files)
                row = contend(python, program, environment, Path(folder), asked.threads)
            return {**row, **look()}

        for python, program in contenders.values():
            run(python, program, 1)
        for _ in range(asked.rounds):
            for name, (python, program) in contenders.items():
                rows.append({"who": name, **run(python, program, asked.files)})
                print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    return rows


def recordings(folder: Path, count: int) -> None:
    """So many files of 16 kB, no two the same."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}.wav").write_bytes(f"{number:08}".encode() * 2048)


def main() -> None:
    """Measure, and print a line for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--delay", type=float, default=0.03)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--published", metavar="PYTHON")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.seconds, asked.delay))
        return
    rows = measured(asked)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
