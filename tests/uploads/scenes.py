"""Fixtures of the upload tests: a sandbox with small parts, and its client."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async import AsyncDiffio, ClientOptions, Project
from diffio_async.sandbox import Fault, RecordedRequest, Sandbox
from tests.conftest import QUICK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

KIB = 1024
#: Bytes in a part of these tests.
PART = 64 * KIB


def sound(size: int) -> bytes:
    """Return random bytes, in which errors of order, offset or length are detected."""
    return random.Random(size).randbytes(size)


@frozen
class Scene:
    """A sandbox and a client of it."""

    sandbox: Sandbox
    client: AsyncDiffio

    def uploaded_bytes(self, project: Project | str) -> bytes:
        """Return the uploaded bytes of a project."""
        project_id = project if isinstance(project, str) else project.api_project_id
        state = self.sandbox.state
        assert state.projects[project_id].received
        return state.source_path(state.projects[project_id]).read_bytes()

    def only_project(self) -> str:
        """Return the id of the only project."""
        (project_id,) = self.sandbox.state.projects
        return project_id

    def seen(self, end: str, **fields: Any) -> list[RecordedRequest]:
        """Return the requests whose paths end with `end`, and that have these fields."""
        return [
            seen
            for seen in self.sandbox.requests
            if seen.path.endswith(end)
            and all(getattr(seen, name) == value for name, value in fields.items())
        ]

    def parts(self) -> list[RecordedRequest]:
        """Return the requests for parts, in order."""
        return [seen for seen in self.sandbox.requests if seen.method == "PUT"]

    def part_numbers(self) -> list[int]:
        """Return the sorted numbers of the parts that were sent."""
        return sorted(int(seen.path.rsplit("/", 1)[1]) for seen in self.parts())

    def fail(self, *faults: Fault) -> None:
        """Add faults to the sandbox."""
        self.sandbox.faults.add(*faults)


@contextlib.asynccontextmanager
async def scene(
    *,
    uploads: Iterable[Any] = ("edge",),
    part_size: int = PART,
    faults: Iterable[Fault] = (),
    max_bytes: int = 64 * 1024 * KIB,
    **options: Any,
) -> AsyncIterator[Scene]:
    """Provide a sandbox and a client with these options; check for violations afterwards."""
    client_options = ClientOptions(**{"retry": QUICK, **options})
    sandbox = Sandbox(
        engine="echo", uploads=uploads, part_size=part_size, faults=faults, max_bytes=max_bytes
    )
    async with (
        sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=client_options) as client,
    ):
        yield Scene(sandbox, client)
        assert sandbox.violations == []


async def cancelled_at(on: Scene, end: str, call: Coroutine[Any, Any, object]) -> None:
    """Cancel a call when a request to a path that ends with `end` has arrived."""
    task = asyncio.create_task(call)
    async with asyncio.timeout(60):
        while not on.seen(end):
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def max_concurrency(requests: Iterable[RecordedRequest]) -> int:
    """Return the maximum number of requests that were in flight at the same time."""
    changes = [(seen.at, 1) for seen in requests]
    changes += [(seen.responded_at, -1) for seen in requests if seen.responded_at is not None]
    in_flight = maximum = 0
    for _, change in sorted(changes):
        in_flight += change
        maximum = max(maximum, in_flight)
    return maximum
