"""Draw the trace of a restoration by the sandbox, from the spans that are recorded, as SVG.

python benchmarks/trace_picture.py docs/trace.svg
"""

from __future__ import annotations

import asyncio
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from diffio_async import AsyncDiffio, ClientOptions
from diffio_async.sandbox import Sandbox
from diffio_async.telemetry import OpenTelemetryObserver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

SAMPLE = Path(__file__).parents[1] / "samples" / "noisy-speech.wav"
#: Sizes in pixels: of the picture, of the names, of the durations at the end, and of a row.
_WIDTH, _NAMES, _DURATIONS, _ROW, _TOP, _INDENT = 860, 282, 82, 22, 34, 14
_BAR, _MIN_BAR = 12, 3.0
#: The background is part of the picture, which is readable on any page.
_STYLE = """
svg { --page: #ffffff; --text: #1f2328; --faint: #59636e; --line: #d1d9e0; --operation: #0969da;
  --request: #1a7f37; --program: #59636e; }
@media (prefers-color-scheme: dark) { svg { --page: #0d1117; --text: #e6edf3; --faint: #9198a1;
  --line: #3d444d; --operation: #4493f8; --request: #3fb950; --program: #9198a1; } }
.page { fill: var(--page); } text { fill: var(--text); } .faint { fill: var(--faint); }
.line { stroke: var(--line); } .operation { fill: var(--operation); }
.request { fill: var(--request); } .program { fill: var(--program); }
"""


@define
class Row:
    """One line of the picture: a span, or several requests of one name and parent."""

    name: str
    depth: int
    kind: str
    spans: list[ReadableSpan] = field(factory=list)


async def record() -> list[ReadableSpan]:
    """Restore the sample, and return the spans in the order of their start."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = ClientOptions(observers=OpenTelemetryObserver(tracer_provider=provider))
    async with (
        Sandbox() as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client,
    ):
        with provider.get_tracer("my.program").start_as_current_span("nightly job"):
            await client.restore(SAMPLE)
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


def rows_of(spans: list[ReadableSpan]) -> list[Row]:
    """Return the rows of the picture: children below their parent."""

    def below(parent: int | None, depth: int) -> Iterator[Row]:
        latest: Row | None = None
        for span in spans:
            if (span.parent and span.parent.span_id) != parent or span.context is None:
                continue
            kind = "operation" if span.name.startswith("diffio.") else "request"
            if latest is None or latest.name != span.name or kind != "request":
                latest = Row(span.name, depth, kind if depth else "program")
                latest.spans.append(span)
                yield latest
                yield from below(span.context.span_id, depth + 1)
            else:
                latest.spans.append(span)

    return list(below(None, 0))


def picture(spans: list[ReadableSpan]) -> str:
    """Return the picture of a trace."""
    began = min(span.start_time or 0 for span in spans)
    total = max(span.end_time or 0 for span in spans) - began
    rows = rows_of(spans)
    height = _TOP + _ROW * len(rows) + 12
    scale = (_WIDTH - _NAMES - _DURATIONS) / total
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60) if total / 1e9 / s <= 8)  # noqa: PLR2004
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="ui-sans-serif, system-ui, sans-serif" font-size="12.5">',
        f"<title>Trace of a restoration</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>',
    ]
    for number in range(int(total / 1e9 / step) + 1):
        x = _NAMES + number * step * 1e9 * scale
        lines += [
            f'<path class="line" d="M{x:.1f} {_TOP - 8}V{height - 8}"/>',
            f'<text class="faint" x="{x:.1f}" y="18" text-anchor="middle">'
            f"{number * step:g} s</text>",
        ]
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number
        count = f" ({len(row.spans)})" if len(row.spans) > 1 else ""
        x = 12 + _INDENT * row.depth
        lines.append(f'<text x="{x}" y="{y + 12}">{escape(row.name)}{count}</text>')
        for span in row.spans:
            start, end = span.start_time or 0, span.end_time or 0
            left, width = _NAMES + (start - began) * scale, max(_MIN_BAR, (end - start) * scale)
            shape = f'x="{left:.1f}" y="{y + 2}" width="{width:.1f}" height="{_BAR}" rx="1.5"'
            lines.append(f'<rect class="{row.kind}" {shape}/>')
        seconds = sum((span.end_time or 0) - (span.start_time or 0) for span in row.spans) / 1e9
        shown = f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
        x = _WIDTH - 12
        lines.append(f'<text class="faint" x="{x}" y="{y + 12}" text-anchor="end">{shown}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Write the picture."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit(__doc__)
    Path(sys.argv[1]).write_text(picture(asyncio.run(record())), encoding="utf-8")


if __name__ == "__main__":
    main()
