"""State shared by the stages of one run, and how a failure changes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._reporting import log
from diffio_async._storage.system_errors import shortage_of
from diffio_async._storage.threads import Notifier
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.failures import (
    FailureClass,
    classify,
    error_record,
    is_shortage,
    root_cause,
)
from diffio_async.batch.schema import LeaseLost, RestorationJob, ResultDownload, SourceFile
from diffio_async.errors import ClientClosed, DatabaseError, DiffioError

if TYPE_CHECKING:
    from diffio_async._polling.detached_waits import DetachedWaits
    from diffio_async.batch.executor import Executor
    from diffio_async.batch.failures import CongestionControl
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.request import Plan
    from diffio_async.resources.generations import AsyncGenerations

LeasedRow = SourceFile | RestorationJob | ResultDownload

#: Attempts of one step of one file in a run, not counting transient failures.
MAX_ATTEMPTS = 4
#: Seconds added to a delay, because the journal's clock may differ from the loop's.
_CLOCK_TOLERANCE = 0.002


@define(eq=False)
class RunContext:
    """State shared by the stages of one run.

    `stop_reason` is why no new job is started, `downloads_stopped` why no download is started.
    `slot_freed` is notified when a new job may start, `result_ready` when a result may be
    downloaded, `file_ended` when a file may have ended.
    """

    journal: Journal
    executor: Executor
    generations: AsyncGenerations
    plan: Plan
    congestion: CongestionControl
    waits: DetachedWaits
    slot_freed: Notifier = field(factory=Notifier)
    result_ready: Notifier = field(factory=Notifier)
    file_ended: Notifier = field(factory=Notifier)
    stop_reason: Exception | str | None = None
    downloads_stopped: Exception | None = None
    uploading: int = 0
    in_flight: int = 0
    downloading: int = 0
    #: When transcripts were first found to be pending, in monotonic seconds.
    transcript_pending_since: dict[tuple[int, str], float] = field(factory=dict)
    #: When the journal is scanned for rows without a lease, in monotonic seconds.
    next_scan_at: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    #: Number of results that each worker of a cluster has stored, by its address.
    stored_results: Counter[str] = field(factory=Counter)
    _restarted_jobs: set[int] = field(factory=set)

    def stop(self, reason: Exception | str) -> None:
        """Start nothing new; running steps continue to their end."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.notify_all()

    def on_file_failed(self, failure: Exception) -> None:
        """Report a failed file, and stop the run if `on_error` is `stop`."""
        self.file_ended.notify()
        if self.plan.on_error == "stop":
            self.stop(failure)

    async def requeue_or_fail(self, row: LeasedRow, failure: DiffioError, successes: int) -> None:
        """Requeue a leased row whose step failed, or fail it; arguments as in `_decide_retry`."""
        # The attempts of a job are counted when they fail, the others when the row is leased.
        attempts = row.attempts + isinstance(row, RestorationJob)
        retry, counts = self._decide_retry(failure, attempts, successes)
        if isinstance(row, ResultDownload) and self._is_fatal(failure):
            # No other download can succeed either, whatever stopped the run first.
            self.downloads_stopped = self.downloads_stopped or failure
        if not retry:
            await self.fail(row, failure)
            return
        transition, delay = self.journal.transition, self.congestion.pause
        match row:
            case SourceFile():
                await transition(file_queries.requeue_file, row.id, delay)
            case RestorationJob():
                await transition(job_queries.requeue_job, row.id, delay, counts=counts)
            case ResultDownload():
                await transition(file_queries.requeue_download, row, delay, counts=counts)
        self.scan_in(delay)

    def _is_fatal(self, failure: DiffioError) -> bool:
        """Whether a failure ends the run: it is not of one file, or it lasts too long."""
        failure_class = classify(failure)
        if failure_class is FailureClass.TRANSIENT:
            return self.congestion.should_give_up
        return failure_class is FailureClass.FATAL

    def _decide_retry(
        self, failure: DiffioError, attempts: int, successes: int
    ) -> tuple[bool, bool]:
        """Return whether to retry a step, and whether the failure counts as an attempt.

        `successes` is the run's count of successes when the step started: a transient failure
        counts only if other steps succeeded meanwhile.

        Raises:
            DiffioError: The client is closed or the journal cannot be written, which ends the run.
        """
        root = root_cause(failure)
        if isinstance(root, (ClientClosed, DatabaseError)):
            raise root
        failure_class = classify(failure)
        if failure_class is FailureClass.FILE:
            return False, True
        counts = not is_shortage(failure) and (
            failure_class is FailureClass.UNEXPECTED or self.congestion.successes > successes
        )
        if failure_class is FailureClass.TRANSIENT:
            self.congestion.on_failure(failure)
        if self._is_fatal(failure):
            self.stop(failure)
            return True, False
        return attempts < MAX_ATTEMPTS or not counts, counts

    async def fail(
        self,
        row: LeasedRow,
        failure: Exception,
        *,
        retryable: bool = True,
        owned: bool = True,
    ) -> None:
        """Fail a leased row, with the files of a job.

        Args:
            row: The row.
            failure: The reason.
            retryable: Whether another run may retry it without cost.
            owned: Whether a file that the batch wrote may exist at the path of a result.
        """
        transition, problem = self.journal.transition, error_record(failure)
        match row:
            case SourceFile():
                problem = problem[0], row.problem or problem[1]
                await transition(file_queries.fail_file, row.id, problem)
            case RestorationJob():
                await transition(job_queries.fail_job, row.id, problem, retryable=retryable)
            case ResultDownload():
                await transition(
                    file_queries.fail_download, row, problem, retryable=retryable, owned=owned
                )
        self.on_file_failed(failure)

    async def fail_unexpectedly(self, row: LeasedRow, failure: Exception) -> None:
        """Fail one file, or the files of one job, after an unexpected error.

        Raises:
            Exception: The error concerns the whole run: the journal, the client, or a shortage.
        """
        if isinstance(failure, (LeaseLost, DiffioError)) or shortage_of(failure) is not None:
            raise failure
        log.error("%s failed unexpectedly; the batch continues", _describe(row), exc_info=failure)
        if isinstance(row, RestorationJob):
            problem = error_record(failure)
            await self.journal.transition(job_queries.fail_broken_job, row.id, problem)
            self.on_file_failed(failure)
        else:
            await self.fail(row, failure, owned=isinstance(row, ResultDownload) and row.owned)

    def may_restart(self, job: int) -> bool:
        """Return whether to restart a job whose generation is unknown: once, if unbilled."""
        if not self.plan.unbilled or job in self._restarted_jobs:
            return False
        self._restarted_jobs.add(job)
        return True

    def scan_in(self, seconds: float) -> None:
        """Scan the journal after a delay, when a requeued row is due."""
        asyncio.get_running_loop().call_later(seconds + _CLOCK_TOLERANCE, self.scan_now)

    def scan_now(self) -> None:
        """Scan the journal for rows without a lease as soon as possible."""
        self.next_scan_at = 0.0
        self.notify_all()

    def notify_all(self) -> None:
        """Wake the waiters of all notifiers."""
        for notifier in (self.slot_freed, self.result_ready, self.file_ended):
            notifier.notify()


def _describe(row: LeasedRow) -> str:
    # The repr would contain the credentials of an upload.
    match row:
        case SourceFile():
            return f"the file {row.path!r}"
        case RestorationJob():
            return f"recording {row.id} of the journal (project {row.project or 'unknown'})"
        case ResultDownload():
            return f"the {row.download_type} of generation {row.generation}"
