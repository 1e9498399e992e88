"""What is recorded of one upload under way: each step is durable before the next one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._logging import log

if TYPE_CHECKING:
    from diffio_async.models.uploads import UploadRecord, UploadStore


class UploadCheckpoint:
    """The record of one upload, and the store it is kept in."""

    def __init__(self, store: UploadStore, record: UploadRecord) -> None:
        self.record = record
        self._store = store
        self._etags = dict(record.etags)
        self._warned = self._saved = 0
        self._turn = asyncio.Lock()

    async def record_start(self, upload_id: str, part_size: int) -> None:
        """The multipart upload is started."""
        await self._save(evolve(self.record, upload_id=upload_id, part_size_bytes=part_size))

    async def record_part(self, number: int, etag: str) -> None:
        """A part is there. Parts that come while one is being saved are saved together."""
        self._etags[number] = etag
        self._warned += 1
        mine = self._warned
        async with self._turn:
            if self._saved < mine:
                told = self._warned
                await self._save(evolve(self.record, etags=dict(self._etags)))
                self._saved = told

    async def _save(self, record: UploadRecord) -> None:
        await self._store.save(record)
        self.record = record

    async def delete(self) -> None:
        """Nothing is to be gone on with any more; a store that fails in this harms nobody now."""
        try:
            await self._store.forget(self.record.digest)
        except Exception:
            log.exception("the record of an upload that has ended could not be removed")
