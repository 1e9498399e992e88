"""Cost of one API call: of this package, of bare aiohttp, and of the published SDK.

    python benchmarks/calls.py [--rounds 9] [--calls 4000] [--published PYTHON] [--json FILE]
    python benchmarks/calls.py --blocking             # one call after the other, and in threads
    python benchmarks/calls.py --instructions         # counted by valgrind
    python benchmarks/calls.py --functions            # Python functions that one call enters
    python benchmarks/calls.py --layers               # the parts without I/O

64 calls of `get_progress` are in flight. The server sends a prepared response from a process of
its own, and so costs less than any client. Each client has a process of its own; they alternate,
round by round, so that noise affects all of them. *Bare* is the least that a program with aiohttp
does: a POST with JSON, `raise_for_status`, JSON to a dict. Rows with uvloop need uvloop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
import timeit
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness import Figures, compare, metered, parser, process, report

if TYPE_CHECKING:
    import argparse
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
def counted() -> Iterator[Figures]:
    """Count the Python functions that the body enters or resumes, in this thread."""
    found: Figures = {"functions": 0}

    def count(_frame: object, event: str, _argument: object) -> None:
        found["functions"] += event == "call"

    sys.setprofile(count)
    yield found
    sys.setprofile(None)


async def in_flight(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> None:
    """Await calls, `at_once` at a time."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(work() for _ in range(at_once)))


async def contend(name: str, url: str, at_once: int, *, functions: bool) -> None:
    """Make as many calls as each line of the input states, and print their cost."""

    async def measure(call: Callable[[], Awaitable[object]]) -> None:
        for line in sys.stdin:
            with counted() if functions else metered() as found:
                await in_flight(call, int(line), at_once)
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


def contend_blocking(name: str, url: str, threads: int) -> None:
    """Do so with a blocking client, in threads."""
    if name == "published":
        client: Any = import_module("diffio").DiffioClient(apiKey=KEY, baseUrl=url)
        ids = {"generationId": GENERATION, "apiProjectId": PROJECT}
    else:
        client = import_module("diffio_async").Diffio(KEY, base_url=url)
        ids = {"generation_id": GENERATION, "api_project_id": PROJECT}
    get_progress = partial(client.generations.get_progress, **ids)
    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            calls = range(int(line))
            with metered() as found:
                if threads == 1:
                    for _ in calls:
                        get_progress()
                else:
                    list(pool.map(lambda _: get_progress(), calls))
            print(json.dumps(found), flush=True)


def play(role: str, loop: str, url: str = "", at_once: str = "1", *, functions: bool) -> None:
    """Run the server, or a client, in this process."""
    if role in ("published", "Diffio"):
        contend_blocking(role, url, int(at_once))
        return
    coroutine = (
        serve() if role == "serve" else contend(role, url, int(at_once), functions=functions)
    )
    if loop == "uvloop":
        import_module("uvloop").run(coroutine)
    else:
        asyncio.run(coroutine)


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


def functions(command: list[str], calls: int) -> float:
    """Return the Python functions that one call enters or resumes."""
    with process(*command, "--functions") as running:
        running.request(calls)  # warm
        return running.request(calls)["functions"] / calls  # type: ignore[no-any-return]


def layers() -> list[dict[str, Any]]:
    """Return the microseconds of the parts of a call that need no I/O: the best of many rounds."""
    from diffio_async._protocol import codec, endpoints, structuring
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
        "model": lambda: structuring.from_json(data, GenerationProgress),
    }
    return [
        {"what": name, "us": round(min(timeit.repeat(part, number=20, repeat=2000)) / 20 * 1e6, 1)}
        for name, part in parts.items()
    ]


def command(*role: object, python: str = sys.executable) -> list[str]:
    """Return the command of a server or a client."""
    return [python, __file__, "--role", *map(str, role)]


def clients_of(url: str, options: argparse.Namespace) -> dict[str, dict[str, list[str]]]:
    """Return the commands of the clients that are compared, by what is measured."""
    python = options.published

    def published(at_once: int) -> dict[str, list[str]]:
        role = ("published", "-", url, at_once)
        return {"published": command(*role, python=python)} if python else {}

    if options.blocking:
        return {
            "one call after the other": {
                "coroutine": command("diffio_async", "asyncio", url, 1),
                "Diffio": command("Diffio", "-", url, 1),
                **published(1),
            },
            "8 threads": {"Diffio": command("Diffio", "-", url, 8), **published(8)},
        }
    return {
        f"{IN_FLIGHT} calls in flight, {loop}": {
            "bare aiohttp": command("bare", loop, url, IN_FLIGHT),
            "diffio_async": command("diffio_async", loop, url, IN_FLIGHT),
            **(published(THREADS) if loop == "asyncio" else {}),
        }
        for loop in loops()
    }


def loops() -> list[str]:
    """Return the event loops that are installed."""
    return ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]


def measured(
    what: str, clients: dict[str, list[str]], options: argparse.Namespace
) -> list[Figures]:
    """Return a row for each client, compared with the first."""
    calls = options.calls
    with ExitStack() as stack:
        running = {name: stack.enter_context(process(*each)) for name, each in clients.items()}
        for each in running.values():
            each.request(calls // 4)  # warm
        contenders = {name: partial(each.request, calls) for name, each in running.items()}
        rows = compare(what, contenders, rounds=options.rounds, against=next(iter(clients)))
    for row in rows:
        row["calls_per_s"] = calls / row["seconds"]
        row["cpu_us_per_call"] = row["cpu_seconds"] / calls * 1e6
    return rows


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, rounds=9, published=True)
    given.add_argument("--calls", type=int, default=4000, help="calls of a round (4000)")
    given.add_argument("--blocking", action="store_true", help="blocking calls")
    given.add_argument("--instructions", action="store_true", help="count them by valgrind")
    given.add_argument("--functions", action="store_true", help="count those of Python")
    given.add_argument("--layers", action="store_true", help="measure parts without I/O")
    given.add_argument("--role", nargs="+")
    options = given.parse_args()
    if options.role:
        play(*options.role, functions=options.functions)
        return
    if options.layers:
        report(layers(), options)
        return
    rows: list[Figures] = []
    with process(*command("serve", loops()[-1])) as server:
        clients = clients_of(f"http://127.0.0.1:{server.read()}/v1", options)
        for what, commands in clients.items():
            counts = {"instructions": instructions, "functions": functions}
            counter = next((name for name in counts if getattr(options, name)), None)
            if counter is not None:
                rows += [
                    {"what": what, "who": name, counter: round(counts[counter](each, 200))}
                    for name, each in commands.items()
                    if name != "published"
                ]
            else:
                rows += measured(what, commands, options)
    report(rows, options)


if __name__ == "__main__":
    main()
