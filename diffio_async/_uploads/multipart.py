"""The multipart upload at the edge: parts at once, each its own retry unit; none left half open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio
from attrs import frozen

from diffio_async._http.shutdown import ABORT_SECONDS, ShutdownCoordinator
from diffio_async._http.transport import ApiTransport
from diffio_async._http.workers import run_workers
from diffio_async._protocol.edge_endpoints import (
    abort_upload,
    complete_upload,
    put_part,
    start_upload,
)
from diffio_async._uploads.checkpoint import UploadCheckpoint
from diffio_async._uploads.confirmation import UploadConfirmer
from diffio_async._uploads.limiter import UploadLimiter, limited_part_body, without_time_budget
from diffio_async._uploads.progress import UploadProgressReporter
from diffio_async._uploads.source import Source
from diffio_async.errors import ApiError, DiffioError, InvalidResponse, InvalidSource
from diffio_async.events import PartUploaded
from diffio_async.models.uploads import CreatedProject, EdgeUpload, MultipartStarted
from diffio_async.options import RequestOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Ten times what storage takes; a plan must not fill the memory because of one bad number.
MAX_PARTS = 100_000


@frozen
class Part:
    """Bytes `offset` to `offset + size` of the source are part `number`, counted from 1."""

    number: int
    offset: int
    size: int


def plan_parts(size: int, part_size: int) -> list[Part]:
    """Every part but the last has exactly `part_size` bytes; an empty file is one empty part.

    Raises:
        InvalidResponse: The server set a part size that is none, or far too small.
    """
    if part_size < 1:
        raise InvalidResponse(f"the upload offer sets a part size of {part_size} bytes")
    count = max(1, -(-size // part_size))
    if count > MAX_PARTS:
        raise InvalidResponse(
            f"the upload offer sets a part size of {part_size:,} bytes: {size:,} bytes would be "
            f"more than {MAX_PARTS:,} parts"
        )
    return [
        Part(number=n + 1, offset=n * part_size, size=min(part_size, size - n * part_size))
        for n in range(count)
    ]


@frozen
class MultipartUpload:
    """One multipart upload, from `start` to the API's word that it landed."""

    sender: ApiTransport
    limiter: UploadLimiter
    created: CreatedProject
    offer: EdgeUpload
    source: Source
    progress: UploadProgressReporter
    options: RequestOptions | None
    #: Where another try could go on from; None where a failed upload is aborted.
    checkpoint: UploadCheckpoint | None = None

    async def run(self) -> None:
        """Start or go on, send every part, complete, and hear from the API that it landed."""
        upload_id, parts = await self._begun()
        try:
            etags = await self._parts(upload_id, parts)
            if self.checkpoint is None:  # or else each part was verified before it was kept
                await self.source.verify()
        except BaseException:
            await self._finish(lambda: self._cleanup(upload_id))
            raise
        try:
            confirmed = await self._completed(upload_id, etags)
        except DiffioError:
            raise
        except BaseException:
            # Interrupted in the middle of it: it may be finished all the same.
            if self.checkpoint is None:
                await self._finish(lambda: self._abort_unless_landed(upload_id))
            raise
        if not confirmed:
            await self._confirmation().confirm()

    async def _begun(self) -> tuple[str, list[Part]]:
        """The multipart upload, that of an earlier try where there is one, and its parts."""
        if self.checkpoint is not None:
            record = self.checkpoint.record
            if record.upload_id is not None and record.part_size_bytes is not None:
                return record.upload_id, plan_parts(self.source.size, record.part_size_bytes)
        started = await self._started()
        size = started.part_size_bytes or self.offer.part_size_bytes
        try:
            parts = plan_parts(self.source.size, size)
            if self.checkpoint is not None:
                await self.checkpoint.record_start(started.upload_id, size)
        except Exception:
            # An interruption may come when it is kept already: it is then gone on with.
            await self._finish(lambda: self._abort(started.upload_id))
            raise
        return started.upload_id, parts

    async def _started(self) -> MultipartStarted:
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
        etags = {} if self.checkpoint is None else dict(self.checkpoint.record.etags)
        missing = [part for part in parts if part.number not in etags]
        for part in parts:
            if part.number in etags:
                self.progress.part_callback(part.number)(part.size)
        waiting = iter(missing)

        async def work() -> None:
            for part in waiting:
                etag = await self._part(upload_id, part)
                if self.checkpoint is not None:
                    # What is kept is of the content that was digested, and of no other.
                    await self.source.verify()
                    await self.checkpoint.record_part(part.number, etag)
                etags[part.number] = etag

        await run_workers(work, min(len(missing), self.sender.options.max_concurrent_parts))
        return [etags[part.number] for part in parts]

    async def _part(self, upload_id: str, part: Part) -> str:
        count = self.progress.part_callback(part.number)
        body = limited_part_body(self.limiter, self.progress, self.source, part, count)
        call = put_part(self.offer, upload_id, part.number)
        options = without_time_budget(self.sender.options, self.options)
        receipt = await self.sender.send(call, options, body=body)
        if not receipt.etag:
            raise InvalidResponse(f"the edge gave no etag for part {part.number}")
        self.sender.emit(
            PartUploaded(
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
            landed = await self._confirmation().is_received(patiently=not _is_definitive(failure))
            if landed:
                return True
            if landed is False and (self.checkpoint is None or _is_definitive(failure)):
                await self._finish(lambda: self._discard(upload_id))
            raise
        return False

    async def _finish(self, work: Callable[[], Awaitable[None]]) -> None:
        await run_shielded(self.sender.closing, work, project=self.created.api_project_id)

    def _confirmation(self) -> UploadConfirmer:
        return UploadConfirmer(self.sender, self.created.api_project_id, self.source, self.options)

    async def _cleanup(self, upload_id: str) -> None:
        """Abort what nobody will go on with."""
        if self.checkpoint is not None:
            with contextlib.suppress(InvalidSource):
                await self.source.verify()
                return
        await self._discard(upload_id)

    async def _discard(self, upload_id: str) -> None:
        if self.checkpoint is not None:
            await self.checkpoint.delete()
        await self._abort(upload_id)

    async def _abort_unless_landed(self, upload_id: str) -> None:
        if await self._confirmation().is_received(patiently=False) is False:
            await self._abort(upload_id)

    async def _abort(self, upload_id: str) -> None:
        await self.sender.send(abort_upload(self.offer, upload_id), self.options)


def _is_definitive(failure: DiffioError) -> bool:
    """Whether the edge said no, rather than nothing, "broken" or "there is no such upload"."""
    return (
        isinstance(failure, ApiError)
        and 400 <= failure.status < 500  # noqa: PLR2004 - the class of statuses
        and failure.status not in {404, 408, 409, 429}
    )


async def run_shielded(
    closing: ShutdownCoordinator,
    work: Callable[[], Awaitable[None]],
    *,
    project: str | None = None,
) -> None:
    """Run the end of an upload in a task of its own: a cancellation must not cut it.

    It may take five seconds, most of them in the background, and may fail; what is being raised
    already matters more.
    """

    async def bounded() -> None:
        with anyio.move_on_after(ABORT_SECONDS), contextlib.suppress(DiffioError):
            await work()

    await closing.finish(bounded(), project=project)
