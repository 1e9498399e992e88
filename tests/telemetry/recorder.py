"""Recorder of spans and metrics with the in-memory exporters of the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from diffio_async import AsyncDiffio, ClientOptions
from diffio_async.telemetry import OpenTelemetryObserver
from tests.conftest import QUICK

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from diffio_async.sandbox import Sandbox


@define
class Recorder:
    """Spans and metrics of one observer."""

    spans: InMemorySpanExporter = field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(factory=InMemoryMetricReader)
    tracers: TracerProvider = field(factory=lambda: TracerProvider(shutdown_on_exit=False))

    def observer(self) -> OpenTelemetryObserver:
        """Return an observer that records here."""
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        return OpenTelemetryObserver(tracer_provider=self.tracers, meter_provider=meters)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the finished spans of a name, in the order in which they ended."""
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def tree(self) -> list[str]:
        """Return the names of all spans in the order of their start, indented by depth."""
        spans = sorted(self.spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        by_id = {span.context.span_id: span for span in spans if span.context is not None}

        def depth(span: ReadableSpan) -> int:
            above = span.parent and by_id.get(span.parent.span_id)
            return 1 + depth(above) if above else 0

        return ["  " * depth(span) + span.name for span in spans]

    def points(self, metric: str) -> list[Any]:
        """Return the data points of a metric."""
        return self.metrics().get(metric, [])

    def metrics(self) -> dict[str, list[Any]]:
        """Return the data points by metric; old SDKs return a gauge at one collection only."""
        data = self.reader.get_metrics_data()
        return {
            each.name: list(each.data.data_points)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for each in scope.metrics
        }


def context_of(span: ReadableSpan) -> SpanContext:
    """Return the ids of a span."""
    context: SpanContext | None = span.get_span_context()
    assert context is not None
    return context


def options(recorder: Recorder) -> ClientOptions:
    """Return options with the observer of a recorder."""
    return ClientOptions(retry=QUICK, observers=recorder.observer())


def connect(sandbox: Sandbox, recorder: Recorder) -> AsyncDiffio:
    """Return a client that a recorder observes."""
    return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options(recorder))
