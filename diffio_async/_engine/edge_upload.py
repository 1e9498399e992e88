"""The multipart upload at the edge: parts at once, each its own retry unit; none left half open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, frozen

from diffio_async._engine.bodies import Body
from diffio_async._engine.sending import Sender
from diffio_async._engine.sources import Source
from diffio_async._engine.tally import Tally
from diffio_async._engine.threads import settled
from diffio_async._engine.together import together
from diffio_async._wire.calls import complete_project_upload
from diffio_async._wire.edge_calls import abort_upload, complete_upload, put_part, start_upload
from diffio_async._wire.parts import Part, planned
from diffio_async.errors import DiffioError, NotReady, ResponseInvalid
from diffio_async.events import PartSent
from diffio_async.models.uploads import CreatedProject, EdgeUpload
from diffio_async.options import RequestOptions

if TYPE_CHECKING:
    from collections.abc import Coroutine

#: Seconds an abort may take: whoever interrupts does not wait longer.
ABORT_SECONDS = 5.0


@frozen
class EdgeUploading:
    """One multipart upload, from `start` to the API's word that it landed."""

    sender: Sender
    slots: asyncio.Semaphore
    created: CreatedProject
    offer: EdgeUpload
    source: Source
    tally: Tally
    options: RequestOptions | None

    async def run(self) -> None:
        """Start, send every part, complete, and hear from the API that it landed."""
        started = await self.sender.send(start_upload(self.offer), self.options)
        upload_id = started.upload_id
        size = started.part_size_bytes or self.offer.part_size_bytes
        try:
            etags = await self._parts(upload_id, planned(self.source.size, size))
            await self.source.verify()
        except BaseException:
            await self._in_the_end(self._abort(upload_id))
            raise
        try:
            await self.sender.send(complete_upload(self.offer, upload_id, etags), self.options)
        except BaseException as failure:
            landed = await self._in_the_end(self._landed_or_abort(upload_id))
            if not landed or not isinstance(failure, DiffioError):
                raise
        # Only now may the answer be "not landed yet": storage takes a moment.
        landing = evolve(
            complete_project_upload(self.created.api_project_id), also_transient=frozenset({409})
        )
        await self.sender.send(landing, self.options)

    async def _parts(self, upload_id: str, parts: list[Part]) -> list[str]:
        etags = [""] * len(parts)
        waiting = iter(parts)

        async def work() -> None:
            for part in waiting:
                async with self.slots:
                    etags[part.number - 1] = await self._part(upload_id, part)

        await together(work, min(len(parts), self.sender.options.parts_in_flight))
        return etags

    async def _part(self, upload_id: str, part: Part) -> str:
        body = Body(self.source, part.offset, part.size, self.tally.counter(part.number))
        call = put_part(self.offer, upload_id, part.number)
        receipt = await self.sender.send(call, self.options, body=body)
        if not receipt.etag:
            raise ResponseInvalid(f"the edge gave no etag for part {part.number}")
        self.sender.tell(
            PartSent(
                api_project_id=self.created.api_project_id,
                part_number=part.number,
                size=part.size,
            )
        )
        return receipt.etag

    async def _landed_or_abort(self, upload_id: str) -> bool:
        """Whether the upload is finished after all: a lost answer to `complete` may be a yes.

        It is aborted only when the API says that it has not landed; where the API does not say
        either, a finished upload may be there, and is left alone.
        """
        try:
            await self.sender.send(
                complete_project_upload(self.created.api_project_id), self.options
            )
        except NotReady:
            await self._abort(upload_id)
            return False
        except DiffioError:
            return False
        return True

    async def _abort(self, upload_id: str) -> bool:
        try:
            await self.sender.send(abort_upload(self.offer, upload_id), self.options)
        except DiffioError:
            return False
        return True

    async def _in_the_end(self, work: Coroutine[Any, Any, bool]) -> bool:
        """Run the end of an upload in a task of its own: a cancellation must not cut it."""

        async def bounded() -> bool:
            with anyio.move_on_after(ABORT_SECONDS):
                return await work
            return False

        task = asyncio.create_task(bounded())
        await settled(task)
        return task.result()
