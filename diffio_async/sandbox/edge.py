"""The edge origin: multipart uploads, authorized by an upload token."""

import re
from typing import Any

from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.credentials import require_upload_token
from diffio_async.sandbox.disk import join_parts, remove_tree
from diffio_async.sandbox.records import Part, Project, Upload, hash_secret, new_id
from diffio_async.sandbox.request import Fields, IncomingRequest
from diffio_async.sandbox.responses import HttpError, Response, json_response

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
        try:
            fields = Fields(await incoming.json_object())
        except HttpError as error:
            self._context.request_log.violation(incoming.record, error.message)
            raise
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
        try:
            received = await context.disk.receive(
                incoming, self._state.part_path(upload, number), limit=limit
            )
        except HttpError as error:
            context.request_log.violation(incoming.record, error.message)
            raise
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
            self._context.request_log.violation(incoming.record, error.message)
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
