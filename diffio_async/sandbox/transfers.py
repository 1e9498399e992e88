"""The edge and media origins: multipart uploads, and transfers by signed links."""

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async.sandbox.access import report_credentials, require_upload_token
from diffio_async.sandbox.api import ServerContext
from diffio_async.sandbox.api_projects import BUCKET, download_name
from diffio_async.sandbox.messages import (
    Fields,
    FileSlice,
    HttpError,
    IncomingRequest,
    Response,
    json_response,
)
from diffio_async.sandbox.state import Generation, Part, Project, Upload, hash_secret, new_id
from diffio_async.sandbox.storage import join_parts, remove_tree, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

_PART = re.compile(r"/v1/uploads/parts/([0-9]{1,5})")
_MAX_PARTS = 10_000


class Edge:
    """Handler of all requests to the edge origin."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._state = context.state
        self._completing: set[str] = set()

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Handle one request.

        Raises:
            HttpError: The request is invalid, unauthorized or refused.
        """
        project = self._project(incoming)
        if match := _PART.fullmatch(incoming.path):
            _require_method(incoming, "PUT")
            return json_response(await self._part(incoming, project, int(match[1])))
        endpoints = {"start": self._start, "complete": self._complete, "abort": self._abort}
        head, _, name = incoming.path.rpartition("/")
        if head != "/v1/uploads" or name not in endpoints:
            raise HttpError(404, f"there is no endpoint {incoming.path}", code="not_found")
        _require_method(incoming, "POST")
        fields = Fields(await incoming.json_object())
        return json_response(await endpoints[name](incoming, project, fields))

    def _project(self, incoming: IncomingRequest) -> Project:
        """Return the project of the upload token."""
        token = require_upload_token(incoming, self._state, self._context.request_log)
        project = self._state.project_with_token(token)
        if project is None:
            raise HttpError(401, "the upload token is unknown", code="unauthorized")
        if self._state.now() >= project.expires_at:
            raise HttpError(401, "the upload token has expired", code="token_expired")
        return project

    def _upload(self, incoming: IncomingRequest, project: Project, upload_id: str) -> Upload:
        upload = self._state.uploads.get(upload_id)
        if upload is None or upload.project_id != project.id or upload.id in self._completing:
            if incoming.path.endswith("/abort") and upload_id in self._state.completed_uploads:
                self._context.request_log.violation(incoming.record, "abort of a completed upload")
            raise HttpError(404, "there is no such upload", code="upload_not_found")
        return upload

    async def _start(
        self, incoming: IncomingRequest, project: Project, fields: Fields
    ) -> dict[str, Any]:
        del incoming, fields
        if project.received:
            raise HttpError(409, "the file is already uploaded", code="already_uploaded")
        upload = Upload(
            id=new_id("upload"),
            project_id=project.id,
            part_size=self._context.settings.part_size,
            created_at=self._state.now(),
        )
        self._state.save(upload)
        return {"uploadId": upload.id, "partSizeBytes": upload.part_size}

    async def _part(
        self, incoming: IncomingRequest, project: Project, number: int
    ) -> dict[str, Any]:
        upload = self._upload(incoming, project, incoming.query.get("uploadId", ""))
        if not 1 <= number <= _MAX_PARTS:
            raise HttpError(400, "parts are numbered from 1 to 10000", code="invalid_part_number")
        context = self._context
        other_bytes = sum(part.size for other, part in upload.parts.items() if other != number)
        limit = min(upload.part_size, context.settings.max_bytes - other_bytes)
        received = await context.disk.receive(
            incoming, self._state.part_path(upload, number), limit=limit
        )
        if upload.id not in self._state.uploads:  # aborted or completed while the part was received
            context.disk.run_in_background(
                remove_tree, self._state.part_path(upload, number).parent
            )
            raise HttpError(
                404, "the upload was aborted or completed meanwhile", code="upload_not_found"
            )
        upload.parts[number] = Part(etag=received.etag, size=received.size)
        self._state.save(upload)
        return {"etag": received.etag}

    async def _complete(
        self, incoming: IncomingRequest, project: Project, fields: Fields
    ) -> dict[str, Any]:
        upload = self._upload(incoming, project, fields.text("uploadId"))
        try:
            numbers = self._validated_parts(upload, fields)
        except HttpError as error:
            error.is_violation = True
            raise
        files = [self._state.part_path(upload, number) for number in numbers]
        # Hidden from other requests from here on, but deleted only when the file is complete, so
        # that the upload can be completed after a crash.
        self._completing.add(upload.id)
        try:
            await self._context.disk.run(join_parts, files, self._state.source_path(project))
        finally:
            self._completing.discard(upload.id)
        etags = "".join(upload.parts[number].etag for number in numbers)
        project.received = True
        project.size = sum(upload.parts[number].size for number in numbers)
        project.etag = f"{hash_secret(etags)[:32]}-{len(numbers)}"
        project.updated_at = self._state.now()
        self._state.save(project)
        self._state.drop(upload)
        self._state.completed_uploads.add(upload.id)
        self._context.disk.run_in_background(remove_tree, files[0].parent)
        return {"objectKey": f"uploads/{project.id}", "etag": project.etag, "size": project.size}

    def _validated_parts(self, upload: Upload, fields: Fields) -> list[int]:
        """Return the part numbers of a complete request, checked against the received parts."""
        numbers: list[int] = []
        for entry in map(Fields, fields.objects("parts")):
            number = len(numbers) + 1
            if entry.count("partNumber") != number:
                raise HttpError(
                    400, "parts must be listed in order from 1", code="invalid_part_order"
                )
            part = upload.parts.get(number)
            if part is None:
                raise HttpError(400, f"part {number} was not received", code="invalid_part")
            if entry.text("etag").strip('"') != part.etag:
                raise HttpError(
                    400, f"the etag of part {number} does not match", code="invalid_part"
                )
            numbers.append(number)
        if unlisted := sorted(set(upload.parts) - set(numbers)):
            raise HttpError(400, f"parts {unlisted} are not listed", code="invalid_part")
        for number in numbers[:-1]:
            size = upload.parts[number].size
            if size != upload.part_size:
                raise HttpError(
                    400,
                    f"part {number} has {size} bytes, not {upload.part_size}",
                    code="invalid_part_size",
                )
        return numbers

    async def _abort(
        self, incoming: IncomingRequest, project: Project, fields: Fields
    ) -> dict[str, Any]:
        upload = self._upload(incoming, project, fields.text("uploadId"))
        self._state.drop(upload)
        await self._context.disk.run(remove_tree, self._state.part_path(upload, 1).parent)
        return {"aborted": True}


def _require_method(incoming: IncomingRequest, method: str) -> None:
    if incoming.method != method:
        raise HttpError(
            405,
            f"this endpoint is a {method}",
            code="method_not_allowed",
            headers={"Allow": method},
        )


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
        context.links.check(
            incoming.method, incoming.path, incoming.query, content_type=content_type
        )
        match incoming.path.split("/")[1:]:
            case [bucket, "uploads", project_id] if bucket == BUCKET:
                return await self._upload(incoming, project_id)
            case [bucket, "results", generation_id, download_type] if bucket == BUCKET:
                return await self._download(incoming, generation_id, download_type)
        raise HttpError(404, "there is no such object", code="NoSuchKey")

    async def _upload(self, incoming: IncomingRequest, project_id: str) -> Response:
        project = self._state.projects[project_id]
        await receive_source(self._context, incoming, project)
        return Response(200, {"ETag": f'"{project.etag}"'})

    async def _download(
        self, incoming: IncomingRequest, generation_id: str, download_type: str
    ) -> Response:
        generation = self._state.generations.get(generation_id)
        if generation is None or download_type not in generation.files:
            raise HttpError(404, "there is no such object", code="NoSuchKey")
        return await self.result(incoming, generation, download_type)

    async def result(
        self, incoming: IncomingRequest, generation: Generation, download_type: str
    ) -> Response:
        """Return a result of a generation, or the requested range of it.

        Raises:
            HttpError: 404 if it was removed, 416.
        """
        project, file = self._state.projects[generation.project_id], generation.files[download_type]
        name = download_name(project, generation, download_type)
        content = await self._open_content(generation, file)
        return await self._send_content(incoming, content, name, file["mime"], file["etag"])

    async def source(self, incoming: IncomingRequest, project: Project) -> Response:
        """Return the uploaded file of a project, or the requested range of it.

        Raises:
            HttpError: 404 if it was removed, 416.
        """
        content = await self._open_file(self._state.source_path(project))
        return await self._send_content(
            incoming, content, project.file_name, project.content_type, project.etag
        )

    async def _send_content(
        self, incoming: IncomingRequest, content: bytes | FileSlice, name: str, mime: str, tag: str
    ) -> Response:
        etag = f'"{tag}"'
        headers = {
            "Content-Type": mime,
            "Content-Disposition": _attachment(name),
            "Accept-Ranges": "bytes",
            "ETag": etag,
        }
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
        return await self._open_file(path)

    async def _open_file(self, path: "Path") -> FileSlice:
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


async def receive_source(
    context: ServerContext, incoming: IncomingRequest, project: Project
) -> None:
    """Store the body of a request as the file of a project.

    Raises:
        HttpError: 400 if the body is too large.
    """
    state = context.state
    received = await context.disk.receive(
        incoming, state.source_path(project), limit=context.settings.max_bytes
    )
    project.received, project.status = True, "uploaded"
    project.size, project.etag = received.size, received.etag
    project.updated_at = state.now()
    state.save(project)


def _length(body: bytes | FileSlice) -> int:
    return body.length if isinstance(body, FileSlice) else len(body)


def _slice(body: bytes | FileSlice, byte_range: ByteRange) -> bytes | FileSlice:
    if isinstance(body, bytes):
        return body[byte_range.start : byte_range.end]
    return FileSlice(body.path, body.start + byte_range.start, byte_range.end - byte_range.start)


def _attachment(name: str) -> Any:
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
