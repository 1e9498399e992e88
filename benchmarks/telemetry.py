"""Cost of telemetry: one API call without an observer, with one, and with OpenTelemetry.

    python benchmarks/telemetry.py [--rounds 9] [--calls 2000] [--json FILE]

The server and the calls are those of `calls.py`, in processes that alternate round by round. *An
observer* does nothing. *API only* is the observer of the extra `otel` without an SDK. *SDK* records
a span and metrics of each call; batches of spans are discarded in the thread of the SDK, whose CPU
time is included. *SDK, 10 % sampled* keeps one trace of ten.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from calls import GENERATION, IN_FLIGHT, KEY, in_flight, serve
from harness import compare, metered, parser, process, report

if TYPE_CHECKING:
    from diffio_async.telemetry import OpenTelemetryObserver

CLIENTS = ("no observer", "an observer", "API only", "SDK, 10 % sampled", "SDK")


def telemetry(name: str) -> OpenTelemetryObserver:
    """Return the observer of a client."""
    from diffio_async.telemetry import OpenTelemetryObserver

    if name == "API only":
        return OpenTelemetryObserver()
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    class Discard(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            """Accept the spans."""
            del spans
            return SpanExportResult.SUCCESS

    tracers = TracerProvider(sampler=TraceIdRatioBased(1.0 if name == "SDK" else 0.1))
    tracers.add_span_processor(BatchSpanProcessor(Discard()))
    return OpenTelemetryObserver(
        tracer_provider=tracers, meter_provider=MeterProvider([InMemoryMetricReader()])
    )


async def contend(name: str, url: str) -> None:
    """Make as many calls as each line of the input states, and print their cost."""
    from diffio_async import AsyncDiffio, ClientOptions

    match name:
        case "no observer":
            options = ClientOptions()
        case "an observer":
            options = ClientOptions(observers=lambda _: None)
        case _:
            options = ClientOptions(observers=telemetry(name))
    async with AsyncDiffio(KEY, base_url=url, options=options) as client:
        call = partial(client.generations.get_progress, generation_id=GENERATION)
        for line in sys.stdin:
            with metered() as found:
                await in_flight(call, int(line), IN_FLIGHT)
            print(json.dumps(found), flush=True)


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, rounds=9)
    given.add_argument("--calls", type=int, default=2000, help="calls of a round (2000)")
    given.add_argument("--role", nargs="+")
    options = given.parse_args()
    if options.role:
        name, *url = options.role
        asyncio.run(contend(name, *url) if url else serve())
        return
    command = partial(process, sys.executable, __file__, "--role")
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{stack.enter_context(command('serve')).read()}/v1"
        running = {name: stack.enter_context(command(name, url)) for name in CLIENTS}
        for each in running.values():
            each.request(options.calls // 4)  # warm
        contenders = {name: partial(each.request, options.calls) for name, each in running.items()}
        rows = compare("one call", contenders, rounds=options.rounds, against=CLIENTS[0])
    for row in rows:
        row["cpu_us_per_call"] = row["cpu_seconds"] / options.calls * 1e6
    report(rows, options)


if __name__ == "__main__":
    main()
