"""The media origin: uploads and downloads by signed links, with byte ranges."""

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async.sandbox.api_generations import download_name
from diffio_async.sandbox.api_projects import BUCKET
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.credentials import report_credentials
from diffio_async.sandbox.disk import sha256_of
from diffio_async.sandbox.records import Generation
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.responses import FileSlice, HttpError, Response

if TYPE_CHECKING:
    from pathlib import Path


_SINGLE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


@frozen
class ByteRange:
    """The bytes from `start` up to but not including `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range is outside the file (status 416)."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Parse a `Range` header.

    Returns:
        The requested range, or None if the complete file is to be sent: no header, several
        ranges, another unit, or an invalid header (which a server may ignore).

    Raises:
        Unsatisfiable: No byte of the range exists.
    """
    match = _SINGLE.fullmatch(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable
        return ByteRange(size - length, size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    end = min(int(last) + 1, size) if last else size
    return ByteRange(start, end)


class Media:
    """Handler of all requests to the media origin."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._state = context.state
        # By path: size and modification time of the file, and its digest.
        self._digests: dict[Path, tuple[tuple[int, int], bytes]] = {}

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Handle one request.

        Raises:
            HttpError: 403 for an invalid link, 404, 416, or 400 for a body that is too large.
        """
        context = self._context
        report_credentials(incoming, self._state, context.request_log)
        content_type = incoming.headers.get("Content-Type", "") if incoming.method == "PUT" else ""
        try:
            context.links.check(
                incoming.method, incoming.path, incoming.query, content_type=content_type
            )
        except HttpError as error:
            if error.code == "SignatureDoesNotMatch":
                context.request_log.violation(incoming.record, error.message)
            raise
        match incoming.path.split("/")[1:]:
            case [bucket, "uploads", project_id] if bucket == BUCKET:
                return await self._upload(incoming, project_id)
            case [bucket, "results", generation_id, download_type] if bucket == BUCKET:
                return await self._download(incoming, generation_id, download_type)
        raise HttpError(404, "there is no such object", code="NoSuchKey")

    async def _upload(self, incoming: IncomingRequest, project_id: str) -> Response:
        project = self._state.projects[project_id]
        context = self._context
        try:
            received = await context.disk.receive(
                incoming, self._state.source_path(project), limit=context.settings.max_bytes
            )
        except HttpError as error:
            context.request_log.violation(incoming.record, error.message)
            raise
        project.received, project.status = True, "uploaded"
        project.size, project.etag = received.size, received.etag
        project.updated_at = self._state.now()
        self._state.save(project)
        return Response(200, {"ETag": f'"{received.etag}"'})

    async def _download(
        self, incoming: IncomingRequest, generation_id: str, download_type: str
    ) -> Response:
        generation = self._state.generations.get(generation_id)
        if generation is None or download_type not in generation.files:
            raise HttpError(404, "there is no such object", code="NoSuchKey")
        file = generation.files[download_type]
        etag = f'"{file["etag"]}"'
        name = download_name(self._state.projects[generation.project_id], generation, download_type)
        headers = {
            "Content-Type": file["mime"],
            "Content-Disposition": _attachment(name),
            "Accept-Ranges": "bytes",
            "ETag": etag,
        }
        content = await self._open_content(generation, file)
        headers["Repr-Digest"] = (
            f"sha-256=:{base64.b64encode(await self._sha256(content)).decode()}:"
        )
        if incoming.headers.get("If-None-Match", "").strip() in (etag, "*"):
            return Response(304, headers)
        byte_range = self._requested_range(incoming, etag, _length(content))
        if byte_range is None:
            return Response(200, headers, content)
        headers["Content-Range"] = (
            f"bytes {byte_range.start}-{byte_range.end - 1}/{_length(content)}"
        )
        return Response(206, headers, _slice(content, byte_range))

    async def _open_content(
        self, generation: Generation, file: dict[str, str]
    ) -> bytes | FileSlice:
        if "text" in file:
            return file["text"].encode()
        path = self._state.results_path(generation) / file["name"]
        if "echo" in file:
            path = self._state.source_path(self._state.projects[generation.project_id])
        try:
            status = await self._context.disk.run(path.stat)
        except FileNotFoundError:
            raise HttpError(404, "the object was removed", code="NoSuchKey") from None
        return FileSlice(path, 0, status.st_size)

    async def _sha256(self, content: bytes | FileSlice) -> bytes:
        if isinstance(content, bytes):
            return hashlib.sha256(content).digest()
        status = await self._context.disk.run(content.path.stat)
        version = (status.st_size, status.st_mtime_ns)
        cached = self._digests.get(content.path)
        if cached is None or cached[0] != version:
            cached = version, await self._context.disk.run(sha256_of, content.path)
            self._digests[content.path] = cached
        return cached[1]

    def _requested_range(self, incoming: IncomingRequest, etag: str, size: int) -> ByteRange | None:
        # If-Range: a range of a different version would corrupt the client's file.
        if incoming.headers.get("If-Range", etag).strip() != etag:
            return None
        try:
            return parse_range(incoming.headers.get("Range"), size)
        except Unsatisfiable:
            raise HttpError(
                416,
                "the range is outside the object",
                code="InvalidRange",
                headers={"Content-Range": f"bytes */{size}"},
            ) from None


def _length(body: bytes | FileSlice) -> int:
    return body.length if isinstance(body, FileSlice) else len(body)


def _slice(body: bytes | FileSlice, byte_range: ByteRange) -> bytes | FileSlice:
    if isinstance(body, bytes):
        return body[byte_range.start : byte_range.end]
    return FileSlice(body.path, body.start + byte_range.start, byte_range.end - byte_range.start)


def _attachment(name: str) -> Any:
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
