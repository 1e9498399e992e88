"""A bare HTTP caller for the sandbox tests, without the client of the package."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from attrs import define, frozen

from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


@frozen
class Response:
    """A complete response."""

    status: int
    headers: "CIMultiDictProxy[str]"
    body: bytes
    json: Any


@define
class Caller:
    """A caller of one sandbox with one session."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def send(self, method: str, url: str, **arguments: Any) -> Response:
        """Send any request."""
        async with self.session.request(
            method, url, allow_redirects=False, **arguments
        ) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return Response(
                response.status, response.headers, body, await response.json() if is_json else None
            )

    async def api(self, endpoint: str, *, key: str | None = None, **body: Any) -> Response:
        """Call an endpoint of the API with a key (the sandbox's own by default)."""
        headers = {"Authorization": f"Bearer {key or self.sandbox.api_key}"}
        return await self.send(
            "POST", f"{self.sandbox.base_url}/{endpoint}", json=body, headers=headers
        )

    async def ok(self, endpoint: str, **body: Any) -> Any:
        """Call an endpoint, and return the JSON of its 200 response."""
        response = await self.api(endpoint, **body)
        assert response.status == 200, response.body
        return response.json

    async def edge(self, project: Any, action: str, **body: Any) -> Response:
        """Call start, complete or abort with the project's own token."""
        upload = project["upload"]
        return await self.send(
            "POST",
            f"{upload['edgeBaseUrl']}/v1/uploads/{action}",
            json=body,
            headers={"Authorization": f"Bearer {upload['uploadToken']}"},
        )

    async def part(self, project: Any, upload_id: str, number: int, content: bytes) -> Response:
        """Send one part."""
        upload = project["upload"]
        return await self.send(
            "PUT",
            f"{upload['edgeBaseUrl']}/v1/uploads/parts/{number}",
            params={"uploadId": upload_id},
            data=content,
            headers={"Authorization": f"Bearer {upload['uploadToken']}"},
        )

    async def project(self, content: bytes = b"sound", name: str = "talk.wav", **more: Any) -> Any:
        """Create a project and upload its bytes with the signed PUT."""
        created = await self.ok("create_project", fileName=name, contentType="audio/wav", **more)
        headers = {"Content-Type": "audio/wav"}
        put = await self.send("PUT", created["uploadUrl"], data=content, headers=headers)
        assert put.status == 200, put.body
        return created

    async def generation(self, project: Any, **body: Any) -> dict[str, str]:
        """Start a generation and return the ids for other calls."""
        ids = {"apiProjectId": project["apiProjectId"]}
        created = await self.ok("diffio-4.6-flash-generation", **ids, **body)
        return {**ids, "generationId": created["generationId"]}

    async def ended(self, ids: dict[str, str], within: float = 120.0) -> Any:
        """Poll until a generation has ended."""
        async with asyncio.timeout(within):
            while True:
                progress = await self.ok("get_generation_progress", **ids)
                if progress["status"] not in ("queued", "processing"):
                    return progress
                await asyncio.sleep(0.01)

    async def restored(self, content: bytes = b"sound", **more: Any) -> dict[str, str]:
        """Upload, generate, and wait for the end."""
        ids = await self.generation(await self.project(content, **more))
        assert (await self.ended(ids))["status"] == "complete"
        return ids

    async def link(self, ids: dict[str, str], **more: Any) -> str:
        """Return a signed download link."""
        return str((await self.ok("get_generation_download", **ids, **more))["downloadUrl"])


@asynccontextmanager
async def calling(sandbox: Sandbox) -> AsyncIterator[Caller]:
    """Start a sandbox and yield a caller; check afterwards that no task is left."""
    before = asyncio.all_tasks()
    async with sandbox, aiohttp.ClientSession() as session:
        yield Caller(sandbox, session)
    left = asyncio.all_tasks() - before
    if left:
        # A webhook receiver of a test takes a moment to close its connections.
        _, left = await asyncio.wait(left, timeout=20)
    assert not left, f"left running: {left}"


def echoing(**options: Any) -> Sandbox:
    """Return a sandbox with the echo engine."""
    return Sandbox(engine="echo", **options)
