"""What telemetry contains: ids, names and hosts; never a key, a link, a file name or a text."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from diffio_async import (
    AsyncDiffio,
    BadRequest,
    ClientOptions,
    DiffioError,
    InvalidSource,
    NotFound,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
)
from diffio_async.sandbox import Drop, Fault, RespondWith
from tests.conftest import QUICK

pytest.importorskip("opentelemetry.sdk", reason="the SDK is not installed")
from tests.telemetry.recorder import Recorder, connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffio_async import Event
    from diffio_async.sandbox import Sandbox

#: The attributes of spans, of their events and of metrics, and what their values look like.
NAME = r"[A-Za-z_ ]{1,40}"
ALLOWED = {
    "http.request.method": "GET|POST|PUT",
    "http.response.status_code": r"\d{3}",
    "http.request.resend_count": r"[1-9]\d*",
    "server.address": r"[\w.:-]+",
    "server.port": r"\d+",
    "error.type": rf"{NAME}|[45]\d\d",
    "diffio.call": NAME,
    "diffio.operation": NAME,
    "diffio.batch.state": NAME,
    "diffio.request_id": r"req_\w+",
    "diffio.generation_id": r"gen_\w+",
    "diffio.api_project_id": r"proj_\w+",
    "diffio.retry.delay": r"[\d.e-]+",
    "diffio.client": r"\d+",
}


def attributes_of(recorder: Recorder) -> Iterator[tuple[str, object]]:
    """Yield every attribute that was recorded."""
    for span in recorder.spans.get_finished_spans():
        assert not span.status.description
        yield from (span.attributes or {}).items()
        for event in span.events:
            yield from (event.attributes or {}).items()
        for link in span.links:
            yield from (link.attributes or {}).items()
    data = recorder.reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield from (point.attributes or {}).items()


async def fail_in_many_ways(client: AsyncDiffio, sandbox: Sandbox, folder: Path) -> list[str]:
    """Restore, download and fail; return the secrets."""
    source = folder / "private-interview.wav"
    source.write_bytes(b"RIFFprivate-words")
    unavailable = RespondWith(503, text="private")
    sandbox.faults.add(Fault(path="*-generation", action=unavailable))
    restored = await client.restore(source, idempotency_key="private-key")
    ids = restored.generation.generation_id, restored.project.api_project_id
    outcomes = [o async for o in client.restore_many(folder, folder / "private-results")]
    assert [outcome.state for outcome in outcomes] == ["done"]
    with pytest.raises(InvalidSource):
        await client.restore(folder / "private-missing.wav")
    with pytest.raises(NotFound):
        await client.generations.download(generation_id="gen_0", api_project_id=ids[1])
    for action in (Drop(), unavailable, RespondWith(403, text="private")):
        sandbox.faults.add(Fault(path="*", origin="media", times=None, action=action))
        with pytest.raises(DiffioError):
            await client.generations.download(generation_id=ids[0], api_project_id=ids[1])
        sandbox.faults.clear()
    sandbox.faults.add(Fault(path="*", times=None, action=RespondWith(400, text="private")))
    with pytest.raises(BadRequest):
        await client.restore(source)
    sandbox.faults.clear()
    url = restored.download.download_url
    return [sandbox.api_key, "private", str(folder), url, url.partition("?")[2], "/v1/"]


@pytest.mark.slow
async def test_every_attribute_is_an_id_a_name_or_a_host(
    sandbox: Sandbox, recorder: Recorder, tmp_path: Path
) -> None:
    """Nor has a span a stack trace or the message of an exception."""
    async with connect(sandbox, recorder) as client:
        secrets = await fail_in_many_ways(client, sandbox, tmp_path)
    found = list(attributes_of(recorder))
    assert {name for name, _ in found} >= {"error.type", "diffio.request_id", "diffio.retry.delay"}
    for name, value in found:
        assert re.fullmatch(ALLOWED[name], str(value)), (name, value)
    spans = recorder.spans.get_finished_spans()
    assert {event.name for span in spans for event in span.events} == {"diffio.retry"}
    metrics = recorder.reader.get_metrics_data()
    assert metrics is not None
    recorded = metrics.to_json() + "".join(span.to_json() for span in spans)
    for secret in secrets:
        assert secret
        assert secret not in recorded


@pytest.mark.slow
async def test_no_event_and_no_log_has_a_secret(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor have their texts, and what `to_dict` returns for another adapter."""
    events: list[Event] = []
    settings = ClientOptions(retry=QUICK, observers=events.append)
    caplog.set_level(logging.DEBUG, "diffio_async")
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client:
        key, _, _, url, query, _ = await fail_in_many_ways(client, sandbox, tmp_path)
    texts = [repr(event) + str(event.to_dict()) for event in events]
    for text in (*texts, *(record.getMessage() for record in caplog.records)):
        for secret in (key, url, query, "private-words"):
            assert secret not in text


async def test_no_request_has_a_header_of_the_trace(
    sandbox: Sandbox, recorder: Recorder, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the API nor a host of signed URLs learns of it, whatever propagators are set."""
    both = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    monkeypatch.setattr(propagate, "propagators", both)
    tracer = recorder.tracers.get_tracer("program")
    token = context.attach(baggage.set_baggage("user", "private"))
    try:
        async with connect(sandbox, recorder) as client:
            with tracer.start_as_current_span("job"):
                carrier = dict[str, str]()
                propagate.inject(carrier)
                assert carrier.keys() == {"traceparent", "baggage"}
                await client.restore(sample)
    finally:
        context.detach(token)
    assert {request.origin for request in sandbox.requests} == {"api", "edge", "media"}
    for request in sandbox.requests:
        assert request.headers.keys().isdisjoint({"traceparent", "tracestate", "baggage"})


calls = st.sampled_from(["create_project", "upload parts/12", "download"])
hosts = st.sampled_from(["api.diffio.ai", "127.0.0.1:8080", "[::1]:8080", "bücher.example:443"])
texts = st.text(max_size=20)


@pytest.mark.slow
@given(
    call=calls,
    scheme=st.sampled_from(["http", "https"]),
    host=hosts,
    path=st.text(st.characters(categories=["L", "N"]), max_size=20),
    status=st.integers(200, 599),
    attempt=st.integers(1, 5),
    message=texts,
)
def test_no_path_and_no_message_is_recorded(
    call: str, scheme: str, host: str, path: str, status: int, attempt: int, message: str
) -> None:
    """Whatever URLs and errors the events have."""
    recorder = Recorder()
    observer = recorder.observer()
    url = f"{scheme}://{host}/<{path}>"
    observer(ResponseReceived(call, "PUT", url, attempt, status=status, seconds=0.1))
    observer(RequestFailed(call, "PUT", url, attempt, seconds=0.1, reason="refused"))
    reason = f"ServerError: <{message}>"
    observer(RetryScheduled(call=call, attempt=attempt, delay=0.1, reason=reason))
    for name, value in attributes_of(recorder):
        assert re.fullmatch(ALLOWED[name], str(value)), (name, value)
    recorder.tracers.shutdown()
