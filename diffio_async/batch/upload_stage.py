"""Upload stage: check a file, assign it to a job, and upload it unless it is already restored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._uploads.resume_file import record_as_json, record_from_json
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.executor import MIN_CHECKPOINT_BYTES, RecordingOrder, ResultsExist
from diffio_async.batch.failures import outcome_unknown
from diffio_async.batch.job_queries import Assignment, assign_job
from diffio_async.errors import DiffioError, InvalidSource
from diffio_async.options import MIB

if TYPE_CHECKING:
    from diffio_async.batch.context import RunContext
    from diffio_async.batch.executor import Recording
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.request import Plan
    from diffio_async.batch.schema import RestorationJob, ResultPath, SourceFile
    from diffio_async.events import UploadProgress
    from diffio_async.models.projects import UploadRecord


class JournalUploadStore:
    """Upload store of one job, for `projects.create`."""

    def __init__(self, journal: Journal, job: RestorationJob) -> None:
        self._journal, self._job = journal, job
        #: Whether an upload can be resumed.
        self.saved = job.upload is not None

    async def load(self, digest: str) -> UploadRecord | None:
        """Return the saved state of this content, None if absent."""
        if self._job.upload is None:
            return None
        try:
            record = record_from_json(json.loads(self._job.upload))
        except (ValueError, RecursionError):
            return None
        return record if record.digest == digest else None

    async def save(self, record: UploadRecord) -> None:
        """Save the state durably."""
        if self.saved and record.size <= MIN_CHECKPOINT_BYTES:
            # The project is recorded; the few bytes of a small upload are sent again.
            return
        text = json.dumps(record_as_json(record))
        await self._journal.transition(
            job_queries.save_upload_state, self._job.id, record.api_project_id, text
        )
        self.saved = True

    async def forget(self, digest: str) -> None:  # noqa: ARG002 - one store, one content
        """Mark the state as finished; the transaction that ends the upload deletes it."""
        self.saved = False


#: Size in bytes from which progress is reported during a transfer.
MIN_REPORTED_BYTES = MIB


@define(eq=False)
class FileIntake:
    """One leased file, until its recording is uploaded."""

    context: RunContext
    file: SourceFile
    #: What this run leases: the file, then its job.
    leased_row: SourceFile | RestorationJob = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.leased_row = self.file

    async def run(self) -> RestorationJob | None:
        """Return the uploaded, leased job; None if this run has nothing to do for it."""
        context, successes = self.context, self.context.congestion.successes
        order = recording_order(self.file.path, self.file.result_paths, context.plan)
        try:
            async with context.executor.open_recording(order) as recording:
                job = await self._assign(recording)
                return None if job is None else await self._upload(job, recording)
        except ResultsExist:
            await context.journal.transition(file_queries.skip_file, self.file.id)
        except DiffioError as failure:
            await context.requeue_or_fail(self.leased_row, failure, successes)
        context.file_ended.notify()
        return None

    async def _assign(self, recording: Recording) -> RestorationJob | None:
        check_not_empty(recording.size, self.file.path)
        context = self.context
        digest = await recording.digest()
        job = await context.journal.transition(
            assign_job, self.file.id, digest, recording.size, context.plan.max_spend_seconds
        )
        if job is Assignment.OVER_BUDGET:
            context.stop(
                "another generation would bill more than max_spend_seconds="
                f"{context.plan.max_spend_seconds:g} seconds in all"
            )
        if isinstance(job, Assignment):
            context.result_ready.notify()
            context.file_ended.notify()
            return None
        self.leased_row = job
        return job

    async def _upload(self, job: RestorationJob, recording: Recording) -> RestorationJob | None:
        context, before = self.context, 0

        def count(fact: UploadProgress) -> None:
            nonlocal before
            context.sent_bytes += max(0, fact.sent - before)
            before = fact.sent

        successes, store = context.congestion.successes, JournalUploadStore(context.journal, job)
        try:
            project = await recording.upload(
                store, count if recording.size >= MIN_REPORTED_BYTES else None
            )
        except DiffioError as failure:
            await self._failed(job, failure, store, successes)
            return None
        context.sent_bytes += recording.size - before
        context.congestion.on_success()
        await context.journal.transition(job_queries.record_upload, job.id, project)
        return job.uploaded_to(project)

    async def _failed(
        self, job: RestorationJob, failure: DiffioError, store: JournalUploadStore, successes: int
    ) -> None:
        transition, project = self.context.journal.transition, failure.api_project_id
        if project is not None and not store.saved:
            await transition(job_queries.record_orphan, job.id, project)
        elif project is None and outcome_unknown(failure):
            await transition(job_queries.record_possible_orphan, job.id)
        await self.context.requeue_or_fail(job, failure, successes)


def recording_order(path: str, results: tuple[ResultPath, ...], plan: Plan) -> RecordingOrder:
    """Return the order to read one recording of a run."""
    return RecordingOrder(
        path=path,
        results=results,
        root=str(plan.root),
        on_conflict=plan.on_conflict,
        max_bytes=plan.max_upload_bytes,
    )


def check_not_empty(size: int, path: str) -> None:
    """Check that a recording of so many bytes has content.

    Raises:
        InvalidSource: It is empty.
    """
    if size == 0:
        raise InvalidSource(f"{path!r} is empty: there is nothing to restore")
