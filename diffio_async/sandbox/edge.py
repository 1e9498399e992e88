"""The edge origin: uploads in parts, under a token of their own."""

import re
from typing import Any

from diffio_async.sandbox.checks import Fields
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.credentials import upload_token_of
from diffio_async.sandbox.disk import join_parts, remove_tree
from diffio_async.sandbox.records import Part, Project, Upload, hashed, new_id
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.responses import HttpError, Response, json_response

_PART = re.compile(r"/v1/uploads/parts/([0-9]{1,5})")
_MAX_PARTS = 10_000


class Edge:
    """Handles every request to the edge origin."""

    def __init__(self, house: ServerContext) -> None:
        self._context = house
        self._state = house.state
        self._completing: set[str] = set()

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Answer one request.

        Raises:
            Refusal: Whatever the contract has for a request like this.
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
        except HttpError as refusal:
            self._context.request_log.violation(incoming.record, refusal.message)
            raise
        return json_response(await endpoints[name](incoming, project, fields))

    def _project(self, incoming: IncomingRequest) -> Project:
        """Find the one project a token is for."""
        token = upload_token_of(incoming, self._state, self._context.request_log)
        project = self._state.project_for(token)
        if project is None:
            raise HttpError(401, "the upload token is not known", code="unauthorized")
        if self._state.now() >= project.expires_at:
            raise HttpError(401, "the upload token has expired", code="token_expired")
        return project

    def _upload(self, incoming: IncomingRequest, project: Project, upload_id: str) -> Upload:
        upload = self._state.uploads.get(upload_id)
        if upload is None or upload.project_id != project.id or upload.id in self._completing:
            if incoming.path.endswith("/abort") and upload_id in self._state.completed_uploads:
                self._context.request_log.violation(
                    incoming.record, "abort of an upload that was complete"
                )
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
        house = self._context
        others = sum(part.size for at, part in upload.parts.items() if at != number)
        limit = min(upload.part_size, house.settings.max_bytes - others)
        try:
            received = await house.disk.receive(
                incoming, self._state.part_of(upload, number), limit=limit
            )
        except HttpError as refusal:
            house.request_log.violation(incoming.record, refusal.message)
            raise
        if upload.id not in self._state.uploads:  # aborted or completed while the part came
            house.disk.later(remove_tree, self._state.part_of(upload, number).parent)
            raise HttpError(404, "the upload was ended meanwhile", code="upload_not_found")
        upload.parts[number] = Part(etag=received.etag, size=received.size)
        self._state.save(upload)
        return {"etag": received.etag}

    async def _complete(
        self, incoming: IncomingRequest, project: Project, fields: Fields
    ) -> dict[str, Any]:
        upload = self._upload(incoming, project, fields.text("uploadId"))
        try:
            numbers = self._named_parts(upload, fields)
        except HttpError as refusal:
            self._context.request_log.violation(incoming.record, refusal.message)
            raise
        files = [self._state.part_of(upload, number) for number in numbers]
        # Gone for others from here on; gone from the folder only once the file is whole, so that
        # a server killed in between can complete it again.
        self._completing.add(upload.id)
        try:
            await self._context.disk.run(join_parts, files, self._state.source_of(project))
        finally:
            self._completing.discard(upload.id)
        etags = "".join(upload.parts[number].etag for number in numbers)
        project.received = True
        project.size = sum(upload.parts[number].size for number in numbers)
        project.etag = f"{hashed(etags)[:32]}-{len(numbers)}"
        project.updated_at = self._state.now()
        self._state.save(project)
        self._state.drop(upload)
        self._state.completed_uploads.add(upload.id)
        self._context.disk.later(remove_tree, files[0].parent)
        return {"objectKey": f"uploads/{project.id}", "etag": project.etag, "size": project.size}

    def _named_parts(self, upload: Upload, fields: Fields) -> list[int]:
        """Check the list a client completes with against what has arrived."""
        numbers: list[int] = []
        for entry in map(Fields, fields.objects("parts")):
            number = len(numbers) + 1
            if entry.count("partNumber") != number:
                raise HttpError(
                    400, "parts must be listed in order from 1", code="invalid_part_order"
                )
            part = upload.parts.get(number)
            if part is None:
                raise HttpError(400, f"part {number} has not arrived", code="invalid_part")
            if entry.text("etag").strip('"') != part.etag:
                raise HttpError(400, f"the etag of part {number} is another", code="invalid_part")
            numbers.append(number)
        if left_out := sorted(set(upload.parts) - set(numbers)):
            raise HttpError(400, f"parts {left_out} are not listed", code="invalid_part")
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
        await self._context.disk.run(remove_tree, self._state.part_of(upload, 1).parent)
        return {"aborted": True}


def _require_method(incoming: IncomingRequest, method: str) -> None:
    if incoming.method != method:
        raise HttpError(
            405, f"this is a {method}", code="method_not_allowed", headers={"Allow": method}
        )
