"""The media origin: signed uploads and downloads; the URL is the credential."""

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from diffio_async.sandbox.api_generations import download_name
from diffio_async.sandbox.api_projects import BUCKET
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.credentials import expect_no_credential
from diffio_async.sandbox.disk import sha256_of
from diffio_async.sandbox.ranges import ByteRange, Unsatisfiable, parse_range
from diffio_async.sandbox.records import Generation
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.responses import FileSlice, HttpError, Response

if TYPE_CHECKING:
    from pathlib import Path


class Media:
    """Handles every request to the media origin."""

    def __init__(self, house: ServerContext) -> None:
        self._context = house
        self._state = house.state
        # By path: what the file was like, and what it hashes to.
        self._digests: dict[Path, tuple[tuple[int, int], bytes]] = {}

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Answer one request.

        Raises:
            Refusal: 403 for a link that is not good, 404, 416, or 400 for a body too large.
        """
        house = self._context
        expect_no_credential(incoming, self._state, house.request_log)
        content_type = incoming.headers.get("Content-Type", "") if incoming.method == "PUT" else ""
        try:
            house.links.check(
                incoming.method, incoming.path, incoming.query, content_type=content_type
            )
        except HttpError as refusal:
            if refusal.code == "SignatureDoesNotMatch":
                house.request_log.violation(incoming.record, refusal.message)
            raise
        match incoming.path.split("/")[1:]:
            case [bucket, "uploads", project_id] if bucket == BUCKET:
                return await self._upload(incoming, project_id)
            case [bucket, "results", generation_id, kind] if bucket == BUCKET:
                return await self._download(incoming, generation_id, kind)
        raise HttpError(404, "there is no such object", code="NoSuchKey")

    async def _upload(self, incoming: IncomingRequest, project_id: str) -> Response:
        project = self._state.projects[project_id]
        house = self._context
        try:
            received = await house.disk.receive(
                incoming, self._state.source_of(project), limit=house.settings.max_bytes
            )
        except HttpError as refusal:
            house.request_log.violation(incoming.record, refusal.message)
            raise
        project.received, project.status = True, "uploaded"
        project.size, project.etag = received.size, received.etag
        project.updated_at = self._state.now()
        self._state.save(project)
        return Response(200, {"ETag": f'"{received.etag}"'})

    async def _download(self, incoming: IncomingRequest, generation_id: str, kind: str) -> Response:
        generation = self._state.generations.get(generation_id)
        if generation is None or kind not in generation.files:
            raise HttpError(404, "there is no such object", code="NoSuchKey")
        file = generation.files[kind]
        etag = f'"{file["etag"]}"'
        name = download_name(self._state.projects[generation.project_id], generation, kind)
        headers = {
            "Content-Type": file["mime"],
            "Content-Disposition": _attachment(name),
            "Accept-Ranges": "bytes",
            "ETag": etag,
        }
        whole = await self._read_whole(generation, file)
        headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(await self._sha256(whole)).decode()}:"
        if incoming.headers.get("If-None-Match", "").strip() in (etag, "*"):
            return Response(304, headers)
        stretch = self._stretch(incoming, etag, _length(whole))
        if stretch is None:
            return Response(200, headers, whole)
        headers["Content-Range"] = f"bytes {stretch.start}-{stretch.end - 1}/{_length(whole)}"
        return Response(206, headers, _cut(whole, stretch))

    async def _read_whole(self, generation: Generation, file: dict[str, str]) -> bytes | FileSlice:
        if "text" in file:
            return file["text"].encode()
        path = self._state.results_of(generation) / file["name"]
        if "echo" in file:
            path = self._state.source_of(self._state.projects[generation.project_id])
        try:
            status = await self._context.disk.run(path.stat)
        except FileNotFoundError:
            raise HttpError(404, "the object was removed", code="NoSuchKey") from None
        return FileSlice(path, 0, status.st_size)

    async def _sha256(self, whole: bytes | FileSlice) -> bytes:
        if isinstance(whole, bytes):
            return hashlib.sha256(whole).digest()
        status = await self._context.disk.run(whole.path.stat)
        now = (status.st_size, status.st_mtime_ns)
        known = self._digests.get(whole.path)
        if known is None or known[0] != now:
            known = now, await self._context.disk.run(sha256_of, whole.path)
            self._digests[whole.path] = known
        return known[1]

    def _stretch(self, incoming: IncomingRequest, etag: str, size: int) -> ByteRange | None:
        # If-Range: a part of another version than the client holds would be worse than all of it.
        if incoming.headers.get("If-Range", etag).strip() != etag:
            return None
        try:
            return parse_range(incoming.headers.get("Range"), size)
        except Unsatisfiable:
            raise HttpError(
                416,
                "the range lies outside the object",
                code="InvalidRange",
                headers={"Content-Range": f"bytes */{size}"},
            ) from None


def _length(body: bytes | FileSlice) -> int:
    return body.length if isinstance(body, FileSlice) else len(body)


def _cut(body: bytes | FileSlice, stretch: ByteRange) -> bytes | FileSlice:
    if isinstance(body, bytes):
        return body[stretch.start : stretch.end]
    return FileSlice(body.path, body.start + stretch.start, stretch.end - stretch.start)


def _attachment(name: str) -> Any:
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
