"""The FastAPI service under load: two workers, one of them killed, a shutdown and a restart.

A longer run, with its figures:

    DIFFIO_LOAD_UPLOADS=2000 pytest --log-cli-level=INFO tests/samples/test_fastapi_load.py
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import anyio
import pytest
from attrs import define, field

from diffio_async import WebhookInbox
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from anyio.abc import Process

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

APP = Path(__file__).parents[2] / "samples" / "fastapi_service"
TRACING = Path(__file__).parent / "tracing"
# On a busy machine, a worker may need more than the default of five seconds to start.
PATIENTLY = ["--timeout-worker-healthcheck", "60"]
COMMAND = ["-m", "uvicorn", "app:app", "--workers", "2", "--no-access-log", *PATIENTLY, "--port"]
UPLOADS = int(os.environ.get("DIFFIO_LOAD_UPLOADS", "200"))
CONCURRENT = 16
#: Uploads whose body waits for the shutdown to begin.
LATE = 4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGTERM"),
]
log = logging.getLogger(__name__)


@define
class Server:
    """`uvicorn --workers 2` with the service, started again on the same port."""

    folder: Path
    port: int
    process: Process | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All output so far."""
        return (self.folder / "log").read_text()

    @property
    def workers(self) -> list[int]:
        """Process ids of all workers, in the order of their start."""
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.log)]

    async def start(self) -> None:
        """Start it; return when both workers are ready."""
        ready = self.log.count("Application startup complete")
        with (self.folder / "log").open("ab") as log:
            self.process = await anyio.open_process(
                [sys.executable, *COMMAND, str(self.port)],
                cwd=APP,
                env={
                    **{name: value for name, value in os.environ.items() if "OTEL" not in name},
                    "RECORDINGS": str(self.folder / "recordings"),
                    "OTEL_TRACES_EXPORTER": "file",
                    "SPANS": str(self.folder),
                    "PYTHONPATH": str(TRACING),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with anyio.fail_after(60):
            while self.log.count("Application startup complete") < ready + 2:
                await anyio.sleep(0.02)

    def terminate(self) -> None:
        """Send SIGTERM."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Return the exit code, when it has ended."""
        assert self.process is not None
        with anyio.fail_after(120):
            return await self.process.wait()


@pytest.fixture
async def server(diffio_environment: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Server]:
    """The service, running; all its files are in the folder of the test."""
    (tmp_path / "log").touch()
    server = Server(tmp_path, free_port())
    try:
        await server.start()
        yield server
    finally:
        if server.process is not None:
            if server.process.returncode is None:
                server.terminate()
            await server.ended()
            await server.process.aclose()


@define
class Clients:
    """Clients that repeat a request without a response, as those of a real service do."""

    session: aiohttp.ClientSession
    ids: dict[str, str] = field(factory=dict)
    #: Keys of the requests whose body is being read by the server.
    reading: set[str] = field(factory=set)
    #: Requests that ended without a response, though the server had begun to read them.
    broken: int = 0

    async def accepted(self, number: int) -> None:
        """Wait until so many recordings are accepted."""
        while len(self.ids) < number:
            await anyio.sleep(0.005)

    async def upload(self, key: str, content: bytes, slots: asyncio.Semaphore) -> None:
        """Send a recording until it is accepted."""
        async with slots:
            while key not in self.ids:
                try:
                    await self.send(key, self._body(key, content))
                except (aiohttp.ClientError, OSError):
                    self.broken += key in self.reading
                    await anyio.sleep(0.1)

    async def send(self, key: str, body: AsyncIterator[bytes]) -> None:
        """Send a recording once; its body when the server reads it."""
        self.reading.discard(key)
        async with self.session.post(
            "/recordings", data=body, headers={"Idempotency-Key": key}, expect100=True
        ) as response:
            assert response.status == 202, await response.text()
            self.ids[key] = (await response.json())["id"]

    async def _body(self, key: str, content: bytes) -> AsyncIterator[bytes]:
        self.reading.add(key)
        for start in range(0, len(content), 16384):
            yield content[start : start + 16384]
            await anyio.sleep(0.005)

    async def late_body(
        self, key: str, content: bytes, stopping: asyncio.Event
    ) -> AsyncIterator[bytes]:
        """Yield a content when the server is stopping."""
        self.reading.add(key)
        await stopping.wait()
        yield content

    async def restored(self) -> None:
        """Wait until all are restored."""
        for recording in self.ids.values():
            state = ""
            while state != "restored":
                async with self.session.get(f"/recordings/{recording}") as response:
                    state = (await response.json())["state"]
                assert state in {"processing", "restored"}
                await anyio.sleep(0 if state == "restored" else 0.1)

    async def audio(self, key: str) -> bytes:
        """Return a restored file."""
        async with self.session.get(f"/recordings/{self.ids[key]}/audio") as response:
            assert response.status == 200
            return await response.read()


@pytest.fixture
async def clients(server: Server) -> AsyncIterator[Clients]:
    """Clients of the service, with a connection for each request."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector) as session:
        yield Clients(session)


@pytest.mark.diffio(duration=0.3, duration_spread=0.5, webhook_duplicates=0.2, webhook_pace=0.005)
async def test_each_recording_is_restored_once_though_a_worker_is_killed_and_the_service_restarts(
    server: Server, clients: Clients, diffio_client: AsyncDiffio, diffio_sandbox: Sandbox
) -> None:
    """One generation for each key, the right bytes, complete spans, no request cut by SIGTERM."""
    started_at, cpu = time.monotonic(), os.times()
    contents = {f"key-{each}": random.Random(each).randbytes(65536) for each in range(UPLOADS)}
    late = {f"late-{each}": b"late" * each for each in range(1, LATE + 1)}
    await diffio_client.webhooks.configure(
        mode="live",
        url=f"{server.url}/webhooks/diffio",
        event_types=["generation.completed", "generation.failed"],
    )
    killed: dict[int, float] = {}
    broken = accepted = 0
    async with asyncio.timeout(120 + UPLOADS / 2):
        async with asyncio.TaskGroup() as group:
            slots = asyncio.Semaphore(CONCURRENT)
            for key, content in contents.items():
                group.create_task(clients.upload(key, content, slots))
            await clients.accepted(UPLOADS * 3 // 10)
            killed = await kill(server, clients)
            await clients.accepted(UPLOADS * 7 // 10)
            broken = clients.broken
            await shut_down(server, clients, late)
            assert clients.broken == broken
            accepted = len(clients.ids)
            await server.start()
        await clients.restored()
        while diffio_sandbox.state.messages:
            await anyio.sleep(0.05)
        # The killed worker may have downloaded a result without acknowledging the event.
        async with WebhookInbox(server.folder / "recordings" / "inbox.db") as inbox:
            while {entry.state for entry in await inbox.entries(limit=None)} != {"handled"}:
                await anyio.sleep(0.1)
    for key, content in {**contents, **late}.items():
        assert await clients.audio(key) == content
    server.terminate()
    assert await server.ended() == 0

    generations = diffio_sandbox.state.generations.values()
    keys = Counter(each.idempotency_key for each in generations)
    assert keys == Counter([*contents, *late])
    ids = set(clients.ids.values())
    assert {each.project_id for each in generations} == ids
    files = list((server.folder / "recordings").iterdir())
    assert {file.stem for file in files if file.suffix == ".mp3"} == ids
    # A process that is killed within a write leaves its temporary file; one that is ended does not.
    hidden = [file for file in files if file.name.startswith(".")]
    assert all(file.stat().st_mtime <= max(killed.values()) for file in hidden)
    assert "Traceback" not in server.log
    spans = check_spans(server.folder, set(killed), set(diffio_sandbox.state.generations))
    used = [now - before for now, before in zip(os.times(), cpu, strict=True)]
    log.info(
        "%d recordings in %.1f s (%.1f s of CPU for clients and sandbox, %.1f s for the service):"
        " %d requests broken by SIGKILL and none by SIGTERM, %d recordings"
        " uploaded twice, %d accepted before the restart; %s",
        *(len(keys), time.monotonic() - started_at, sum(used[:2]), sum(used[2:4]), broken),
        *(len(diffio_sandbox.state.projects) - len(keys), accepted, spans),
    )


async def kill(server: Server, clients: Clients) -> dict[int, float]:
    """Kill a worker that handles requests; return the killed workers with the time of day."""
    killed = {}
    for worker in server.workers:
        os.kill(worker, signal.SIGKILL)
        killed[worker] = time.time()
        with anyio.move_on_after(0.5):
            while not clients.broken:
                await anyio.sleep(0.005)
        if clients.broken:
            break
    assert clients.broken
    return killed


async def shut_down(server: Server, clients: Clients, late: Mapping[str, bytes]) -> None:
    """End the service during uploads, some of which send their content only afterwards."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for key, content in late.items():
            group.create_task(clients.send(key, clients.late_body(key, content, stopping)))
        while not clients.reading >= set(late):
            await anyio.sleep(0.005)
        server.terminate()
        while "Shutting down" not in server.log:
            await anyio.sleep(0.005)
        stopping.set()
    assert await server.ended() == 0
    assert set(late) <= set(clients.ids)


def check_spans(folder: Path, killed: set[int], generations: set[str]) -> str:
    """Check the spans of all processes, and return how many there are.

    - Every generation has a `diffio.create_generation`, a `diffio.download` and a `diffio.webhook`
      that ended without an error, although a process was killed. Of the last events that the killed
      process handled, `diffio.webhook` may be missing: it ends after the acknowledgement.
    - Each span of a process that was not killed has its parent, and so an operation has its end.
      In the killed process only a parent may be missing: the operation that was in progress.
    - Each operation that succeeded has an attempt, and each download is the child of a webhook.
    - A webhook is linked to the start of its generation if the same process had started it.
    """
    total: Counter[str] = Counter()
    succeeded: dict[str, set[str]] = defaultdict(set)
    interrupted: set[str] = set()
    linked = orphans = 0
    for file in folder.glob("spans-*.jsonl"):
        pid = int(file.stem.removeprefix("spans-"))
        lines = file.read_text().splitlines(keepends=True)
        spans = [json.loads(line) for line in lines if line.endswith("\n")]
        assert len(spans) == len(lines) or pid in killed
        by_id = {span["context"]["span_id"]: span for span in spans}
        attempts = {span["parent_id"] for span in spans if span["kind"] == "SpanKind.CLIENT"}
        starts: dict[str, dict[str, str]] = defaultdict(dict)
        for span in spans:  # in the order of their end
            name, attributes = span["name"], span["attributes"]
            if span["parent_id"] is not None and span["parent_id"] not in by_id:
                assert pid in killed
                orphans += 1
            if span["kind"] != "SpanKind.CLIENT" and not name.startswith("diffio."):
                continue  # FastAPI's own
            total[name] += 1
            if span["kind"] == "SpanKind.CLIENT":
                assert span["parent_id"] is not None
                assert {"http.request.method", "server.address", "diffio.call"} <= set(attributes)
                assert {"http.response.status_code", "error.type"} & set(attributes)
                continue
            if "error.type" in attributes:
                continue
            generation = attributes.get("diffio.generation_id")
            if name == "diffio.webhook":
                succeeded[name].add(generation)
                links = {link["context"]["span_id"] for link in span["links"]}
                # A repeated request may end while the event is handled.
                known = {
                    start for start, end in starts[generation].items() if end <= span["start_time"]
                }
                assert links <= set(starts[generation])
                assert len(links) == 1 or not known
                linked += len(links)
                continue
            assert span["context"]["span_id"] in attempts
            if name != "diffio.upload":
                succeeded[name].add(generation)
            if name == "diffio.create_generation":
                starts[generation][span["context"]["span_id"]] = span["end_time"]
            if name == "diffio.download":
                if pid in killed and span["parent_id"] not in by_id:
                    interrupted.add(generation)
                assert by_id.get(span["parent_id"], {"name": "diffio.webhook"})["name"] == (
                    "diffio.webhook"
                )
    succeeded["diffio.webhook"] |= interrupted
    assert succeeded == {
        "diffio.create_generation": generations,
        "diffio.download": generations,
        "diffio.webhook": generations,
    }
    return f"{sum(total.values())} spans, {orphans} without a parent, {linked} webhooks linked"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured as on Linux")
async def test_a_large_recording_is_not_held_in_memory(server: Server, clients: Clients) -> None:
    """The memory of the workers grows by less than a quarter of the recording."""
    size = 128 * 1024 * 1024

    async def body(pieces: int) -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield bytes(1024 * 1024)

    await clients.send("small", body(1))
    before = sum(map(peak_memory, server.workers))
    await clients.send("large", body(size // 1024**2))
    assert sum(map(peak_memory, server.workers)) - before < size / 4


def peak_memory(pid: int) -> int:
    """Return the peak of a process's memory in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
