"""Cost of telemetry: one API call without an observer, with one, and with OpenTelemetry.

    python benchmarks/telemetry.py [--rounds 9] [--calls 2000] [--json FILE]

The server and the calls are those of `calls.py`, in processes that alternate round by round. *An
observer* does nothing. *API only* is the observer of the extra `otel` without an SDK. With the SDK,
all calls are measured, and a share of the traces is sampled; batches of spans are discarded in the
thread of the SDK, whose CPU time is included. *By hand* is a client without an observer in a
program that records one span and one value of a histogram for each call, with the same attributes:
the SDK alone. Rows of bare aiohttp need the package opentelemetry-instrumentation-aiohttp-client.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from calls import GENERATION, IN_FLIGHT, KEY, in_flight, serve
from harness import Figures, compare, metered, parser, process, report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: The share of traces that is sampled, by the client; None without an SDK for spans.
SAMPLED = {
    "API only": None,
    "SDK, metrics only": None,
    "SDK, 1 % sampled": 0.01,
    "SDK, 10 % sampled": 0.1,
    "SDK, 10 % sampled, no metrics": 0.1,
    "SDK, all sampled": 1.0,
    "by hand, all sampled": 1.0,
}
CLIENTS = ("no observer", "an observer", *SAMPLED)
BARE = ("bare aiohttp", "bare aiohttp, instrumented, all sampled")


def providers(name: str) -> dict[str, Any]:
    """Return the providers of the SDK that a client uses."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    class Discard(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            """Accept the spans."""
            del spans
            return SpanExportResult.SUCCESS

    given: dict[str, Any] = {}
    if name != "API only" and not name.endswith("no metrics"):
        given["meter_provider"] = MeterProvider([InMemoryMetricReader()])
    share = SAMPLED.get(name, 1.0)
    if share is not None:
        given["tracer_provider"] = TracerProvider(sampler=ParentBasedTraceIdRatio(share))
        given["tracer_provider"].add_span_processor(BatchSpanProcessor(Discard()))
    return given


def by_hand(call: Callable[[], Awaitable[object]], given: dict[str, Any]) -> Any:
    """Return a call that records a span and a value of a histogram."""
    from opentelemetry.trace import SpanKind

    tracer = given["tracer_provider"].get_tracer("by hand")
    duration = given["meter_provider"].get_meter("by hand").create_histogram("duration")
    attributes = {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "diffio.call": "get_generation_progress",
        "http.response.status_code": 200,
    }
    details = {**attributes, "diffio.request_id": "req_00000007"}

    async def recorded() -> None:
        began = time.time_ns()
        await call()
        ended = time.time_ns()
        name = "POST get_generation_progress"
        span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=details, start_time=began)
        span.end(ended)
        duration.record((ended - began) / 1e9, attributes)

    return recorded


async def measure(call: Callable[[], Awaitable[object]]) -> None:
    """Make as many calls as each line of the input states, and print their cost."""
    for line in sys.stdin:
        with metered() as found:
            await in_flight(call, int(line), IN_FLIGHT)
        print(json.dumps(found), flush=True)


async def contend(name: str, url: str) -> None:
    """Measure the calls of this package."""
    from diffio_async import AsyncDiffio, ClientOptions

    observers: Any = None
    if name == "an observer":
        observers = [lambda _: None]
    elif name in SAMPLED and not name.startswith("by hand"):
        from diffio_async.telemetry import OpenTelemetryObserver

        observers = OpenTelemetryObserver(**providers(name))
    options = ClientOptions(observers=observers)
    async with AsyncDiffio(KEY, base_url=url, options=options) as client:
        call: Any = partial(client.generations.get_progress, generation_id=GENERATION)
        await measure(by_hand(call, providers(name)) if name.startswith("by hand") else call)


async def contend_bare(name: str, url: str) -> None:
    """Measure the calls of bare aiohttp."""
    import aiohttp

    if name != BARE[0]:
        module = import_module("opentelemetry.instrumentation.aiohttp_client")
        module.AioHttpClientInstrumentor().instrument(**providers(name))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session:

        async def bare() -> None:
            async with session.post(
                f"{url}/get_generation_progress", json={"generationId": GENERATION}, headers=headers
            ) as response:
                response.raise_for_status()
                await response.json()

        await measure(bare)


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, rounds=9)
    given.add_argument("--calls", type=int, default=2000, help="calls of a round (2000)")
    given.add_argument("--role", nargs="+")
    options = given.parse_args()
    if options.role:
        name, *url = options.role
        if not url:
            asyncio.run(serve())
        else:
            asyncio.run((contend_bare if name in BARE else contend)(name, *url))
        return
    command = partial(process, sys.executable, __file__, "--role")
    groups: dict[str, tuple[str, ...]] = {"one call": CLIENTS}
    if find_spec("opentelemetry.instrumentation") is not None:
        groups["one request"] = BARE
    rows: list[Figures] = []
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{stack.enter_context(command('serve')).read()}/v1"
        for what, names in groups.items():
            running = {name: stack.enter_context(command(name, url)) for name in names}
            for each in running.values():
                each.request(options.calls // 4)  # warm
            contenders = {
                name: partial(each.request, options.calls) for name, each in running.items()
            }
            rows += compare(what, contenders, rounds=options.rounds, against=names[0])
    for row in rows:
        row["cpu_us_per_call"] = row["cpu_seconds"] / options.calls * 1e6
    report(rows, options)


if __name__ == "__main__":
    main()
