"""The picture of a trace in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the SDK is not installed")
from trace_picture import picture

from tests.telemetry.recorder import connect

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox
    from tests.telemetry.recorder import Recorder

PICTURE = Path(__file__).parents[2] / "docs" / "trace.svg"
SVG = "{http://www.w3.org/2000/svg}"


def names_in(svg: str) -> list[str]:
    """Return the names of the spans, without the number of polls."""
    texts = [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]
    names = [re.sub(r" \(\d+\)$", "", text) for text in texts]
    return [name for name in names if not re.fullmatch(r"[\d.]+ m?s", name)]


async def test_the_picture_in_the_docs_has_the_spans_that_are_recorded(
    sandbox: Sandbox, recorder: Recorder, sample: Path
) -> None:
    """A bar for each span, in the order in which they started, below their parent."""
    async with connect(sandbox, recorder) as client:
        with recorder.tracers.get_tracer("program").start_as_current_span("nightly job"):
            await client.restore(sample)
    spans = sorted(recorder.spans.get_finished_spans(), key=lambda span: span.start_time or 0)
    drawn = picture(spans)
    assert names_in(drawn) == [line.strip() for line in recorder.tree()]
    assert names_in(drawn) == names_in(PICTURE.read_text(encoding="utf-8"))
    assert len(list(ET.fromstring(drawn).iter(f"{SVG}rect"))) == len(spans) + 1
