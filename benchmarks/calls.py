"""Cost of one API call: of this package, of bare aiohttp, and of the published SDK.

    python benchmarks/calls.py [--rounds 9] [--calls 4000] [--published PYTHON] [--json FILE]
    python benchmarks/calls.py --instructions         # counted by valgrind
    python benchmarks/calls.py --layers               # the parts without I/O

64 calls of `get_progress` are in flight. The server sends a prepared response from a process of
its own, and so costs less than any client. Each client has a process of its own; they alternate,
round by round, so that noise affects all of them. *Bare* is the least that a program with aiohttp
does: a POST with JSON, `raise_for_status`, JSON to a dict. Rows with uvloop need uvloop.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

IN_FLIGHT = 64
#: Threads of the published SDK: with more than 20, its connections break ("Bad file descriptor").
THREADS = 16
KEY = "diffio_live_0123456789abcdef"
GENERATION, PROJECT = "gen_3f868cad341616cfa0ff", "proj_f2d7b97ad811efbfa9b7"


def _stage(name: str, status: str, percent: int) -> dict[str, object]:
    return {
        "jobId": f"{GENERATION}-{name}",
        "jobState": status,
        "status": status,
        "progress": percent,
        "statusMessage": f"{name}: {status}",
        "error": None,
        "errorDetails": None,
    }


RESPONSE = {
    "generationId": GENERATION,
    "apiProjectId": PROJECT,
    "modelKey": "diffio-4.6-flash",
    "status": "processing",
    "progress": 40,
    "hasVideo": False,
    "error": None,
    "errorDetails": None,
    "transcription": {"status": "pending"},
    "stage": "inference",
    "stageProgress": {"progress": 33},
    "queue": None,
    "preProcessing": _stage("preProcessing", "complete", 100),
    "inference": _stage("inference", "processing", 33),
}


class Server(asyncio.Protocol):
    """Sends one prepared response to each request, whose body has at most one TCP segment."""

    BODY = json.dumps(RESPONSE).encode()
    REPLY = (
        b"HTTP/1.1 200 OK\r\nX-Request-ID: req_00000007\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nDate: Sun, 29 Nov 2026 05:51:55 GMT\r\n\r\n%b" % (len(BODY), BODY)
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to read requests."""
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        """Respond if the request is complete."""
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: *(\d+)", head)
        if end and size is not None and len(body) == int(size[1]):
            self.received = b""
            self.transport.write(self.REPLY)  # type: ignore[attr-defined]


async def serve() -> None:
    """Serve until the process is terminated; print the port."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def own_cpu() -> Iterator[dict[str, float]]:
    """Measure the body: seconds and CPU seconds of this process."""
    found: dict[str, float] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield found
    found.update(seconds=time.perf_counter() - wall, cpu=time.process_time() - cpu)


async def in_flight(call: Callable[[], Awaitable[object]], calls: int) -> None:
    """Await calls, `IN_FLIGHT` at a time."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def contend(name: str, url: str) -> None:
    """Make as many calls as each line of the input states, and print their cost."""
    rounds = (int(line) for line in sys.stdin)

    async def measure(call: Callable[[], Awaitable[object]]) -> None:
        for calls in rounds:
            with own_cpu() as found:
                await in_flight(call, calls)
            print(json.dumps(found), flush=True)

    if name == "bare":
        import aiohttp

        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {KEY}"}
            body = {"generationId": GENERATION, "apiProjectId": PROJECT}

            async def bare() -> dict[str, object]:
                async with session.post(
                    f"{url}/get_generation_progress", json=body, headers=headers
                ) as response:
                    response.raise_for_status()
                    found: dict[str, object] = await response.json()
                    return found

            await measure(bare)
    else:
        from diffio_async import AsyncDiffio

        async with AsyncDiffio(KEY, base_url=url) as client:
            await measure(
                lambda: client.generations.get_progress(
                    generation_id=GENERATION, api_project_id=PROJECT
                )
            )


def contend_published(url: str) -> None:
    """Do so with the published SDK, in threads."""
    client: Any = import_module("diffio").DiffioClient(apiKey=KEY, baseUrl=url)
    with ThreadPoolExecutor(THREADS) as pool:
        for line in sys.stdin:
            with own_cpu() as found:
                list(
                    pool.map(
                        lambda _: client.generations.get_progress(
                            generationId=GENERATION, apiProjectId=PROJECT
                        ),
                        range(int(line)),
                    )
                )
            print(json.dumps(found), flush=True)


def run(coroutine: Any, loop: str) -> None:
    """Run a coroutine on a loop of asyncio or uvloop."""
    if loop == "uvloop":
        import_module("uvloop").run(coroutine)
    else:
        asyncio.run(coroutine)


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process with pipes, and end it afterwards."""
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


def round_of(running: subprocess.Popen[str], calls: int) -> dict[str, float]:
    """Have a client make some calls; return their cost."""
    print(calls, file=running.stdin, flush=True)
    found: dict[str, float] = json.loads(running.stdout.readline())  # type: ignore[union-attr]
    return found


def instructions(command: list[str], calls: int) -> float:
    """Return the instructions of one call: the difference of two runs, without their start."""
    counted = []
    for each in (calls, 3 * calls):
        valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        finished = subprocess.run(  # noqa: S603
            [*valgrind, *command], input=f"{each}\n", capture_output=True, text=True, check=True
        )
        counted.append(int(finished.stderr.partition("Collected : ")[2].split()[0]))
    return (counted[1] - counted[0]) / (2 * calls)


def layers() -> list[dict[str, Any]]:
    """Return the microseconds of the parts of a call that need no I/O: the best of many rounds."""
    from diffio_async._protocol import codec, endpoints
    from diffio_async._protocol.requests import build_api_headers, build_request
    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import ResolvedOptions

    call = endpoints.get_generation_progress(GENERATION, PROJECT)
    headers = build_api_headers(KEY, ResolvedOptions())
    body, data = Server.BODY, codec.parse_body(Server.BODY)
    parts: dict[str, Callable[[], object]] = {
        "arguments": lambda: endpoints.get_generation_progress(GENERATION, PROJECT),
        "request": lambda: build_request(call, base_url="http://127.0.0.1/v1", api_headers=headers),
        "JSON": lambda: codec.parse_body(body),
        "JSON by json.loads": lambda: json.loads(body),
        "model": lambda: codec.from_json(data, GenerationProgress),
    }
    return [
        {"part": name, "us": round(min(timeit.repeat(part, number=20, repeat=2000)) / 20 * 1e6, 1)}
        for name, part in parts.items()
    ]


def measured(commands: dict[str, list[str]], rounds: int, calls: int) -> dict[str, list[Any]]:
    """Return the cost of each round of each client, in turns."""
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(process(command)) for name, command in commands.items()
        }
        for running in clients.values():
            round_of(running, calls // 4)  # warm
        costs: dict[str, list[Any]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, running in clients.items():
                costs[name].append(round_of(running, calls))
    return costs


def row(name: str, costs: list[Any], bare: list[Any], calls: int) -> dict[str, Any]:
    """Return the medians of a client, and of its ratios to bare aiohttp in the same round."""
    pairs = list(zip(costs, bare, strict=True))
    return {
        "client": name,
        "calls_per_s": round(calls / statistics.median(cost["seconds"] for cost in costs)),
        "cpu_us": round(statistics.median(cost["cpu"] for cost in costs) / calls * 1e6),
        "rate_ratio": round(statistics.median(b["seconds"] / a["seconds"] for a, b in pairs), 2),
        "cpu_ratio": round(statistics.median(a["cpu"] / b["cpu"] for a, b in pairs), 2),
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=4000, help="calls of a round (4000)")
    parser.add_argument("--instructions", action="store_true", help="count them by valgrind")
    parser.add_argument("--layers", action="store_true", help="measure parts without I/O")
    parser.add_argument("--published", metavar="PYTHON", help="an environment with diffio")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        role, loop, *rest = given.role
        if role == "published":
            contend_published(rest[0])
        else:
            run(serve() if role == "serve" else contend(role, rest[0]), loop)
        return
    loops = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]

    def command(*role: str, python: str = sys.executable) -> list[str]:
        return [python, __file__, "--role", *role]

    if given.layers:
        for each in layers():
            print("  ".join(f"{name}={value}" for name, value in each.items()))
        return
    rows = []
    with process(command("serve", loops[-1])) as server:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"  # type: ignore[union-attr]
        clients = {
            f"{name}, {loop}": command(name, loop, url)
            for loop in loops
            for name in ("bare", "diffio_async")
        }
        if given.instructions:
            rows = [
                {"client": name, "instructions": round(instructions(each, 200))}
                for name, each in clients.items()
            ]
        else:
            if given.published:
                clients["published"] = command("published", "-", url, python=given.published)
            costs = measured(clients, given.rounds, given.calls)
            for name in clients:
                bare = "bare, uvloop" if name.endswith("uvloop") else "bare, asyncio"
                rows.append(row(name, costs[name], costs[bare], given.calls))
    for each in rows:
        print("  ".join(f"{name}={value}" for name, value in each.items()))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
