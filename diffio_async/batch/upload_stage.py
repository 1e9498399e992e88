"""Upload stage: check a file, assign it to a job, and upload it unless it is already restored."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import define, field

from diffio_async import _system
from diffio_async._storage.system_errors import reason_of
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.resume_file import record_as_json, record_from_json
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.failures import outcome_unknown
from diffio_async.batch.job_queries import Assignment, assign_job
from diffio_async.batch.schema import check_inside
from diffio_async.batch.sources import check_videos_possible
from diffio_async.errors import DiffioError, InvalidSource, InvalidTarget
from diffio_async.options import MIB

if TYPE_CHECKING:
    from diffio_async._uploads.source import FileSource
    from diffio_async.batch.context import RunContext
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.request import Plan
    from diffio_async.batch.schema import RestorationJob, ResultPath, SourceFile
    from diffio_async.events import UploadProgress
    from diffio_async.models.projects import UploadRecord
    from diffio_async.types import SourceLike


#: Size in bytes above which the state is saved after each part.
_MIN_CHECKPOINT_BYTES = 8 * MIB


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
        if self.saved and record.size <= _MIN_CHECKPOINT_BYTES:
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


class _ResultsExist(Exception):
    """All results of the file exist and must not be replaced."""


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
        try:
            limit = context.plan.max_upload_bytes
            async with open_source(
                self.file.path, max_bytes=limit, before_open=self._check_result_paths
            ) as found:
                source = cast("FileSource", found)  # a path is opened as a FileSource
                job = await self._assign(source)
                return None if job is None else await self._upload(job, source)
        except _ResultsExist:
            await context.journal.transition(file_queries.skip_file, self.file.id)
        except (InvalidSource, InvalidTarget) as failure:
            await context.requeue_or_fail(self.file, failure, successes)
        context.file_ended.notify()
        return None

    def _check_result_paths(self) -> None:
        """Check, before anything is billed, that the results can be written; blocks."""
        file, context = self.file, self.context
        if keeps_all_results(file.path, file.result_paths, context.plan):
            raise _ResultsExist

    async def _assign(self, source: FileSource) -> RestorationJob | None:
        check_not_empty(source, self.file.path)
        context = self.context
        digest = await source.digest()
        job = await context.journal.transition(
            assign_job, self.file.id, digest, source.size, context.plan.max_spend_seconds
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

    async def _upload(self, job: RestorationJob, source: FileSource) -> RestorationJob | None:
        context, before = self.context, 0

        def count(fact: UploadProgress) -> None:
            nonlocal before
            context.sent_bytes += max(0, fact.sent - before)
            before = fact.sent

        successes, store = context.congestion.successes, JournalUploadStore(context.journal, job)
        try:
            project = await context.projects.create(
                cast("SourceLike", source),  # an open source is accepted too
                file_name=source.name,
                params=context.plan.project_params,
                resume=store,
                on_progress=count if source.size >= MIN_REPORTED_BYTES else None,
                options=context.plan.options,
            )
        except DiffioError as failure:
            await self._failed(job, failure, store, successes)
            return None
        context.sent_bytes += source.size - before
        context.congestion.on_success()
        await context.journal.transition(job_queries.record_upload, job.id, project.api_project_id)
        return job.uploaded_to(project.api_project_id)

    async def _failed(
        self, job: RestorationJob, failure: DiffioError, store: JournalUploadStore, successes: int
    ) -> None:
        transition, project = self.context.journal.transition, failure.api_project_id
        if project is not None and not store.saved:
            await transition(job_queries.record_orphan, job.id, project)
        elif project is None and outcome_unknown(failure):
            await transition(job_queries.record_possible_orphan, job.id)
        await self.context.requeue_or_fail(job, failure, successes)


def check_not_empty(source: FileSource, path: str) -> None:
    """Check that a file has content.

    Raises:
        InvalidSource: The file is empty.
    """
    if source.size == 0:
        raise InvalidSource(f"{path!r} is empty: there is nothing to restore")


def keeps_all_results(path: str, results: tuple[ResultPath, ...], plan: Plan) -> bool:
    """Return whether all results of a file exist and must not be replaced; blocks.

    Raises:
        InvalidSource: The file cannot have a result of this type.
        InvalidTarget: A path is used by another file, or is not writable.
    """
    check_videos_possible({each.download_type for each in results}, path)
    foreign = _foreign_results(results, plan.root)
    if foreign and plan.on_conflict == "error":
        raise InvalidTarget(
            f"{foreign[0]!r} exists and was not written by this batch. Choose another folder, or "
            "set on_conflict='overwrite' or 'skip' (--on-conflict)"
        )
    return bool(foreign) and plan.on_conflict == "skip" and len(foreign) == len(results)


def _foreign_results(results: tuple[ResultPath, ...], root: Path) -> list[str]:
    """Return the paths where files exist that the batch did not write.

    Raises:
        InvalidTarget: A folder is not writable.
    """
    paths = [Path(each.path) for each in results]
    for path in paths:
        check_inside(root, path)
    for folder in {path.parent for path in paths}:
        try:
            existing = next(each for each in (folder, *folder.parents) if each.exists())
            if _system.is_read_only(existing):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # noqa: TRY301 - as below
            usable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        except OSError as failure:
            raise _folder_problem(str(folder), failure) from failure
        if not usable:
            raise InvalidTarget(f"{str(existing)!r} is not a writable folder")
    return [each.path for each in results if foreign_file_exists(each.path, each.owned, each.bytes)]


def foreign_file_exists(path: str, owned: bool, size: int | None) -> bool:
    """Whether a file exists at `path` that the batch did not write (or that has changed)."""
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as failure:
        raise _folder_problem(path, failure) from failure
    return not owned or (size is not None and status.st_size != size)


def _folder_problem(path: str, failure: OSError | ValueError) -> InvalidTarget:
    return InvalidTarget(f"{path!r} cannot be written: {reason_of(failure)}")
