"""OpenTelemetry spans and metrics of a client, recorded from the events that observers receive.

Needs the extra `otel` (`pip install 'diffio-async[otel]'`), which is the API of OpenTelemetry. The
SDK and its exporters are the choice of the program.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

try:
    from opentelemetry import context as otel_context
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "diffio_async.telemetry needs the API of OpenTelemetry; install it with pip install "
        "'diffio-async[otel]'",
        name=error.name,
    ) from error
from opentelemetry.metrics import get_meter
from opentelemetry.trace import (
    Link,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from diffio_async._version import __version__
from diffio_async.events import (
    GenerationEnded,
    GenerationStarted,
    OperationEnded,
    OperationStarted,
    PollingPaused,
    PollRateChanged,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanContext, TracerProvider

    from diffio_async.events import Event
    from diffio_async.models.batches import BatchProgress
    from diffio_async.models.webhooks import InboxEntry

__all__ = ["OpenTelemetryObserver"]

_SCHEMA = "https://opentelemetry.io/schemas/1.27.0"
#: Boundaries that the semantic conventions give for durations of requests, in seconds.
_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
#: Boundaries for operations, which wait for generations, and for delays of polls, in seconds.
_OPERATION_BOUNDARIES = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
#: Generations to whose span later spans are linked; the oldest are forgotten.
_MAX_REMEMBERED = 10_000
_MIN_ERROR = 400


class _Running(NamedTuple):
    """The span of an operation, the context in which it is current, and the one before."""

    span: Span
    context: Context
    previous: Context


class OpenTelemetryObserver:
    """Observer that records a span for each operation and for each HTTP attempt, and metrics.

        client = AsyncDiffio(options=ClientOptions(observers=OpenTelemetryObserver()))

    One observer may serve several clients. No attribute has a key, a signed URL, the path or query
    of a URL, a file name or a message of an error.
    """

    #: The events that it receives; others are not created for it.
    event_types = frozenset(
        {
            *(GenerationEnded, GenerationStarted, OperationEnded, OperationStarted),
            *(PollingPaused, PollRateChanged, RequestFailed, ResponseReceived, RetryScheduled),
        }
    )

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Create an observer.

        Args:
            tracer_provider: Creates the spans. If None, the global provider.
            meter_provider: Creates the metrics. If None, the global provider.
        """
        name = "diffio_async"
        self._tracer = get_tracer(name, __version__, tracer_provider, _SCHEMA)
        meter = get_meter(name, __version__, meter_provider, _SCHEMA)
        self._operations: dict[int, _Running] = {}
        self._generations: dict[str, SpanContext] = {}
        self._request_duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._operation_duration = meter.create_histogram(
            "diffio.client.operation.duration",
            "s",
            "Duration of operations.",
            explicit_bucket_boundaries_advisory=_OPERATION_BOUNDARIES,
        )
        self._active = meter.create_up_down_counter(
            "diffio.client.operation.active", "{operation}", "Operations that are running."
        )
        self._transferred = meter.create_counter(
            "diffio.client.transfer.size", "By", "Bytes of recordings and results transferred."
        )
        self._retries = meter.create_counter(
            "diffio.client.retries", "{retry}", "Attempts that failed and are repeated."
        )
        self._paused = meter.create_counter(
            "diffio.client.polling.paused", "s", "Time for which polling was paused."
        )
        self._poll_delay = meter.create_histogram(
            "diffio.client.polling.delay",
            "s",
            "Most seconds that a generation had ended when a poll reported it.",
            explicit_bucket_boundaries_advisory=_OPERATION_BOUNDARIES,
        )
        self._poll_rate = meter.create_gauge(
            "diffio.client.polling.limit", "{request}/s", "Polls per second that a client may make."
        )
        self._batch_files = meter.create_gauge(
            "diffio.batch.files", "{file}", "Files of a batch by state."
        )
        self._inbox_depth = meter.create_gauge(
            "diffio.inbox.depth", "{event}", "Events of an inbox that wait for a consumer."
        )
        self._inbox_age = meter.create_gauge(
            "diffio.inbox.age", "s", "Age of the oldest event of an inbox that waits."
        )

    def __call__(self, event: Event) -> None:
        """Record an event."""
        match event:
            case ResponseReceived() | RequestFailed():
                self._record_exchange(event)
            case OperationStarted():
                self._start_operation(event)
            case OperationEnded():
                self._end_operation(event)
            case GenerationStarted(operation_id=int(number)) if number in self._operations:
                while len(self._generations) >= _MAX_REMEMBERED:
                    self._generations.pop(next(iter(self._generations)), None)
                span = self._operations[number].span
                self._generations[event.generation_id] = span.get_span_context()
            case RetryScheduled():
                self._record_retry(event)
            case GenerationEnded(max_delay=float(seconds)):
                self._poll_delay.record(seconds)
            case PollRateChanged():
                self._poll_rate.set(event.polls_per_second, {"diffio.client": event.client_number})
            case PollingPaused():
                self._paused.add(event.seconds)
            case _:
                pass

    def record_batch(self, progress: BatchProgress) -> None:
        """Record the files of a batch by state: pass this as its `on_progress`."""
        for state in ("done", "failed", "uploading", "generating", "downloading"):
            self._batch_files.set(getattr(progress, state), {"diffio.batch.state": state})

    def record_inbox(self, waiting: Collection[InboxEntry]) -> None:
        """Record the depth and age of an inbox: pass `await inbox.entries("waiting", limit=None)`.

        Args:
            waiting: All entries that wait.
        """
        now = datetime.now(UTC)
        ages = [(now - entry.received_at).total_seconds() for entry in waiting]
        self._inbox_depth.set(len(ages))
        self._inbox_age.set(max(ages, default=0.0))

    def _start_operation(self, event: OperationStarted) -> None:
        previous, links = otel_context.get_current(), list[Link]()
        current = get_current_span(previous).get_span_context()
        # A batch may have many files and run for days: each file is a trace of its own.
        is_root = event.name.startswith("batch_")
        creator = self._generations.get(event.generation_id or "")
        if creator is not None and (is_root or current.trace_id != creator.trace_id):
            links.append(Link(creator))
        if is_root and current.is_valid:
            links.append(Link(current))
        span = self._tracer.start_span(
            f"diffio.{event.name}",
            otel_context.Context() if is_root else previous,
            attributes=_ids(event),
            links=links,
        )
        # Spans of its requests, and of the program's callbacks and handlers, are its children.
        # Tasks and blocking calls inherit the context.
        context = set_span_in_context(span, previous)
        otel_context.attach(context)
        self._operations[event.operation_id] = _Running(span, context, previous)
        self._active.add(1, {"diffio.operation": event.name})

    def _end_operation(self, event: OperationEnded) -> None:
        running = self._operations.pop(event.operation_id, None)
        if running is None:
            return
        if otel_context.get_current() is running.context:
            otel_context.attach(running.previous)
        attributes = {"diffio.operation": event.name}
        self._active.add(-1, attributes)
        if event.size is not None:
            self._transferred.add(event.size, attributes)
        span = running.span
        if event.error is not None:
            attributes = {**attributes, "error.type": event.error}
            span.set_attribute("error.type", event.error)
            if event.error != "CancelledError":
                span.set_status(Status(StatusCode.ERROR))
        span.set_attributes(_ids(event))
        span.end()
        # Recorded with the context of the span, for exemplars.
        self._operation_duration.record(event.seconds, attributes, running.context)

    def _record_exchange(self, event: ResponseReceived | RequestFailed) -> None:
        """Record a span that ends now: created at its end, it costs the least."""
        outcome = event.status if isinstance(event, ResponseReceived) else event.reason
        name, attributes = _request_attributes(event.call, event.method, event.url, outcome)
        details = attributes
        if isinstance(event, ResponseReceived) and event.request_id is not None:
            details = {**details, "diffio.request_id": event.request_id}
        if event.attempt > 1:
            details = {**details, "http.request.resend_count": event.attempt - 1}
        ended_at = time.time_ns()
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=details,
            start_time=ended_at - int(event.seconds * 1e9),
        )
        if "error.type" in attributes:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_at)
        self._request_duration.record(event.seconds, attributes)

    def _record_retry(self, event: RetryScheduled) -> None:
        # The rest of the reason is a message, and that of the name the number of an upload's part.
        call, error = event.call.partition("/")[0], event.reason.partition(":")[0]
        reason = {"diffio.call": call, "error.type": error}
        self._retries.add(1, reason)
        running = self._operations.get(event.operation_id or 0)
        if running is not None:
            running.span.add_event("diffio.retry", {**reason, "diffio.retry.delay": event.delay})


def _ids(event: OperationStarted | OperationEnded) -> dict[str, str]:
    ids = {
        "diffio.generation_id": event.generation_id,
        "diffio.api_project_id": event.api_project_id,
    }
    return {name: value for name, value in ids.items() if value is not None}


@lru_cache(maxsize=256)
def _request_attributes(
    call: str, method: str, url: str, outcome: int | str
) -> tuple[str, dict[str, str | int]]:
    """Return the name and the attributes of a request, which must not be changed.

    They never have its path, which may name a recording. There are few: each costs time.

    Args:
        call: Name of the call.
        method: HTTP method.
        url: Its URL.
        outcome: The status of the response, or why it failed.
    """
    parts = urlsplit(url)
    # The number of an upload's part is left out, so that there are few names.
    call = call.partition("/")[0]
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "diffio.call": call,
    }
    if isinstance(outcome, int):
        attributes["http.response.status_code"] = outcome
    if isinstance(outcome, str) or outcome >= _MIN_ERROR:
        attributes["error.type"] = str(outcome)
    return f"{method} {call}", attributes
