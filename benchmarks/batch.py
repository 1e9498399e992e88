"""Many small recordings: `restore_many` against the published SDK in a pool of threads.

    python benchmarks/batch.py [--files 200] [--seconds 2] [--delay 0.03] [--threads 32]
                               [--published PYTHON] [--bare] [--rounds 1] [--json FILE]
    python benchmarks/batch.py --one [--rounds 20]

The service is a sandbox in another process. Each generation takes the given seconds, plus or minus
half of them, and each response of the API is delayed. Each contender runs in another process too,
after one run that is not counted, so that its bytecode is cached. `--published` is the path of a
Python with `diffio==0.3.10`; `--bare` adds bare aiohttp, without and with the journal. The service
counts the polls, and measures the delay from the end of a generation to the response of the first
poll that reports it.

`--one` measures one small file: the seconds of `restore`, and of `restore_many` with a new journal,
in turn, with a new client each. The generation ends at once, and no response is delayed.
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

from diffio_async import AsyncDiffio
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
    """Run a service that prints and resets its numbers for each line of the standard input."""
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
    """Return the numbers that the service counted."""
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
def service(options: argparse.Namespace) -> Iterator[tuple[dict[str, str], Any]]:
    """Run the service; yield its environment, and a function that returns its numbers."""
    command = [sys.executable, __file__, "--serve", "--seconds", str(options.seconds)]
    with subprocess.Popen(  # noqa: S603
        [*command, "--delay", str(options.delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the service has no pipes")

        def look() -> dict[str, Any]:
            stdin.write("\n")
            stdin.flush()
            numbers: dict[str, Any] = json.loads(stdout.readline())
            return numbers

        try:
            yield json.loads(stdout.readline()), look
        finally:
            stdin.close()


def contend(
    command: list[str], environment: dict[str, str], folder: Path, last: str
) -> dict[str, Any]:
    """Run one contender; return its files, seconds, CPU seconds and peak memory."""
    to = folder / "out"
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        [*command, str(folder / "in"), str(to), last],
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


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each run."""
    threads = str(options.threads)
    contenders = {"restore_many": ([sys.executable, "-c", OURS], threads)}
    if options.published:
        command = [options.published, "-c", PUBLISHED]
        contenders[f"diffio 0.3.10, {threads} threads"] = (command, threads)
    if options.bare:
        command = [sys.executable, str(Path(__file__).with_name("batch_bare.py"))]
        contenders["bare aiohttp"] = (command, "none")
        contenders["bare aiohttp, journal"] = (command, "journal")
    rows = []
    with service(options) as (environment, look):

        def run(command: list[str], last: str, files: int) -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                recordings(Path(folder) / "in", files)
                row = contend(command, environment, Path(folder), last)
            return {**row, **look()}

        for command, last in contenders.values():
            run(command, last, 1)
        for _ in range(options.rounds):
            for name, (command, last) in contenders.items():
                rows.append({"who": name, **run(command, last, options.files)})
                print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    return rows


async def one_file(environment: dict[str, str], rounds: int) -> list[dict[str, Any]]:
    """Restore one file by `restore` and by `restore_many`, in turn; return the median seconds."""
    seconds: dict[str, list[float]] = {"restore": [], "restore_many": []}
    key, url = environment["DIFFIO_API_KEY"], environment["DIFFIO_API_BASE_URL"]
    with tempfile.TemporaryDirectory() as folder:
        # The first round imports modules, and is not counted.
        for number in range(rounds + 1):
            for name, found in seconds.items():
                source = Path(folder) / f"{number}-{name}.wav"
                source.write_bytes(f"{source.name:32}".encode() * 512)
                async with AsyncDiffio(key, base_url=url) as client:
                    began = time.perf_counter()
                    if name == "restore":
                        await client.restore(source, source.with_suffix(".mp3"))
                    else:
                        outcomes = client.restore_many(source, source.with_suffix(""))
                        async for outcome in outcomes:
                            if outcome.state != "done":
                                raise RuntimeError(outcome.error)
                    found.append(time.perf_counter() - began)
    return [
        {"who": name, "files": 1, "wall_s": round(statistics.median(found[1:]), 3)}
        for name, found in seconds.items()
    ]


def recordings(folder: Path, count: int) -> None:
    """Write `count` different files of 16 kB."""
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
    parser.add_argument("--one", action="store_true", help="one file instead of a batch")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--published", metavar="PYTHON")
    parser.add_argument("--bare", action="store_true", help="compare with bare aiohttp too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.seconds, options.delay))
        return
    options.rounds = options.rounds or (20 if options.one else 1)
    if options.one:
        options.seconds = options.delay = 0.0
        with service(options) as (environment, _):
            rows = asyncio.run(one_file(environment, options.rounds))
        for row in rows:
            print("  ".join(f"{key}={value}" for key, value in row.items()))
    else:
        rows = measured(options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
