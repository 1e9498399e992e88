"""Generation and download stages: start one generation per job, wait, and write the results."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._protocol.api_errors import check_has_picture
from diffio_async._storage.files import suffix_of, truncate_name
from diffio_async._store_url import place_of
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.context import MAX_ATTEMPTS
from diffio_async.batch.executor import ResultOrder, StoredResult
from diffio_async.batch.failures import (
    disk_is_full,
    error_record,
    generation_is_unknown,
    is_shortage,
    lost_generation_record,
)
from diffio_async.batch.request import load_settings
from diffio_async.batch.upload_stage import MIN_REPORTED_BYTES
from diffio_async.errors import (
    DiffioError,
    GenerationFailed,
    IdempotencyConflict,
    InvalidTarget,
    ModelRetired,
    NotFound,
    TranscriptPending,
    WaitTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async._http.observers import Operation
    from diffio_async._polling.detached_waits import WaitEnd
    from diffio_async.batch.context import RunContext
    from diffio_async.batch.schema import RestorationJob, ResultDownload
    from diffio_async.events import DownloadProgress
    from diffio_async.models.generations import Download, GenerationProgress

#: Seconds until a pending transcript is requested again.
_PENDING_RETRY_SECONDS = 5.0


@define(eq=False)
class JobRunner:
    """One leased job whose recording is uploaded. There are many, so they have no task each.

    Attributes:
        operation: All of its file but the download.
        wait: Its wait for the generation.
    """

    context: RunContext
    job: RestorationJob
    operation: Operation
    wait: Operation = field(init=False)
    _successes: int = 0

    async def start(self, on_end: Callable[[JobRunner, WaitEnd], object]) -> bool:
        """Create the generation if the job has none; return whether a wait for it was started.

        Args:
            on_end: Called at the end of the wait, for `finish`.
        """
        job = self.job
        self.operation.api_project_id = job.project
        if job.generation is not None:
            ids = job.project or "", job.generation
        else:
            created = await self._create_generation()
            if created is None:
                return False
            ids = created
        project, generation = ids
        self.operation.generation_id = generation
        self._successes = self.context.congestion.successes
        sender = self.context.generations._sender  # noqa: SLF001
        self.wait = sender.operation("wait", generation_id=generation, api_project_id=project)
        with self.wait:
            self.context.waits.begin(generation, project, partial(on_end, self))
            self.wait.detach()
        self.operation.detach()
        return True

    def abandon(self) -> None:
        """End the operations of a wait that is cancelled with its run."""
        with contextlib.suppress(asyncio.CancelledError), self.operation, self.wait:
            raise asyncio.CancelledError

    async def _create_generation(self) -> tuple[str, str] | None:
        context, job = self.context, self.job
        sampling, params = load_settings(job.settings)
        successes = context.congestion.successes
        try:
            generation = await context.generations.create(
                api_project_id=job.project or "",
                model=job.model,
                sampling=sampling or None,
                params=params or None,
                idempotency_key=job.key,
                options=context.plan.options,
            )
            ids = generation.api_project_id, generation.generation_id
        except DiffioError as failure:
            existing = _existing_generation(failure)
            if existing is None:
                await self._not_created(failure, successes)
                return None
            ids = existing
        context.congestion.on_success()
        await context.journal.transition(job_queries.record_generation, job.id, *ids)
        return ids

    async def _not_created(self, failure: DiffioError, successes: int) -> None:
        context, job = self.context, self.job
        if isinstance(failure, NotFound) and job.attempts + 1 < MAX_ATTEMPTS:
            await context.journal.transition(job_queries.reset_lost_project, job.id)
            context.scan_now()
            return
        if isinstance(failure, ModelRetired):
            context.stop(failure)
        await context.requeue_or_fail(job, failure, successes)

    async def finish(self, end: WaitEnd) -> None:
        """Record the end of the wait."""
        context, job, transition = self.context, self.job, self.context.journal.transition
        try:
            with self.wait:
                if isinstance(end, BaseException):
                    raise end
        except GenerationFailed as failure:
            await context.fail(job, failure, retryable=False)
        except NotFound as failure:
            if context.may_restart(job.id):
                await transition(job_queries.restart_job, job.id)
                context.scan_now()
                return
            problem = lost_generation_record(
                failure,
                self.wait.generation_id or "",
                self.wait.api_project_id or "",
                context.journal.path,
            )
            await transition(job_queries.stop_waiting, job.id, problem)
            context.on_file_failed(failure)
        except WaitTimeout as failure:
            await transition(job_queries.stop_waiting, job.id, error_record(failure))
            context.on_file_failed(failure)
        except DiffioError as failure:
            await context.requeue_or_fail(job, failure, self._successes)
        else:
            context.congestion.on_success()
            await self._completed(end)
        finally:
            del end  # the traceback of an error refers to this frame

    async def _completed(self, progress: GenerationProgress) -> None:
        context, journal, problem = self.context, self.context.journal, None
        try:
            check_has_picture("video", progress.has_video)
        except NotFound as failure:
            problem = failure
        if problem is None:
            # Not synced: a power cut costs another poll.
            await journal.write(job_queries.record_completion, journal.run_id, self.job.id)
        elif await journal.transition(
            job_queries.record_completion, self.job.id, error_record(problem)
        ):
            context.on_file_failed(problem)
        context.result_ready.notify()


def _existing_generation(failure: DiffioError) -> tuple[str, str] | None:
    """Return the ids of the generation that has the same key, None if absent.

    The key is derived from the content: another project contains the same recording.
    """
    if not isinstance(failure, IdempotencyConflict):
        return None
    if failure.api_project_id is None or failure.generation_id is None:
        return None
    return failure.api_project_id, failure.generation_id


@define(eq=False)
class ResultDownloader:
    """One leased result."""

    context: RunContext
    job: ResultDownload

    async def run(self) -> None:
        """Download the result, and record the outcome."""
        context, download = self.context, self.job
        transition, successes = context.journal.transition, context.congestion.successes
        try:
            path = await self._path()
            stored = await self._download(path)
        except TranscriptPending as failure:
            # The timeout of a generation applies to its transcript too, from the first request.
            limit, now = context.plan.timeout, time.monotonic()
            since = context.transcript_pending_since.setdefault(
                (download.file_id, download.download_type), now
            )
            if limit is not None and now - since > limit:
                await context.fail(download, failure)
            else:
                await transition(
                    file_queries.requeue_download, download, _PENDING_RETRY_SECONDS, counts=False
                )
        except InvalidTarget as failure:
            if disk_is_full(failure):
                context.downloads_stopped = failure
                await transition(file_queries.requeue_download, download, 0.0, counts=False)
            elif is_shortage(failure):
                await context.requeue_or_fail(download, failure, successes)
            else:
                await context.fail(download, failure, owned=download.owned)
        except NotFound as failure:
            if generation_is_unknown(failure):
                await self._lost(failure)
            else:
                # This generation will never have such a result.
                await context.fail(download, failure, retryable=False)
        except DiffioError as failure:
            await context.requeue_or_fail(download, failure, successes)
        else:
            context.congestion.on_success()
            await transition(file_queries.finish_download, download, path, stored)
        context.file_ended.notify()

    async def _lost(self, failure: NotFound) -> None:
        """Restart or fail a result whose generation the service no longer knows."""
        context, download = self.context, self.job
        if context.may_restart(download.job_id):
            await context.journal.transition(file_queries.restart_lost_job, download)
            context.scan_now()
            return
        _, text = lost_generation_record(
            failure, download.generation, download.project, context.journal.path
        )
        await context.journal.transition(file_queries.fail_lost_result, download, text)
        context.on_file_failed(failure)

    async def _path(self) -> str:
        """Return the path; the service chooses the suffix of a video."""
        download, path = self.job, place_of(self.job.path)
        if download.download_type == "video":
            link = await self._video_link()
            # Only the suffix of the server's file name is used: the path must not depend on it.
            suffix = suffix_of(link.file_name)
            if suffix and path.suffix:
                path = path.with_name(truncate_name(path.stem, suffix))
        return str(path)

    async def _video_link(self) -> Download:
        """Return the link to the video.

        Raises:
            NotFound: It does not exist; the message has the reason if the recording has no picture.
        """
        generations, options = self.context.generations, self.context.plan.options
        generation, project = self.job.generation, self.job.project
        try:
            return await generations.get_download(
                generation_id=generation,
                api_project_id=project,
                download_type="video",
                options=options,
            )
        except NotFound:
            # The file may have joined a generation that had completed before.
            progress = await generations.get_progress(
                generation_id=generation, api_project_id=project, options=options
            )
            check_has_picture("video", progress.has_video)
            raise

    async def _download(self, path: str) -> StoredResult:
        context, download = self.context, self.job
        before = 0

        def count(fact: DownloadProgress) -> None:
            nonlocal before
            context.received_bytes += max(0, fact.received - before)
            before = fact.received

        order = ResultOrder(
            path=path,
            root=str(context.plan.root),
            download_type=download.download_type,
            generation=download.generation,
            project=download.project,
            owned=download.owned,
            bytes=download.bytes,
            on_conflict=context.plan.on_conflict,
        )
        stored = await context.executor.store_result(
            order, count if download.source_size >= MIN_REPORTED_BYTES else None
        )
        context.received_bytes += stored.size - before
        if stored.worker is not None:
            context.stored_results[stored.worker] += 1
        return stored
