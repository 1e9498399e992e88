"""The multipart upload at the edge: parts at once, each its own retry unit; none left half open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio
from attrs import evolve, frozen

from diffio_async._engine.bodies import Body, unhurried
from diffio_async._engine.closing import ABORT_SECONDS
from diffio_async._engine.sending import Sender
from diffio_async._engine.sources import Source, called
from diffio_async._engine.tally import Tally
from diffio_async._engine.threads import settled
from diffio_async._engine.together import together
from diffio_async._wire.calls import complete_project_upload
from diffio_async._wire.edge_calls import abort_upload, complete_upload, put_part, start_upload
from diffio_async._wire.parts import Part, planned
from diffio_async.errors import (
    ApiError,
    ClientClosed,
    DiffioError,
    NotReady,
    ResponseInvalid,
    UploadFailed,
)
from diffio_async.events import PartSent
from diffio_async.models.generations import FAILED
from diffio_async.models.uploads import (
    CreatedProject,
    EdgeUpload,
    StartedUpload,
    UploadedProject,
)
from diffio_async.options import RequestOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NOT_LANDED_YET = frozenset({409})


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
        started = await self._started()
        upload_id = started.upload_id
        size = started.part_size_bytes or self.offer.part_size_bytes
        try:
            etags = await self._parts(upload_id, planned(self.source.size, size))
            await self.source.verify()
        except BaseException:
            await in_the_end(lambda: self._abort(upload_id))
            raise
        try:
            confirmed = await self._completed(upload_id, etags)
        except DiffioError:
            raise
        except BaseException:
            # Interrupted in the middle of it: it may be finished all the same.
            await in_the_end(lambda: self._abort_unless_landed(upload_id))
            raise
        if not confirmed:
            await self._confirm()

    async def _started(self) -> StartedUpload:
        """Start; an interruption waits for the answer, without which nobody could abort."""
        starting = asyncio.create_task(self.sender.send(start_upload(self.offer), self.options))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:

            async def abort() -> None:
                await self._abort((await starting).upload_id)

            await in_the_end(abort)
            raise

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
            landed = await self._landed(patiently=not _refused(failure))
            if landed:
                return True
            if landed is False:
                await in_the_end(lambda: self._abort(upload_id))
            raise
        return False

    async def _landed(self, *, patiently: bool) -> bool | None:
        """Whether the bytes are there, None where the API does not say.

        With patience a "not landed yet" is asked about again: storage takes a moment.
        """
        call = complete_project_upload(self.created.api_project_id)
        if patiently:
            call = evolve(call, also_transient=NOT_LANDED_YET)
        try:
            self._check(await self.sender.send(call, self.options))
        except NotReady:
            return False
        except DiffioError:
            return None
        return True

    def _check(self, landed: UploadedProject) -> None:
        """A generation of half a recording would be billed as well."""
        size = landed.size_bytes
        if landed.status in FAILED or size not in {None, self.source.size}:
            raise UploadFailed(
                f"of {called(self.source)}'s {self.source.size:,} bytes the API says "
                f"{landed.status!r}, with {size} bytes landed"
            )

    async def _confirm(self) -> None:
        call = complete_project_upload(self.created.api_project_id)
        try:
            call = evolve(call, also_transient=NOT_LANDED_YET)
            self._check(await self.sender.send(call, self.options))
        except ClientClosed:
            raise
        except DiffioError as failure:
            raise UploadFailed(
                f"{called(self.source)} was sent whole, but the API did not confirm it: {failure} "
                "(projects.complete_upload asks again)"
            ) from failure

    async def _abort_unless_landed(self, upload_id: str) -> None:
        if await self._landed(patiently=False) is False:
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


async def in_the_end(work: Callable[[], Awaitable[None]]) -> None:
    """Run the end of an upload in a task of its own: a cancellation must not cut it.

    It may take five seconds and may fail; what is being raised already matters more.
    """

    async def bounded() -> None:
        with anyio.move_on_after(ABORT_SECONDS), contextlib.suppress(DiffioError):
            await work()

    task = asyncio.create_task(bounded())
    await settled(task)
    if not task.cancelled():
        task.result()
