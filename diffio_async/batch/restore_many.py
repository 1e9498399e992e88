"""A batch: list the sources in the journal, run it, and yield the outcome of each file."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from attrs import define, evolve

from diffio_async._reporting import call_progress_callback, concerning_many, log
from diffio_async._storage.files import make_folder
from diffio_async._storage.system_errors import reason_of, shortage_of
from diffio_async._storage.threads import TrackedExecutor, wait_uncancelled
from diffio_async._store_url import StoreUrl
from diffio_async._stores.writing import check_writable
from diffio_async.batch.context import RunContext
from diffio_async.batch.executor import RunResources
from diffio_async.batch.failures import CongestionControl
from diffio_async.batch.file_queries import requeue_failed
from diffio_async.batch.job_queries import discard_uploads
from diffio_async.batch.journal import SANDBOX, Journal, account_of, bind_account
from diffio_async.batch.journal_queries import (
    LeftOutCounts,
    file_count,
    last_seq,
    left_out_after,
    left_out_counts,
    next_source,
    outcomes_after,
    remaining,
    unfinished,
)
from diffio_async.batch.listing import Listing
from diffio_async.batch.local_executor import LocalExecutor
from diffio_async.batch.naming import Naming, ResultDetector, is_case_insensitive
from diffio_async.batch.restart import restart_marked
from diffio_async.batch.scheduler import BatchRun
from diffio_async.batch.sources import Scan
from diffio_async.errors import (
    BatchStopped,
    ConfigurationError,
    DatabaseError,
    DiffioError,
    InvalidTarget,
)
from diffio_async.models.batches import BatchProgress, FileOutcome, LeftOut
from diffio_async.options import resolve_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async.batch.executor import Executor
    from diffio_async.batch.request import BatchRequest
    from diffio_async.options import ClientOptions
    from diffio_async.resources.account import AsyncAccounts
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects
    from diffio_async.types import Callback

#: Number of outcomes read from the journal at once.
_PAGE = 200
#: Seconds between scans for files that other runs ended, and between progress reports.
_POLL_SECONDS, _REPORT_SECONDS = 1.0, 0.25
#: Seconds during which outcomes are collected, to be read at once.
_BATCH_WINDOW = 0.05


async def run_batch(
    request: BatchRequest,
    *,
    projects: AsyncProjects,
    generations: AsyncGenerations,
    accounts: AsyncAccounts,
    options: ClientOptions,
    on_progress: Callback[BatchProgress] | None = None,
    on_left_out: Callback[LeftOut] | None = None,
) -> AsyncGenerator[FileOutcome, None]:
    """See `AsyncDiffio.restore_many`."""
    request.check()
    congestion = CongestionControl()
    retry = congestion.with_throttle_hook(resolve_options(options, request.plan.options).retry)
    plan = evolve(
        request.plan,
        timeout=options.wait.timeout if request.plan.timeout is None else request.plan.timeout,
        options=evolve(request.plan.options, retry=retry),
        max_upload_bytes=options.max_upload_bytes,
        unbilled=request.service == SANDBOX,
    )
    journal = await _open_journal(request)
    try:
        try:
            await list_sources(request, journal)
        except Exception as failure:
            if isinstance(failure, DatabaseError) or shortage_of(failure) is None:
                raise
            raise _listing_stopped(journal, failure) from failure
        if plan.unbilled:
            # The sandbox serves only this journal, and its ports have changed.
            await journal.write(discard_uploads)
        await _report_left_out(journal, on_left_out)
        is_finished = not await journal.read(unfinished, downloads=True)
        if not is_finished:
            # No request is sent if all files have ended.
            account = await account_of(accounts, request.plan.options)
            if account is not None:
                await journal.write(bind_account, journal.run_id, journal.path, account)
        async with contextlib.AsyncExitStack() as stack:
            executor: Executor = LocalExecutor(projects, generations, plan)
            if request.executor is not None and not is_finished:
                resources = RunResources(
                    uploader=projects._uploader,  # noqa: SLF001
                    generations=generations,
                    plan=plan,
                    sample=await journal.read(next_source),
                )
                executor = await stack.enter_async_context(request.executor.start_run(resources))
            congestion.allow(executor.max_uploads)
            waiting = generations._detached(plan.timeout, plan.options)  # noqa: SLF001
            waits = await stack.enter_async_context(waiting)
            context = RunContext(journal, executor, generations, plan, congestion, waits)
            async with aclosing(_outcomes(context, on_progress)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
            if context.stop_reason is not None or context.downloads_stopped is not None:
                raise await _stop_error(context)
    finally:
        await _close(journal)


async def _close(journal: Journal) -> None:
    """Close the journal, also if the task is cancelled meanwhile."""
    closing = asyncio.ensure_future(journal.close())
    await wait_uncancelled(closing)
    closing.result()


async def _open_journal(request: BatchRequest) -> Journal:
    root = request.plan.root
    if isinstance(root, StoreUrl):
        await _check_store(root)
    else:
        try:
            await TrackedExecutor().run(make_folder, root)
        except (OSError, ValueError) as failure:
            raise ConfigurationError(
                f"the folder {str(root)!r} cannot be created: {reason_of(failure)}"
            ) from failure
    journal = await Journal.open(request.journal)
    try:
        await journal.register(request)
    except BaseException:
        await _close(journal)
        raise
    return journal


async def _check_store(root: StoreUrl) -> None:
    """Check that results can be written, before anything is listed or sent."""
    try:
        await check_writable(root)
    except InvalidTarget as failure:
        raise ConfigurationError(str(failure)) from failure


async def list_sources(request: BatchRequest, journal: Journal) -> None:
    """List the sources in the journal, and requeue what failed or is marked."""
    if request.sources is not None:
        root, identity = request.plan.root, request.identity
        await journal.acquire_listing_lock()
        folded = not isinstance(root, StoreUrl) and await TrackedExecutor().run(
            is_case_insensitive, root
        )
        naming = Naming(identity.name, root, folded)
        scan = Scan(
            recursive=request.recursive,
            suffixes=request.suffixes,
            is_result=ResultDetector(naming, request.suffixes).is_result,
            root=root,
            journal=request.journal,
        )
        await Listing(scan, naming, identity, request.download_types).run(request.sources, journal)
    if request.marks:
        await journal.write(restart_marked, request.marks)
    await journal.write(requeue_failed, billed=request.retry_failed)


async def _report_left_out(journal: Journal, on_left_out: Callback[LeftOut] | None) -> None:
    counts = await journal.read(left_out_counts)
    if counts.reasons:
        log.info("left out while listing: %s", counts.describe())
    last, failed = 0, False
    while on_left_out is not None and (page := await journal.read(left_out_after, last, _PAGE)):
        for last, each in page:  # noqa: B007 - the start of the next page
            returned = await call_progress_callback(on_left_out, each, log_failure=not failed)
            failed |= not returned


async def _outcomes(
    context: RunContext, on_progress: Callback[BatchProgress] | None
) -> AsyncGenerator[FileOutcome, None]:
    """Run the batch, and yield outcomes as they are recorded, by this and other runs."""
    journal = context.journal
    before, seen = await journal.read(last_seq), 0
    counter = None if on_progress is None else await ProgressCounter.create(context)
    running = asyncio.create_task(BatchRun(context).run())
    running.add_done_callback(lambda _: context.notify_all())
    reported_at, failed = 0.0, False
    try:
        with concerning_many(context.waits.running):
            while True:
                is_done, version = running.done(), context.file_ended.version
                page = await journal.read(outcomes_after, seen, _PAGE, before)
                for number, outcome in page:
                    seen = number
                    if counter is not None:
                        counter.count(outcome)
                    yield outcome
                now = time.monotonic()
                if counter is not None and (now - reported_at >= _REPORT_SECONDS or is_done):
                    reported_at = now
                    progress = counter.progress()
                    failed |= not await call_progress_callback(
                        on_progress, progress, log_failure=not failed
                    )
                if page:
                    continue
                if is_done:
                    break
                await context.file_ended.wait(
                    version, _REPORT_SECONDS if on_progress is not None else _POLL_SECONDS
                )
                await asyncio.wait([running], timeout=_BATCH_WINDOW)
            try:
                running.result()
            except Exception as failure:
                if isinstance(failure, DiffioError) or shortage_of(failure) is None:
                    raise
                context.stop(failure)
    finally:
        running.cancel()
        await wait_uncancelled(running)


def _listing_stopped(journal: Journal, failure: Exception) -> BatchStopped:
    """Return the error for a shortage of resources before anything was sent."""
    shortage = shortage_of(failure)
    error = BatchStopped(
        f"the listing of the files stopped: {shortage.text if shortage else failure}. Nothing was "
        f"sent: correct it and run the same again, with the journal {journal.path!r}"
    )
    error.journal = journal.path
    return error


async def _stop_error(context: RunContext) -> BatchStopped:
    count = await context.journal.read(remaining)
    reason = context.stop_reason if context.stop_reason is not None else context.downloads_stopped
    text = reason_of(reason) if isinstance(reason, Exception) else str(reason)
    error = BatchStopped(
        f"the batch stopped: {text.rstrip('.')}. {count} of its files have not "
        "ended. Correct the cause, then run the same again to resume, with the journal "
        f"{context.journal.path!r}"
    )
    error.journal, error.remaining_files = context.journal.path, count
    if isinstance(reason, Exception):
        error.__cause__ = reason
    return error


@define(eq=False)
class ProgressCounter:
    """Counts of one run; `files` is the number at its start."""

    context: RunContext
    files: int
    left_out: LeftOutCounts
    started_at: float
    done: int = 0
    failed: int = 0
    finished_now: int = 0

    @classmethod
    async def create(cls, context: RunContext) -> Self:
        """Create a counter with the current number of files."""
        left_out = await context.journal.read(left_out_counts)
        return cls(context, await context.journal.read(file_count), left_out, time.monotonic())

    def count(self, outcome: FileOutcome) -> None:
        """Count an outcome."""
        if outcome.state == "failed":
            self.failed += 1
        else:
            self.done += 1
        self.finished_now += not outcome.from_earlier_run

    def progress(self) -> BatchProgress:
        """Return the current progress."""
        context, seconds = self.context, time.monotonic() - self.started_at
        waiting = max(0, self.files - self.done - self.failed)
        return BatchProgress(
            files=self.files,
            done=self.done,
            failed=self.failed,
            left_out=self.left_out.reasons.total(),
            passed_over=self.left_out.passed_over.total(),
            uploading=context.uploading,
            generating=context.in_flight - context.uploading,
            downloading=context.downloading,
            sent_bytes=context.sent_bytes,
            received_bytes=context.received_bytes,
            seconds=seconds,
            files_per_minute=60.0 * self.finished_now / seconds if seconds else 0.0,
            eta_seconds=waiting * seconds / self.finished_now if self.finished_now else None,
            workers=dict(context.stored_results),
            pause_reason=context.congestion.pause_reason if context.congestion.pause else None,
        )
