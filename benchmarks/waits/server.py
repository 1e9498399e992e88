"""HTTP service with the progress of a synthetic fleet, run as a process.

It prints its port. `POST …/start` starts a fleet, `POST …/figures` returns the requests since then.
Instants are of the machine's monotonic clock, which all processes share. HTTP is implemented here,
so that the service uses little CPU beside its client.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field
from waits.fleets import INFERENCE, PREPARING, Fleet

if TYPE_CHECKING:
    from waits.fleets import Job

#: Status of a stage by whether it has started.
_STATUS = {True: "processing", False: "pending"}
_HEAD_END = b"\r\n\r\n"
#: Weight of the first stage in the percentage of a listing.
_PREPARING_WEIGHT = 0.1


@define
class PolledJob:
    """A job, when it was last polled, and the longest gap between two polls."""

    job: Job
    last_polled_at: float = 0.0
    longest_gap: float = 0.0
    end_detected: bool = False

    def poll(self, at: float) -> tuple[str, dict[str, int]]:
        """Return the progress `at` seconds after the start of the fleet."""
        status, stages = self.job.progress_at(at)
        if not self.end_detected and at >= self.job.created_at:
            gap = at - max(self.last_polled_at, self.job.created_at)
            self.longest_gap = max(self.longest_gap, gap)
            self.last_polled_at, self.end_detected = at, status == "complete"
        return status, stages


@define
class Service:
    """The fleet, and the instants of all requests."""

    started_at: float = 0.0
    jobs: dict[str, PolledJob] = field(factory=dict)
    projects: dict[str, list[PolledJob]] = field(factory=dict)
    single: list[float] = field(factory=list)
    listings: list[float] = field(factory=list)

    def respond(self, path: str, request: dict[str, Any]) -> bytes | None:
        """Return the body of the response, or None if the path or the generation is unknown."""
        name, at = path.rpartition("/")[2], time.monotonic() - self.started_at
        if name == "get_generation_progress":
            self.single.append(at)
            polled = self.jobs.get(request["generationId"])
            return None if polled is None else _progress(polled, at)
        if name == "list_project_generations":
            self.listings.append(at)
            project = request["apiProjectId"]
            return _listing(project, self.projects[project], at)
        if name == "start":
            return self._start(Fleet(**request))
        if name == "figures":
            return json.dumps(self._figures()).encode()
        return None

    def _start(self, fleet: Fleet) -> bytes:
        self.jobs, self.projects, self.single, self.listings = {}, {}, [], []
        for job in fleet.make_jobs():
            polled = self.jobs[job.generation_id] = PolledJob(job)
            self.projects.setdefault(job.api_project_id, []).append(polled)
        self.started_at = time.monotonic()
        return json.dumps({"started_at": self.started_at}).encode()

    def _figures(self) -> dict[str, Any]:
        return {
            "single": self.single,
            "listings": self.listings,
            "longest_gap": max((polled.longest_gap for polled in self.jobs.values()), default=0),
        }


def _progress(polled: PolledJob, at: float) -> bytes:
    status, stages = polled.poll(at)
    job = polled.job
    return json.dumps(
        {
            "generationId": job.generation_id,
            "apiProjectId": job.api_project_id,
            "status": status,
            "hasVideo": False,
            # The published SDK requires both stages.
            **{
                name: {"status": _STATUS[name in stages], "progress": stages.get(name, 0)}
                for name in (PREPARING, INFERENCE)
            },
        }
    ).encode()


def _listing(api_project_id: str, members: list[PolledJob], at: float) -> bytes:
    rows = []
    for polled in members:
        status, stages = polled.poll(at)
        percent = stages.get(PREPARING, 0) * _PREPARING_WEIGHT
        percent += stages.get(INFERENCE, 0) * (1 - _PREPARING_WEIGHT)
        rows.append(
            f'{{"generationId":"{polled.job.generation_id}","status":"{status}",'
            f'"modelKey":"diffio-4.6-flash","progress":{int(percent)},'
            '"createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.000Z"}'
        )
    return f'{{"apiProjectId":"{api_project_id}","generations":[{",".join(rows)}]}}'.encode()


class Connection(asyncio.Protocol):
    """One connection with keep-alive."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for responses."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - that of a TCP server
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request."""
        self._buffer += data
        while True:
            head, end, rest = self._buffer.partition(_HEAD_END)
            if not end:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(":", 1) for line in lines)
            length = int(fields.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._respond(first.split(" ")[1], json.loads(rest[:length] or b"{}"))

    def _respond(self, path: str, request: dict[str, Any]) -> None:
        body = self._service.respond(path, request)
        status = b"200 OK" if body is not None else b"404 Not Found"
        body = body if body is not None else b'{"error":"not found"}'
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )


async def serve() -> None:
    """Listen on a free port of the loopback interface until the process is ended."""
    service = Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
