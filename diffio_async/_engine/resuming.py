"""A project made with `resume`: an earlier try is gone on with, or else started afresh."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from attrs import define

from diffio_async._engine.concerning import concerning
from diffio_async._engine.edge_upload import in_the_end
from diffio_async._engine.notes import Notes
from diffio_async._engine.settling import NotAsSent, Settling
from diffio_async.errors import ApiError, NotFound, NotReady, UploadFailed
from diffio_async.events import UploadRestarted, UploadResumed
from diffio_async.models.resuming import UploadRecord
from diffio_async.models.uploads import CreatedProject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from diffio_async._engine.sending import Sender
    from diffio_async._engine.sources import Source
    from diffio_async._engine.uploading import NewProject
    from diffio_async.models.resuming import UploadStore
    from diffio_async.options import RequestOptions

#: What the edge answers where a token or a multipart upload is no more.
GONE = frozenset({401, 404})
#: What storage answers where a signed URL is no more.
EXPIRED = frozenset({400, 401, 403, 404, 410})


class _Void(Exception):
    """The earlier try cannot be gone on with."""


@define(eq=False)
class Resuming:
    """One upload with a store.

    `new` asks for a project; `send` sends the bytes to it, and returns when they landed.
    """

    sender: Sender
    source: Source
    store: UploadStore
    new: NewProject
    send: Callable[[CreatedProject, Notes], Awaitable[None]]
    options: RequestOptions | None

    async def run(self) -> UploadRecord:
        """The record of the upload that landed, which is not kept any more."""
        digest = await self.source.digest()
        record = await self.store.load(digest)
        if record is not None:
            try:
                with concerning(api_project_id=record.api_project_id):
                    return await self._continued(record)
            except _Void as void:
                reason = str(void)
            # It is told before anything is done about it.
            self.sender.tell(UploadRestarted(api_project_id=record.api_project_id, reason=reason))
        record = await self._made(digest)
        with concerning(api_project_id=record.api_project_id):
            return await self._sent(Notes(self.store, record))

    async def _made(self, digest: str) -> UploadRecord:
        """A project, on record; an interruption waits for both, or it would be lost."""
        making = asyncio.create_task(self._new(digest))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:

            async def made() -> None:
                with contextlib.suppress(Exception):  # what is being raised already matters more
                    await making

            await in_the_end(self.sender.closing, made)
            raise

    async def _new(self, digest: str) -> UploadRecord:
        created = await self.sender.send(self.new.call, self.options)
        record = UploadRecord(
            digest=digest,
            size=self.source.size,
            file_name=self.new.file_name,
            content_type=self.new.content_type,
            api_project_id=created.api_project_id,
            object_path=created.object_path,
            expires_at=_end_of(created),
            offer=created.upload,
            upload_url=None if created.upload is not None else created.upload_url,
            upload_method=None if created.upload is not None else created.upload_method,
        )
        if record.offer is not None or record.upload_url is not None:
            with concerning(api_project_id=created.api_project_id):
                await self.store.save(record)
        return record

    async def _sent(self, notes: Notes) -> UploadRecord:
        record = notes.record
        try:
            await self.send(created_of(record), notes)
        except NotAsSent:
            await notes.forget()
            raise
        await notes.forget()
        return record

    async def _continued(self, record: UploadRecord) -> UploadRecord:
        """Go on.

        Raises:
            _Void: Nothing is there to go on with.
        """
        if record.size != self.source.size:
            raise _Void(f"it was recorded with {record.size:,} bytes")
        notes = Notes(self.store, record)
        # What became of a `complete` whose answer was lost is the first question; and whether the
        # project is this account's the second. Signed uploads have no such end.
        if record.offer is not None and await self._landed(record):
            await notes.forget()
            return record
        # Judged by the server's clock. Before that is known, the upload itself finds out.
        now = self.sender.server_clock.estimate()
        if now is not None and record.expires_at is not None and record.expires_at <= now:
            raise _Void(f"its upload session expired at {record.expires_at:%Y-%m-%d %H:%M:%S %Z}")
        self.sender.tell(
            UploadResumed(
                api_project_id=record.api_project_id,
                sent=_bytes_of(record),
                total=record.size,
            )
        )
        try:
            return await self._sent(notes)
        except UploadFailed as failure:
            if not _gone(failure.__cause__, EXPIRED if record.offer is None else GONE):
                raise
            raise _Void(str(failure)) from failure

    async def _landed(self, record: UploadRecord) -> bool:
        settling = Settling(self.sender, record.api_project_id, self.source, self.options)
        try:
            await settling.ask(patiently=False)
        except NotReady:
            return False
        except (NotFound, NotAsSent) as failure:
            raise _Void(str(failure)) from failure
        return True


def created_of(record: UploadRecord) -> CreatedProject:
    """What the API had answered."""
    return CreatedProject(
        api_project_id=record.api_project_id,
        object_path=record.object_path,
        expires_at=record.expires_at,
        upload=record.offer,
        upload_url=record.upload_url,
        upload_method=record.upload_method,
    )


def _end_of(created: CreatedProject) -> datetime | None:
    offer = created.upload
    return offer.expires_at if offer is not None and offer.expires_at else created.expires_at


def _bytes_of(record: UploadRecord) -> int:
    part = record.part_size_bytes or 0
    return sum(min(part, record.size - (number - 1) * part) for number in record.etags)


def _gone(cause: BaseException | None, statuses: frozenset[int]) -> bool:
    """Whether an upload host said so; what the API says has classes of its own."""
    return type(cause) is ApiError and cause.status in statuses
