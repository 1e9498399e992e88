"""The edge origin: uploads in parts, under a token of their own."""

import re
from typing import Any

from diffio_async.sandbox.checks import Fields
from diffio_async.sandbox.credentials import upload_token_of
from diffio_async.sandbox.disk import join_parts, remove_tree
from diffio_async.sandbox.house import House
from diffio_async.sandbox.incoming import Incoming
from diffio_async.sandbox.records import Part, Project, Upload, hashed, new_id
from diffio_async.sandbox.replies import Refusal, Reply, json_reply

_PART = re.compile(r"/v1/uploads/parts/([0-9]{1,5})")
_MOST_PARTS = 10_000


class Edge:
    """Handles every request to the edge origin."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._world = house.world
        self._completing: set[str] = set()

    async def handle(self, incoming: Incoming) -> Reply:
        """Answer one request.

        Raises:
            Refusal: Whatever the contract has for a request like this.
        """
        project = self._project(incoming)
        if match := _PART.fullmatch(incoming.path):
            _expect(incoming, "PUT")
            return json_reply(await self._part(incoming, project, int(match[1])))
        endpoints = {"start": self._start, "complete": self._complete, "abort": self._abort}
        head, _, name = incoming.path.rpartition("/")
        if head != "/v1/uploads" or name not in endpoints:
            raise Refusal(404, f"there is no endpoint {incoming.path}", code="not_found")
        _expect(incoming, "POST")
        try:
            fields = Fields(await incoming.json_object())
        except Refusal as refusal:
            self._house.witness.complain(incoming.seen, refusal.message)
            raise
        return json_reply(await endpoints[name](incoming, project, fields))

    def _project(self, incoming: Incoming) -> Project:
        """Find the one project a token is for."""
        token = upload_token_of(incoming, self._world, self._house.witness)
        project = self._world.project_for(token)
        if project is None:
            raise Refusal(401, "the upload token is not known", code="unauthorized")
        if self._world.now() >= project.expires_at:
            raise Refusal(401, "the upload token has expired", code="token_expired")
        return project

    def _upload(self, incoming: Incoming, project: Project, upload_id: str) -> Upload:
        upload = self._world.uploads.get(upload_id)
        if upload is None or upload.project_id != project.id or upload.id in self._completing:
            if incoming.path.endswith("/abort") and upload_id in self._world.completed_uploads:
                self._house.witness.complain(incoming.seen, "abort of an upload that was complete")
            raise Refusal(404, "there is no such upload", code="upload_not_found")
        return upload

    async def _start(self, incoming: Incoming, project: Project, fields: Fields) -> dict[str, Any]:
        del incoming, fields
        if project.landed:
            raise Refusal(409, "the file is already uploaded", code="already_uploaded")
        upload = Upload(
            id=new_id("upload"),
            project_id=project.id,
            part_size=self._house.settings.part_size,
            created_at=self._world.now(),
        )
        self._world.save(upload)
        return {"uploadId": upload.id, "partSizeBytes": upload.part_size}

    async def _part(self, incoming: Incoming, project: Project, number: int) -> dict[str, Any]:
        upload = self._upload(incoming, project, incoming.query.get("uploadId", ""))
        if not 1 <= number <= _MOST_PARTS:
            raise Refusal(400, "parts are numbered from 1 to 10000", code="invalid_part_number")
        house = self._house
        others = sum(part.size for at, part in upload.parts.items() if at != number)
        limit = min(upload.part_size, house.settings.max_bytes - others)
        try:
            received = await house.disk.receive(
                incoming, self._world.part_of(upload, number), limit=limit
            )
        except Refusal as refusal:
            house.witness.complain(incoming.seen, refusal.message)
            raise
        if upload.id not in self._world.uploads:  # aborted or completed while the part came
            house.disk.later(remove_tree, self._world.part_of(upload, number).parent)
            raise Refusal(404, "the upload was ended meanwhile", code="upload_not_found")
        upload.parts[number] = Part(etag=received.etag, size=received.size)
        self._world.save(upload)
        return {"etag": received.etag}

    async def _complete(
        self, incoming: Incoming, project: Project, fields: Fields
    ) -> dict[str, Any]:
        upload = self._upload(incoming, project, fields.text("uploadId"))
        try:
            numbers = self._named_parts(upload, fields)
        except Refusal as refusal:
            self._house.witness.complain(incoming.seen, refusal.message)
            raise
        files = [self._world.part_of(upload, number) for number in numbers]
        # Gone for others from here on; gone from the folder only once the file is whole, so that
        # a server killed in between can complete it again.
        self._completing.add(upload.id)
        try:
            await self._house.disk.run(join_parts, files, self._world.source_of(project))
        finally:
            self._completing.discard(upload.id)
        etags = "".join(upload.parts[number].etag for number in numbers)
        project.landed = True
        project.size = sum(upload.parts[number].size for number in numbers)
        project.etag = f"{hashed(etags)[:32]}-{len(numbers)}"
        project.updated_at = self._world.now()
        self._world.save(project)
        self._world.drop(upload)
        self._world.completed_uploads.add(upload.id)
        self._house.disk.later(remove_tree, files[0].parent)
        return {"objectKey": f"uploads/{project.id}", "etag": project.etag, "size": project.size}

    def _named_parts(self, upload: Upload, fields: Fields) -> list[int]:
        """Check the list a client completes with against what has arrived."""
        numbers: list[int] = []
        for entry in map(Fields, fields.objects("parts")):
            number = len(numbers) + 1
            if entry.count("partNumber") != number:
                raise Refusal(
                    400, "parts must be listed in order from 1", code="invalid_part_order"
                )
            part = upload.parts.get(number)
            if part is None:
                raise Refusal(400, f"part {number} has not arrived", code="invalid_part")
            if entry.text("etag").strip('"') != part.etag:
                raise Refusal(400, f"the etag of part {number} is another", code="invalid_part")
            numbers.append(number)
        if left_out := sorted(set(upload.parts) - set(numbers)):
            raise Refusal(400, f"parts {left_out} are not listed", code="invalid_part")
        for number in numbers[:-1]:
            size = upload.parts[number].size
            if size != upload.part_size:
                raise Refusal(
                    400,
                    f"part {number} has {size} bytes, not {upload.part_size}",
                    code="invalid_part_size",
                )
        return numbers

    async def _abort(self, incoming: Incoming, project: Project, fields: Fields) -> dict[str, Any]:
        upload = self._upload(incoming, project, fields.text("uploadId"))
        self._world.drop(upload)
        await self._house.disk.run(remove_tree, self._world.part_of(upload, 1).parent)
        return {"aborted": True}


def _expect(incoming: Incoming, method: str) -> None:
    if incoming.method != method:
        raise Refusal(
            405, f"this is a {method}", code="method_not_allowed", headers={"Allow": method}
        )
