"""The multipart upload at the edge: parts at once, each its own retry unit; none left half open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio
from attrs import frozen

from diffio_async._engine.air import Air
from diffio_async._engine.bodies import aloft, unhurried
from diffio_async._engine.closing import ABORT_SECONDS, Closing
from diffio_async._engine.notes import Notes
from diffio_async._engine.sending import Sender
from diffio_async._engine.settling import Settling
from diffio_async._engine.sources import Source
from diffio_async._engine.tally import Tally
from diffio_async._engine.together import together
from diffio_async._wire.edge_calls import abort_upload, complete_upload, put_part, start_upload
from diffio_async._wire.parts import Part, planned
from diffio_async.errors import ApiError, DiffioError, ResponseInvalid, SourceUnusable
from diffio_async.events import PartSent
from diffio_async.models.uploads import CreatedProject, EdgeUpload, StartedUpload
from diffio_async.options import RequestOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@frozen
class EdgeUploading:
    """One multipart upload, from `start` to the API's word that it landed."""

    sender: Sender
    air: Air
    created: CreatedProject
    offer: EdgeUpload
    source: Source
    tally: Tally
    options: RequestOptions | None
    #: Where another try could go on from; None where a failed upload is aborted.
    notes: Notes | None = None

    async def run(self) -> None:
        """Start or go on, send every part, complete, and hear from the API that it landed."""
        upload_id, parts = await self._begun()
        try:
            etags = await self._parts(upload_id, parts)
            if self.notes is None:  # or else each part was verified before it was kept
                await self.source.verify()
        except BaseException:
            await self._finish(lambda: self._let_go(upload_id))
            raise
        try:
            confirmed = await self._completed(upload_id, etags)
        except DiffioError:
            raise
        except BaseException:
            # Interrupted in the middle of it: it may be finished all the same.
            if self.notes is None:
                await self._finish(lambda: self._abort_unless_landed(upload_id))
            raise
        if not confirmed:
            await self._settling().confirm()

    async def _begun(self) -> tuple[str, list[Part]]:
        """The multipart upload, that of an earlier try where there is one, and its parts."""
        if self.notes is not None:
            record = self.notes.record
            if record.upload_id is not None and record.part_size_bytes is not None:
                return record.upload_id, planned(self.source.size, record.part_size_bytes)
        started = await self._started()
        size = started.part_size_bytes or self.offer.part_size_bytes
        try:
            parts = planned(self.source.size, size)
            if self.notes is not None:
                await self.notes.begun(started.upload_id, size)
        except Exception:
            # An interruption may come when it is kept already: it is then gone on with.
            await self._finish(lambda: self._abort(started.upload_id))
            raise
        return started.upload_id, parts

    async def _started(self) -> StartedUpload:
        """Start; an interruption waits for the answer, without which nobody could abort."""
        starting = asyncio.create_task(self.sender.send(start_upload(self.offer), self.options))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:

            async def abort() -> None:
                await self._abort((await starting).upload_id)

            await self._finish(abort)
            raise

    async def _parts(self, upload_id: str, parts: list[Part]) -> list[str]:
        etags = {} if self.notes is None else dict(self.notes.record.etags)
        missing = [part for part in parts if part.number not in etags]
        for part in parts:
            if part.number in etags:
                self.tally.counter(part.number)(part.size)
        waiting = iter(missing)

        async def work() -> None:
            for part in waiting:
                etag = await self._part(upload_id, part)
                if self.notes is not None:
                    # What is kept is of the content that was digested, and of no other.
                    await self.source.verify()
                    await self.notes.acknowledged(part.number, etag)
                etags[part.number] = etag

        await together(work, min(len(missing), self.sender.options.parts_in_flight))
        return [etags[part.number] for part in parts]

    async def _part(self, upload_id: str, part: Part) -> str:
        count = self.tally.counter(part.number)
        body = aloft(self.air, self.tally, self.source, part, count)
        call = put_part(self.offer, upload_id, part.number)
        options = unhurried(self.sender.options, self.options)
        receipt = await self.sender.send(call, options, body=body)
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

    async def _completed(self, upload_id: str, etags: list[str]) -> bool:
        """Complete; True where the API had to be asked, and said that the upload landed.

        A failure may hide a success: the answer was lost, or was lost the first time and the
        second was a 404. So the API is asked, and only where it says no is the upload aborted.
        Where it does not say either, a finished upload may be there, and is left alone.
        """
        try:
            await self.sender.send(complete_upload(self.offer, upload_id, etags), self.options)
        except DiffioError as failure:
            landed = await self._settling().landed(patiently=not _refused(failure))
            if landed:
                return True
            if landed is False and (self.notes is None or _refused(failure)):
                await self._finish(lambda: self._end_of(upload_id))
            raise
        return False

    async def _finish(self, work: Callable[[], Awaitable[None]]) -> None:
        await in_the_end(self.sender.closing, work)

    def _settling(self) -> Settling:
        return Settling(self.sender, self.created.api_project_id, self.source, self.options)

    async def _let_go(self, upload_id: str) -> None:
        """Abort what nobody will go on with."""
        if self.notes is not None:
            with contextlib.suppress(SourceUnusable):
                await self.source.verify()
                return
        await self._end_of(upload_id)

    async def _end_of(self, upload_id: str) -> None:
        if self.notes is not None:
            await self.notes.forget()
        await self._abort(upload_id)

    async def _abort_unless_landed(self, upload_id: str) -> None:
        if await self._settling().landed(patiently=False) is False:
            await self._abort(upload_id)

    async def _abort(self, upload_id: str) -> None:
        await self.sender.send(abort_upload(self.offer, upload_id), self.options)


def _refused(failure: DiffioError) -> bool:
    """Whether the edge said no, rather than nothing, "broken" or "there is no such upload"."""
    return (
        isinstance(failure, ApiError)
        and 400 <= failure.status < 500  # noqa: PLR2004 - the class of statuses
        and failure.status not in {404, 408, 409, 429}
    )


async def in_the_end(closing: Closing, work: Callable[[], Awaitable[None]]) -> None:
    """Run the end of an upload in a task of its own: a cancellation must not cut it.

    It may take five seconds, most of them in the background, and may fail; what is being raised
    already matters more.
    """

    async def bounded() -> None:
        with anyio.move_on_after(ABORT_SECONDS), contextlib.suppress(DiffioError):
            await work()

    await closing.finish(bounded())
