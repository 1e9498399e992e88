"""Configures the SDK of OpenTelemetry in every Python process, as `opentelemetry-instrument` does.

Each ended span becomes a line of the file `spans-<process id>.jsonl` in the folder `SPANS`, so that
nothing but the spans in progress is lost when a process is killed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence


class FileExporter(SpanExporter):
    """Appends spans to a file."""

    def __init__(self) -> None:
        path = Path(os.environ["SPANS"], f"spans-{os.getpid()}.jsonl")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append spans in one write."""
        lines = "".join(f"{span.to_json(indent=None)}\n" for span in spans)
        os.write(self._file, lines.encode())
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
trace.set_tracer_provider(provider)
