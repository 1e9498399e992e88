"""A service that only tells how far made-up generations are: a process of its own, real sockets.

It prints its port. `POST /control/begin` takes a fleet and begins it, `POST /control/figures`
tells what was asked since; instants are of the machine's monotonic clock, which all processes
share. HTTP is spoken by hand, so that the service costs little beside who asks it.
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

#: Of a stage, by whether it has begun.
_STATUS = {True: "processing", False: "pending"}
_HEAD_END = b"\r\n\r\n"
#: Weights of stages in what a listing tells of the whole.
_PREPARING_WEIGHT = 0.1


@define
class Watched:
    """A job, when it was last asked about, and the longest time it was not."""

    job: Job
    asked: float = 0.0
    longest: float = 0.0
    told: bool = False

    def ask(self, at: float) -> tuple[str, dict[str, int]]:
        """What it tells, `at` seconds after the fleet began."""
        status, stages = self.job.told(at)
        if not self.told and at >= self.job.begins:
            self.longest = max(self.longest, at - max(self.asked, self.job.begins))
            self.asked, self.told = at, status == "complete"
        return status, stages


@define
class Service:
    """The fleet, and what was asked."""

    began: float = 0.0
    jobs: dict[str, Watched] = field(factory=dict)
    projects: dict[str, list[Watched]] = field(factory=dict)
    singles: list[float] = field(factory=list)
    listings: list[float] = field(factory=list)

    def answer(self, path: str, asked: dict[str, Any]) -> bytes | None:
        """The answer's body; None: there is no such thing."""
        name, at = path.rpartition("/")[2], time.monotonic() - self.began
        if name == "get_generation_progress":
            self.singles.append(at)
            watched = self.jobs.get(asked["generationId"])
            return None if watched is None else _progress(watched, at)
        if name == "list_project_generations":
            self.listings.append(at)
            return _listing(asked["apiProjectId"], self.projects[asked["apiProjectId"]], at)
        if name == "begin":
            return self._begin(Fleet(**asked))
        if name == "figures":
            return json.dumps(self._figures()).encode()
        return None

    def _begin(self, fleet: Fleet) -> bytes:
        self.jobs, self.projects, self.singles, self.listings = {}, {}, [], []
        for job in fleet.made():
            watched = self.jobs[job.generation_id] = Watched(job)
            self.projects.setdefault(job.api_project_id, []).append(watched)
        self.began = time.monotonic()
        return json.dumps({"began": self.began}).encode()

    def _figures(self) -> dict[str, Any]:
        return {
            "singles": self.singles,
            "listings": self.listings,
            "longest_unasked": max((watched.longest for watched in self.jobs.values()), default=0),
        }


def _progress(watched: Watched, at: float) -> bytes:
    status, stages = watched.ask(at)
    job = watched.job
    return json.dumps(
        {
            "generationId": job.generation_id,
            "apiProjectId": job.api_project_id,
            "status": status,
            "hasVideo": False,
            # Both are always told, as the published SDK takes for granted.
            **{
                name: {"status": _STATUS[name in stages], "progress": stages.get(name, 0)}
                for name in (PREPARING, INFERENCE)
            },
        }
    ).encode()


def _listing(api_project_id: str, members: list[Watched], at: float) -> bytes:
    rows = []
    for watched in members:
        status, stages = watched.ask(at)
        whole = stages.get(PREPARING, 0) * _PREPARING_WEIGHT
        whole += stages.get(INFERENCE, 0) * (1 - _PREPARING_WEIGHT)
        rows.append(
            f'{{"generationId":"{watched.job.generation_id}","status":"{status}",'
            f'"modelKey":"diffio-4.6-flash","progress":{int(whole)},'
            '"createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.000Z"}'
        )
    return f'{{"apiProjectId":"{api_project_id}","generations":[{",".join(rows)}]}}'.encode()


class Speaker(asyncio.Protocol):
    """One connection that is kept alive."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what TCP servers give
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._waiting += data
        while True:
            head, end, rest = self._waiting.partition(_HEAD_END)
            if not end:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(":", 1) for line in lines)
            length = int(fields.get("content-length", "0"))
            if len(rest) < length:
                return
            self._waiting = rest[length:]
            self._answer(first.split(" ")[1], json.loads(rest[:length] or b"{}"))

    def _answer(self, path: str, asked: dict[str, Any]) -> None:
        body = self._service.answer(path, asked)
        status = b"200 OK" if body is not None else b"404 Not Found"
        body = body if body is not None else b'{"error":"not found"}'
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )


async def serve() -> None:
    """Listen on a free port of this machine, for ever."""
    service = Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Speaker(service), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
