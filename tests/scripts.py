"""Helpers for tests that script the responses of a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffio_async.sandbox import Fault, RecordedRequest, RespondWith, Sandbox

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio

PROGRESS = "/v1/get_generation_progress"
GENERATION = "/v1/*-generation"


def progress_body(status: str, **more: Any) -> dict[str, Any]:
    """Return the body of a progress response."""
    return {"generationId": "gen_1", "apiProjectId": "proj_1", "status": status, **more}


def scripted(*bodies: Any, path: str = PROGRESS) -> list[Fault]:
    """Return faults that respond in turn: a dict is the body of a 200, a number the status."""
    return [
        Fault(
            path=path,
            action=RespondWith(status=body) if isinstance(body, int) else RespondWith(json=body),
        )
        for body in bodies
    ]


def forever(body: Any, path: str = PROGRESS) -> Fault:
    """Return a fault that responds the same to every request."""
    action = RespondWith(status=body) if isinstance(body, int) else RespondWith(json=body)
    return Fault(path=path, times=None, action=action)


def requests_to(sandbox: Sandbox, path: str) -> list[RecordedRequest]:
    """Return the requests to a path, in order; a leading `*` matches the end of the path."""
    ending = path.removeprefix("*")
    return [
        seen
        for seen in sandbox.requests
        if seen.path == path or (path.startswith("*") and seen.path.endswith(ending))
    ]


async def uploaded(client: AsyncDiffio, content: bytes = b"speech " * 100) -> str:
    """Upload a recording and return the id of its project."""
    return (await client.projects.create(content, file_name="speech.wav")).api_project_id
