"""Scheduler of a run: leases rows of the journal and runs the stages until all are done."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from diffio_async._storage.system_errors import shortage_of
from diffio_async.batch import leases
from diffio_async.batch.file_queries import lease_downloads, lease_files
from diffio_async.batch.job_queries import lease_jobs
from diffio_async.batch.journal_queries import unfinished
from diffio_async.batch.result_stage import JobRunner, ResultDownloader
from diffio_async.batch.schema import LeaseLost, RestorationJob, ResultDownload, SourceFile
from diffio_async.batch.upload_stage import FileIntake
from diffio_async.errors import DiffioError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from diffio_async._http.observers import Operation
    from diffio_async._polling.detached_waits import WaitEnd
    from diffio_async.batch.context import RunContext

    _Work: TypeAlias = Callable[[], Coroutine[None, None, None]]

#: Seconds between scans for rows that other runs released.
_POLL_SECONDS = 1.0


class BatchRun:
    """Three stages with the journal as the queue between them.

    Each stage leases a bounded number of rows, so memory does not grow with the batch.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._journal = context.journal
        self._finished = False
        self._more_files, self._more_downloads = True, True
        self._tasks: set[asyncio.Task[None]] = set()
        #: Jobs whose generations run; they have no task.
        self._waiting: set[JobRunner] = set()
        self._failure: Exception | None = None
        self._is_ending = False

    async def run(self) -> None:
        """Run until no work is left, or until the running steps of a stopped batch have ended.

        Raises:
            DiffioError: The journal cannot be written, or the client was closed.
        """
        loops = [
            asyncio.create_task(self._run_task(loop))
            for loop in (
                self._heartbeat,
                self._watch_waits,
                self._lease_downloads,
                self._schedule,
            )
        ]
        try:
            await asyncio.gather(*loops[2:])
        finally:
            self._is_ending = True
            tasks = [*loops, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for runner in self._waiting:
                runner.abandon()
        if self._failure is not None:
            raise self._failure

    async def _run_task(self, work: _Work) -> None:
        """Whatever ends a part that nothing should end, ends the run."""
        try:
            await work()
        except LeaseLost:
            pass
        except Exception as failure:  # noqa: BLE001 - raised by `run`
            if self._failure is None:
                self._failure = failure
            self._context.notify_all()

    async def _step(self, work: _Work) -> None:
        """Run one step; a shortage stops the batch, and the running steps continue to their end."""
        try:
            await work()
        except Exception as failure:
            if isinstance(failure, DiffioError) or shortage_of(failure) is None:
                raise
            self._context.stop(failure)
            # The next run downloads the results.
            self._context.downloads_stopped = self._context.downloads_stopped or failure

    async def _as_operation(
        self, name: str, run: Callable[[Operation], Coroutine[None, None, None]], **ids: str
    ) -> None:
        """Run the upload and generation of a file, or its download, as one operation."""
        sender = self._context.generations._sender  # noqa: SLF001
        with sender.operation(name, **ids) as operation:
            await run(operation)

    def _start(self, work: _Work) -> None:
        # A task that is cancelled before it starts never calls `work`: a coroutine as argument
        # would not be awaited.
        task = asyncio.create_task(self._run_task(partial(self._step, work)))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._journal.expect_transitions(len(self._tasks))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._journal.expect_transitions(len(self._tasks))

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(leases.HEARTBEAT_SECONDS)
            if await self._journal.heartbeat():
                self._context.scan_now()

    async def _watch_waits(self) -> None:
        """Raise what ends all waits."""
        while True:
            self._context.waits.raise_error()
            await self._context.waits.wait_for_change()

    async def _schedule(self) -> None:
        """Start jobs and files while there are free slots."""
        context = self._context
        while self._failure is None and context.stop_reason is None:
            version = context.slot_freed.version
            if not await self._lease():
                if not context.in_flight and await self._nothing_left():
                    break
                await context.slot_freed.wait(version, self._scan_interval())
        while context.in_flight and self._failure is None:
            await context.slot_freed.wait(context.slot_freed.version, _POLL_SECONDS)
        self._finished = True
        context.result_ready.notify()

    def _scan_interval(self) -> float:
        """Return the scan interval in seconds, used when no notification arrives."""
        return min(_POLL_SECONDS, self._context.congestion.pause or _POLL_SECONDS)

    async def _nothing_left(self) -> bool:
        downloads = self._context.downloads_stopped is None
        return not await self._journal.read(unfinished, downloads=downloads)

    async def _lease(self) -> bool:
        """Lease and start as much as there are free slots for; return whether anything started."""
        context = self._context
        free = context.plan.max_in_flight - context.in_flight
        if free <= 0 or context.congestion.pause:
            return False
        jobs, files = list[RestorationJob](), list[SourceFile]()
        now = time.monotonic()
        if now >= context.next_scan_at:
            # Few jobs have no lease: those of dead runs, and requeued ones.
            jobs = await self._journal.transition(lease_jobs, free)
            for job in jobs:
                context.in_flight += 1
                run_job = partial(self._run_job, job)
                self._start(partial(self._as_operation, "batch_file", run_job))
        uploads = min(free - len(jobs), context.congestion.limit - context.uploading)
        if uploads > 0 and (self._more_files or now >= context.next_scan_at):
            files = await self._journal.write(lease_files, self._journal.run_id, uploads)
            self._more_files = len(files) == uploads
            for file in files:
                context.in_flight += 1
                context.uploading += 1
                run_file = partial(self._run_file, file)
                self._start(partial(self._as_operation, "batch_file", run_file))
        if now >= context.next_scan_at and len(jobs) < free:
            context.next_scan_at = now + _POLL_SECONDS
        return bool(jobs or files)

    async def _run_file(self, file: SourceFile, operation: Operation) -> None:
        context, intake = self._context, FileIntake(self._context, file)
        job = None
        try:
            job = await intake.run()
        except Exception as failure:  # noqa: BLE001 - fails only this file
            await context.fail_unexpectedly(intake.leased_row, failure)
        finally:
            context.uploading -= 1
            if job is None:
                context.in_flight -= 1
            context.slot_freed.notify()
        if job is not None:
            await self._run_job(job, operation)

    async def _run_job(self, job: RestorationJob, operation: Operation) -> None:
        runner, waiting = JobRunner(self._context, job, operation), False
        try:
            waiting = await runner.start(self._wait_ended)
        except Exception as failure:  # noqa: BLE001 - fails only this job
            await self._context.fail_unexpectedly(job, failure)
        finally:
            if waiting:
                self._waiting.add(runner)
            else:
                self._job_ended()

    def _wait_ended(self, runner: JobRunner, end: WaitEnd) -> None:
        if not self._is_ending:
            self._start(partial(self._finish_job, runner, end))

    async def _finish_job(self, runner: JobRunner, end: WaitEnd) -> None:
        self._waiting.discard(runner)
        with runner.operation:
            try:
                await runner.finish(end)
            except Exception as failure:  # noqa: BLE001 - fails only this job
                await self._context.fail_unexpectedly(runner.job, failure)
            finally:
                self._job_ended()

    def _job_ended(self) -> None:
        self._context.in_flight -= 1
        self._context.slot_freed.notify()

    async def _lease_downloads(self) -> None:
        """Start downloads while there are free slots and the disk accepts writes."""
        context = self._context
        while self._failure is None and context.downloads_stopped is None:
            version, finished = context.result_ready.version, self._finished
            free = context.executor.max_downloads - context.downloading
            leased = list[ResultDownload]()
            if free > 0 and not context.congestion.pause:
                leased = await self._journal.transition(lease_downloads, free)
                self._more_downloads = len(leased) == free
            else:
                self._more_downloads = True
            for download in leased:
                context.downloading += 1
                ids = {"generation_id": download.generation, "api_project_id": download.project}
                run_download = partial(self._run_download, download)
                self._start(partial(self._as_operation, "batch_download", run_download, **ids))
            if len(leased) == free > 0:
                continue
            is_idle = not context.congestion.pause or context.congestion.should_give_up
            if finished and not context.downloading and is_idle:
                break
            await context.result_ready.wait(version, self._scan_interval())
        while context.downloading and self._failure is None:
            await context.result_ready.wait(context.result_ready.version, _POLL_SECONDS)

    async def _run_download(self, download: ResultDownload, _: Operation) -> None:
        context = self._context
        try:
            await ResultDownloader(context, download).run()
        except Exception as failure:  # noqa: BLE001 - fails only this result
            await context.fail_unexpectedly(download, failure)
        finally:
            context.downloading -= 1
            if self._more_downloads or self._finished:
                context.result_ready.notify()
            if not context.in_flight:
                context.slot_freed.notify()
