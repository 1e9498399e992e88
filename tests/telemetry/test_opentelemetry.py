"""OpenTelemetry: the spans and metrics of operations against the sandbox."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread
from opentelemetry.trace import StatusCode

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    Diffio,
    GenerationFailed,
    OperationEnded,
    OperationStarted,
    RequestSent,
)
from diffio_async.sandbox import Drop, Fault, RespondWith

pytest.importorskip("opentelemetry.sdk", reason="the SDK is not installed")
from tests.telemetry.recorder import connect, context_of, options

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import Event
    from diffio_async.sandbox import Sandbox
    from tests.telemetry.recorder import Recorder

RESTORATION = [
    "diffio.restore",
    "  diffio.upload",
    "    POST create_project",
    "    POST upload start",
    "    PUT upload parts",
    "    POST upload complete",
    "    POST complete_project_upload",
    "  diffio.create_generation",
    "    POST create_generation",
    "  diffio.wait",
    "    POST get_generation_progress",
    "  diffio.download",
    "    POST get_generation_download",
    "    GET download",
]
CREATE, PROGRESS = "*-generation", "/v1/get_generation_progress"


async def test_a_restoration_is_one_trace(
    sandbox: Sandbox, recorder: Recorder, sample: Path
) -> None:
    """Its steps are children of its span, HTTP attempts are children of their step."""
    async with connect(sandbox, recorder) as client:
        restored = await client.restore(sample)
    assert recorder.tree() == RESTORATION
    spans = recorder.spans.get_finished_spans()
    assert len({context_of(span).trace_id for span in spans}) == 1
    [restore] = recorder.named("diffio.restore")
    assert dict(restore.attributes or {}) == {
        "diffio.api_project_id": restored.project.api_project_id,
        "diffio.generation_id": restored.generation.generation_id,
    }
    [created] = recorder.named("POST create_generation")
    attributes = dict(created.attributes or {})
    assert attributes.pop("diffio.request_id")
    assert attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": int(sandbox.base_url.split(":")[2].split("/")[0]),
        "http.response.status_code": 200,
        "diffio.call": "create_generation",
    }
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)


async def test_each_attempt_is_a_span_with_its_resend_count(
    sandbox: Sandbox, recorder: Recorder
) -> None:
    """Attempts are siblings; the operation has an event for each retry, with its reason."""
    sandbox.faults.add(
        Fault(path=CREATE, action=RespondWith(503)), Fault(path=CREATE, action=Drop())
    )
    async with connect(sandbox, recorder) as client:
        project = await client.projects.create(b"RIFF")
        await client.generations.create(api_project_id=project.api_project_id)
    attempts = recorder.named("POST create_generation")
    found = [dict(span.attributes or {}) for span in attempts]
    assert [each.get("http.request.resend_count") for each in found] == [None, 1, 2]
    assert [each.get("http.response.status_code") for each in found] == [503, None, 200]
    assert [each.get("error.type") for each in found] == ["503", "connection lost", None]
    assert [span.status.status_code for span in attempts][:2] == [StatusCode.ERROR] * 2
    [operation] = recorder.named("diffio.create_generation")
    assert {span.parent.span_id for span in attempts if span.parent} == {
        context_of(operation).span_id
    }
    reasons = [dict(event.attributes or {})["error.type"] for event in operation.events]
    assert reasons == ["ServerError", "ResponseLost"]
    assert operation.status.status_code is StatusCode.UNSET
    counted = {
        p.attributes["error.type"]: p.value for p in recorder.points("diffio.client.retries")
    }
    assert counted == {"ServerError": 1, "ResponseLost": 1}


async def test_a_failure_is_the_error_type_of_every_span_around_it(
    sandbox: Sandbox, recorder: Recorder, sample: Path
) -> None:
    """Spans that ended before the failure have no error."""
    failed = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "failed", "progress": 1}
    sandbox.faults.add(Fault(path=PROGRESS, times=None, action=RespondWith(json=failed)))
    async with connect(sandbox, recorder) as client:
        with pytest.raises(GenerationFailed) as raised:
            await client.restore(sample)
    errors = {
        span.name: (span.attributes or {})["error.type"]
        for span in recorder.spans.get_finished_spans()
        if span.status.status_code is StatusCode.ERROR
    }
    assert errors == {"diffio.restore": "GenerationFailed", "diffio.wait": "GenerationFailed"}
    [restore] = recorder.named("diffio.restore")
    assert (restore.attributes or {})["diffio.generation_id"] == raised.value.generation_id


async def test_a_cancelled_operation_ends_its_spans_without_an_error_status(
    sandbox: Sandbox, recorder: Recorder
) -> None:
    """`error.type` is `CancelledError`; the caller's next span is not a child of it."""
    tracer = recorder.tracers.get_tracer("program")
    async with connect(sandbox, recorder) as client:
        project = await client.projects.create(b"RIFF")
        recorder.spans.clear()
        running = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "processing"}
        sandbox.faults.add(Fault(path=PROGRESS, times=None, action=RespondWith(json=running)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.generations.wait_for_complete(
                    generation_id="gen_1", api_project_id=project.api_project_id, poll_interval=0.01
                )
        tracer.start_span("after").end()
    [wait] = recorder.named("diffio.wait")
    assert (wait.attributes or {})["error.type"] == "CancelledError"
    assert wait.status.status_code is StatusCode.UNSET
    assert [span.parent for span in recorder.named("after")] == [None]


async def test_callbacks_run_inside_the_span_of_their_operation(
    sandbox: Sandbox, recorder: Recorder, sample: Path
) -> None:
    """Spans of the program around a call and in its callbacks are in the same trace."""
    tracer = recorder.tracers.get_tracer("program")
    async with connect(sandbox, recorder) as client:
        with tracer.start_as_current_span("job"):
            await client.restore(sample, on_progress=lambda _: tracer.start_span("seen").end())
    assert [line for line in recorder.tree() if "seen" not in line] == [
        "job",
        *(f"  {line}" for line in RESTORATION),
    ]
    assert {"      seen"} == {line for line in recorder.tree() if "seen" in line}


async def test_the_blocking_client_continues_the_trace_of_its_thread(
    sandbox: Sandbox, recorder: Recorder, sample: Path
) -> None:
    """Its event loop runs in another thread; callbacks run in the context of the caller."""
    tracer = recorder.tracers.get_tracer("program")

    def work() -> None:
        client = Diffio(sandbox.api_key, base_url=sandbox.base_url, options=options(recorder))
        with client, tracer.start_as_current_span("job"):
            client.restore(sample, on_progress=lambda _: tracer.start_span("seen").end())
            tracer.start_span("after").end()

    await to_thread.run_sync(work)
    tree = [line for line in recorder.tree() if "seen" not in line]
    assert tree == ["job", *(f"  {line}" for line in RESTORATION), "  after"]
    assert {"  seen"} == {line for line in recorder.tree() if "seen" in line}


async def test_each_file_of_a_batch_is_a_trace(
    sandbox: Sandbox, recorder: Recorder, tmp_path: Path
) -> None:
    """So is its download, which another process may do; they are linked to the program's span."""
    for number in range(3):
        (tmp_path / f"{number}.wav").write_bytes(b"RIFF%d" % number)
    tracer = recorder.tracers.get_tracer("program")
    async with connect(sandbox, recorder) as client:
        with tracer.start_as_current_span("job"):
            outcomes = [o async for o in client.restore_many(tmp_path, tmp_path / "out")]
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    [job] = map(context_of, recorder.named("job"))
    files = recorder.named("diffio.batch_file")
    assert [span.parent for span in files] == [None] * 3
    assert [[link.context for link in span.links] for span in files] == [[job]] * 3
    assert len({context_of(span).trace_id for span in files} | {job.trace_id}) == 4
    for name in ("diffio.upload", "diffio.create_generation", "diffio.wait"):
        parents = {span.parent.span_id for span in recorder.named(name) if span.parent}
        assert parents == {context_of(span).span_id for span in files}
    creators = {
        str((span.attributes or {})["diffio.generation_id"]): context_of(span)
        for span in recorder.named("diffio.create_generation")
    }
    ids = {str((span.attributes or {})["diffio.generation_id"]) for span in files}
    assert ids == {*creators}
    downloads = recorder.named("diffio.batch_download")
    assert len(downloads) == 3
    for span in downloads:
        assert span.parent is None
        creator = creators[str((span.attributes or {})["diffio.generation_id"])]
        assert [link.context for link in span.links] == [creator, job]
    spans = recorder.spans.get_finished_spans()
    in_job = [span.name for span in spans if context_of(span).trace_id == job.trace_id]
    assert in_job == ["POST account", "job"]


async def test_metrics_of_a_restoration(sandbox: Sandbox, recorder: Recorder, sample: Path) -> None:
    """Requests are counted by call and status, transfers in bytes; nothing is left active."""
    async with connect(sandbox, recorder) as client:
        await client.restore(sample)
    requests = recorder.points("http.client.request.duration")
    assert sum(point.count for point in requests) == len(
        [line for line in RESTORATION if "diffio." not in line]
    )
    assert {point.attributes["http.response.status_code"] for point in requests} == {200}
    size = sample.stat().st_size
    moved = recorder.points("diffio.client.transfer.size")
    assert {p.attributes["diffio.operation"]: p.value for p in moved} == {
        "upload": size,
        "download": size,
    }
    durations = recorder.points("diffio.client.operation.duration")
    counts = {point.attributes["diffio.operation"]: point.count for point in durations}
    names = ("restore", "upload", "create_generation", "wait", "download")
    assert counts == dict.fromkeys(names, 1)
    assert {point.value for point in recorder.points("diffio.client.operation.active")} == {0}


async def test_uploads_in_flight_are_counted_while_they_run(
    sandbox: Sandbox, recorder: Recorder, sample: Path
) -> None:
    """The number of active operations has the name of the operation."""
    seen = list[int]()

    def look(_: object) -> None:
        seen.extend(
            point.value
            for point in recorder.points("diffio.client.operation.active")
            if point.attributes["diffio.operation"] == "upload"
        )

    async with connect(sandbox, recorder) as client:
        await client.projects.create(sample, on_progress=look)
    assert set(seen) == {1}


async def test_the_files_of_a_batch_are_a_gauge_by_state(
    sandbox: Sandbox, recorder: Recorder, tmp_path: Path
) -> None:
    """`record_batch` is the `on_progress` of a batch."""
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    observer = recorder.observer()
    settings = ClientOptions(observers=observer)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client:
        out, report = tmp_path / "out", observer.record_batch
        assert [o.state async for o in client.restore_many(tmp_path, out, on_progress=report)] == [
            "done"
        ]
    states = {
        p.attributes["diffio.batch.state"]: p.value for p in recorder.points("diffio.batch.files")
    }
    assert states == {"done": 1, "failed": 0, "uploading": 0, "generating": 0, "downloading": 0}


async def test_operations_are_plain_events_for_any_observer(sandbox: Sandbox, sample: Path) -> None:
    """Operations begin and end in pairs, name their parent, and requests name their operation."""
    events: list[Event] = []
    settings = ClientOptions(observers=events.append)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=settings) as client:
        await client.restore(sample)
        await client.projects.list()
    started = {e.operation_id: e for e in events if isinstance(e, OperationStarted)}
    ended = {e.operation_id: e for e in events if isinstance(e, OperationEnded)}
    assert [event.name for event in started.values()] == [
        line.strip().removeprefix("diffio.") for line in RESTORATION if "diffio." in line
    ]
    assert started.keys() == ended.keys()
    [root] = [number for number, event in started.items() if event.parent_id is None]
    assert {event.parent_id for event in started.values()} == {None, root}
    by_call = {e.call: e.operation_id for e in events if isinstance(e, RequestSent)}
    assert started[by_call["create_generation"] or 0].name == "create_generation"
    assert by_call["list_projects"] is None


async def test_nothing_is_emitted_without_an_observer(client: AsyncDiffio, sample: Path) -> None:
    """Without observers an operation has no number, and requests belong to none."""
    assert client._sender.observers.active is False
    with client._sender.operation("restore") as operation:
        await client.projects.create(sample)
    assert operation.number is None


def test_without_the_extra_the_error_names_it() -> None:
    """Importing the observer where OpenTelemetry is missing states the command to install."""
    code = "import sys\nsys.modules['opentelemetry'] = None\nimport diffio_async.telemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'diffio-async[otel]'" in done.stderr
