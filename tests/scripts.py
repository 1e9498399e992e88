"""Words for scripting the sandbox in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffio_async.sandbox import Fault, RecordedRequest, RespondWith, Sandbox

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio

PROGRESS = "/v1/get_generation_progress"
GENERATION = "/v1/*-generation"


def told(status: str, **more: Any) -> dict[str, Any]:
    """A progress answer in the API's words."""
    return {"generationId": "gen_1", "apiProjectId": "proj_1", "status": status, **more}


def answers(*bodies: Any, path: str = PROGRESS) -> list[Fault]:
    """One scripted answer after the other: a dict is a 200, a number that status."""
    return [
        Fault(
            path=path,
            action=RespondWith(status=body) if isinstance(body, int) else RespondWith(json=body),
        )
        for body in bodies
    ]


def forever(body: Any, path: str = PROGRESS) -> Fault:
    """The same scripted answer for good."""
    action = RespondWith(status=body) if isinstance(body, int) else RespondWith(json=body)
    return Fault(path=path, times=None, action=action)


def asked(sandbox: Sandbox, path: str) -> list[RecordedRequest]:
    """The requests the sandbox saw for a path, in order; a leading `*` matches by ending."""
    ending = path.removeprefix("*")
    return [
        seen
        for seen in sandbox.requests
        if seen.path == path or (path.startswith("*") and seen.path.endswith(ending))
    ]


async def uploaded(client: AsyncDiffio, content: bytes = b"speech " * 100) -> str:
    """The id of a project whose recording is uploaded."""
    return (await client.projects.create(content, file_name="speech.wav")).api_project_id
