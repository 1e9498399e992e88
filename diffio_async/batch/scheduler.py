"""One run over a journal: takes what can be done, a bounded number at a time, until nothing is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from diffio_async._storage.system_errors import shortage_of
from diffio_async.batch import leases
from diffio_async.batch.assignment import lease_files
from diffio_async.batch.context import MAX_DOWNLOADS
from diffio_async.batch.failures import broken
from diffio_async.batch.intake import FileIntake
from diffio_async.batch.job_queries import lease_jobs
from diffio_async.batch.job_runner import JobRunner
from diffio_async.batch.journal_queries import unfinished
from diffio_async.batch.records import LeaseLost, RestorationJob, ResultDownload, SourceFile
from diffio_async.batch.result_downloader import ResultDownloader
from diffio_async.batch.result_queries import lease_downloads
from diffio_async.errors import DiffioError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from diffio_async.batch.context import RunContext

#: Seconds between two looks at what other runs left.
_POLL_SECONDS = 1.0


class Run:
    """Three stages over one journal, which is the queue between them.

    Each holds a bounded number of rows; the rest waits on the disk, however many files there are.
    """

    def __init__(self, desk: RunContext) -> None:
        self._context = desk
        self._journal = desk.journal
        desk.start_download = self._start_download
        self._finished = False
        self._more_files = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Work until nothing is left, or what stopped the batch has let the rest end.

        Raises:
            DiffioError: The journal cannot be written, or the client was closed.
        """
        loops = [
            asyncio.create_task(self._run_task(work))
            for work in (self._heartbeat(), self._lease_downloads(), self._schedule())
        ]
        try:
            await asyncio.gather(*loops[1:])
        finally:
            tasks = [*loops, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    async def _run_task(self, work: Coroutine[None, None, None]) -> None:
        """Whatever ends a part that nothing should end, ends the run."""
        try:
            await work
        except LeaseLost:
            pass
        except Exception as failure:  # noqa: BLE001 - raised by `run`
            if self._failure is None:
                self._failure = failure
            self._context.notify_all()

    async def _begun(self, work: Coroutine[None, None, None]) -> None:
        """One step: where the process is short of something, what runs goes on to its end."""
        try:
            await work
        except Exception as failure:
            if isinstance(failure, DiffioError) or shortage_of(failure) is None:
                raise
            self._context.stop(failure)
            # Its result is the next run's.
            self._context.pending_downloads = self._context.pending_downloads or failure

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._run_task(self._begun(work)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(leases.HEARTBEAT_SECONDS)
            if await self._journal.heartbeat():
                self._context.poll_now()

    async def _schedule(self) -> None:
        """Begin works and files as long as there is room for them."""
        desk = self._context
        while self._failure is None and desk.stopped is None:
            told = desk.has_room.version
            if not await self._lease():
                if not desk.in_flight and await self._nothing_left():
                    break
                await desk.has_room.wait(told, self._pause())
        while desk.in_flight and self._failure is None:
            await desk.has_room.wait(desk.has_room.version, _POLL_SECONDS)
        self._finished = True
        desk.ready.notify()

    def _pause(self) -> float:
        """Seconds until there may be something to do, though nobody tells."""
        return min(_POLL_SECONDS, self._context.congestion.pause or _POLL_SECONDS)

    async def _nothing_left(self) -> bool:
        fetching = self._context.pending_downloads is None
        return not await self._journal.read(unfinished, fetching=fetching)

    async def _lease(self) -> bool:
        """Begin what there is room for; whether there was anything."""
        desk = self._context
        room = desk.plan.max_in_flight - desk.in_flight
        if room <= 0 or desk.congestion.pause:
            return False
        works, files = list[RestorationJob](), list[SourceFile]()
        now = time.monotonic()
        if now >= desk.poll_at:
            # Works without a run are few: those of dead ones, and those put back.
            works = await self._journal.write(lease_jobs, self._journal.run_id, room)
            for work in works:
                desk.in_flight += 1
                self._start(self._run_job(work))
        uploads = min(room - len(works), int(desk.congestion.limit) - desk.uploading)
        if uploads > 0 and (self._more_files or now >= desk.poll_at):
            files = await self._journal.write(lease_files, self._journal.run_id, uploads)
            self._more_files = len(files) == uploads
            for file in files:
                desk.in_flight += 1
                desk.uploading += 1
                self._start(self._file(file))
        if now >= desk.poll_at and len(works) < room:
            desk.poll_at = now + _POLL_SECONDS
        return bool(works or files)

    async def _file(self, file: SourceFile) -> None:
        desk, intake = self._context, FileIntake(self._context, file)
        try:
            try:
                work = await intake.run()
            finally:
                desk.uploading -= 1
                desk.has_room.notify()
            if work is not None:
                await JobRunner(desk, work).run()
        except Exception as failure:  # noqa: BLE001 - this file's, whatever it is
            await broken(desk, intake.held, failure)
        finally:
            desk.in_flight -= 1
            desk.has_room.notify()

    async def _run_job(self, work: RestorationJob) -> None:
        try:
            await JobRunner(self._context, work).run()
        except Exception as failure:  # noqa: BLE001 - this work's, whatever it is
            await broken(self._context, work, failure)
        finally:
            self._context.in_flight -= 1
            self._context.has_room.notify()

    async def _lease_downloads(self) -> None:
        """Begin downloads as long as there is room for them and the disk takes them."""
        desk = self._context
        while self._failure is None and desk.pending_downloads is None:
            told, over = desk.ready.version, self._finished
            room = MAX_DOWNLOADS - desk.downloading
            found = list[ResultDownload]()
            if room > 0 and not desk.congestion.pause:
                found = await self._journal.write(lease_downloads, self._journal.run_id, room)
                desk.ready_notifier = len(found) == room
            for fetch in found:
                self._start_download(fetch)
            if len(found) == room > 0:
                continue
            if (
                over
                and not desk.downloading
                and (not desk.congestion.pause or desk.congestion.should_give_up)
            ):
                break
            await desk.ready.wait(told, self._pause())
        while desk.downloading and self._failure is None:
            await desk.ready.wait(desk.ready.version, _POLL_SECONDS)

    def _start_download(self, fetch: ResultDownload) -> None:
        self._context.downloading += 1
        self._start(self._download(fetch))

    async def _download(self, fetch: ResultDownload) -> None:
        desk = self._context
        try:
            await ResultDownloader(desk, fetch).run()
        except Exception as failure:  # noqa: BLE001 - this result's, whatever it is
            await broken(desk, fetch, failure)
        finally:
            desk.downloading -= 1
            if desk.ready_notifier or self._finished:
                desk.ready.notify()
            if not desk.in_flight:
                desk.has_room.notify()
