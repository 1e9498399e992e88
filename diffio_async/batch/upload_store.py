"""How far an upload is, kept in the journal: the store that `projects.create` goes on from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from diffio_async._uploads.resume_file import record_as_json, record_from_json
from diffio_async.batch import job_queries
from diffio_async.options import MIB

if TYPE_CHECKING:
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.records import RestorationJob
    from diffio_async.models.uploads import UploadRecord


#: Bytes of an upload from which on its parts are worth to be kept, one by one.
_MIN_SIZE = 8 * MIB


class JournalUploadStore:
    """The upload of one work."""

    def __init__(self, journal: Journal, work: RestorationJob) -> None:
        self._journal, self._job = journal, work
        #: Whether there is something to go on with.
        self.saved = work.upload is not None

    async def load(self, digest: str) -> UploadRecord | None:
        """What was kept of this content."""
        if self._job.upload is None:
            return None
        try:
            record = record_from_json(json.loads(self._job.upload))
        except (ValueError, RecursionError):
            return None
        return record if record.digest == digest else None

    async def save(self, record: UploadRecord) -> None:
        """Keep it; on the disk when this returns."""
        if self.saved and record.size <= _MIN_SIZE:
            # That the project is there is known; the rest is sent again in no time.
            return
        text = json.dumps(record_as_json(record))
        await self._journal.write(
            job_queries.save_upload_state,
            self._journal.run_id,
            self._job.id,
            record.api_project_id,
            text,
        )
        self.saved = True

    async def forget(self, digest: str) -> None:  # noqa: ARG002 - one store, one content
        """Nothing yet: what the upload came to is written down in one step with this."""
        self.saved = False
