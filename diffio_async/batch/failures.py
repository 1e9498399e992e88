"""Classify failures, and requeue or fail the file, job or result concerned."""

from __future__ import annotations

import errno
import shlex
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async._logging import log
from diffio_async._protocol.codec import encodable
from diffio_async._protocol.retry import is_retryable
from diffio_async._storage.system_errors import caused_by, shortage_of
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.schema import LeaseLost, RestorationJob, ResultDownload, SourceFile
from diffio_async.errors import (
    ApiError,
    AuthenticationFailed,
    ClientClosed,
    ConfigurationError,
    ConnectionFailed,
    DatabaseError,
    DiffioError,
    DownloadFailed,
    GenerationFailed,
    InvalidResponse,
    InvalidSource,
    InvalidTarget,
    NotFound,
    NotReady,
    PaymentRequired,
    PermissionDenied,
    RateLimited,
    ResponseLost,
    ServerError,
    UploadFailed,
)

if TYPE_CHECKING:
    from diffio_async.batch.context import RunContext
    from diffio_async.batch.file_queries import ErrorRecord


LeasedRow = SourceFile | RestorationJob | ResultDownload


class FailureClass(Enum):
    """What a failure means for the batch."""

    #: Start nothing new: every file would fail.
    FATAL = "fatal"
    #: Pause, then retry.
    TRANSIENT = "transient"
    #: Retry this file a limited number of times.
    UNEXPECTED = "unexpected"
    #: Only this file fails.
    FILE = "file"


#: Errors of the disk of the results, which concern all files.
_DISK_FAILED = frozenset({errno.EIO})
_PERMANENT = (InvalidSource, InvalidTarget, ConfigurationError, GenerationFailed)
_FATAL = (AuthenticationFailed, PaymentRequired, PermissionDenied)


def root_cause(failure: DiffioError) -> DiffioError:
    """Return the error that caused a failed transfer."""
    while isinstance(failure, (UploadFailed, DownloadFailed)) and isinstance(
        failure.__cause__, DiffioError
    ):
        failure = failure.__cause__
    return failure


def classify(failure: DiffioError) -> FailureClass:
    """Return the class of a failure."""
    root = root_cause(failure)
    shortage = shortage_of(failure)
    if shortage is not None:
        return FailureClass.TRANSIENT if shortage.transient else FailureClass.FATAL
    if isinstance(root, _FATAL) or (isinstance(root, ConnectionFailed) and root.permanent):
        return FailureClass.FATAL
    if isinstance(root, _PERMANENT):
        return FailureClass.FILE
    # A captive portal responds with its own page, which is an `InvalidResponse`.
    if is_retryable(root) or isinstance(root, (InvalidResponse, NotReady, ServerError)):
        return FailureClass.TRANSIENT
    if isinstance(root, ApiError):
        # An unmapped 4xx comes from a storage host, mostly because a signed URL expired.
        return FailureClass.FILE if type(root) is not ApiError else FailureClass.UNEXPECTED
    return FailureClass.UNEXPECTED


def is_shortage(failure: DiffioError) -> bool:
    """Whether the process lacks a resource, such as file descriptors, that running steps free."""
    shortage = shortage_of(failure)
    return shortage is not None and shortage.transient


def is_throttled(failure: DiffioError) -> bool:
    """Whether the server, or a shortage in this process, requires less concurrency."""
    root = root_cause(failure)
    return (
        is_shortage(failure)
        or isinstance(root, RateLimited)
        or (isinstance(root, ServerError) and root.retry_after is not None)
    )


def outcome_unknown(failure: DiffioError) -> bool:
    """Whether the server may have executed the request without confirming it."""
    return isinstance(failure, (ResponseLost, ServerError, InvalidResponse))


def disk_is_full(failure: DiffioError) -> bool:
    """Whether the disk of the results accepts no writes."""
    shortage = shortage_of(failure)
    if shortage is not None:
        return not shortage.transient
    return caused_by(failure, _DISK_FAILED)


#: Attempts of one step of one file in a run, not counting transient failures.
MAX_ATTEMPTS = 4
#: Characters of an error message that the journal stores.
_MAX_ERROR_LENGTH = 4000
#: The API's error code for a download type that a generation does not have.
_TYPE_UNAVAILABLE = "downloadUnavailable"


def error_record(failure: Exception) -> ErrorRecord:
    """Return the class and the message of a failure, as the journal stores them."""
    return type(failure).__name__, encodable(str(failure))[:_MAX_ERROR_LENGTH]


def generation_is_unknown(failure: DiffioError) -> bool:
    """Whether the service does not know the generation (not just one download type)."""
    return type(failure) is NotFound and failure.code != _TYPE_UNAVAILABLE


def lost_generation_record(
    context: RunContext, failure: DiffioError, generation: str, project: str
) -> ErrorRecord:
    """Return the error record for a recorded generation that the service does not know."""
    text = str(failure).rstrip(".")
    return type(failure).__name__, (
        f"{text}. The service no longer knows generation {generation} of project {project}; its "
        "result cannot be downloaded. With retry_failed=True (diffio-async batch retry "
        f"{shlex.quote(context.journal.path)}) the recording is restored again, and billed again"
    )


def decide_retry(
    context: RunContext, failure: DiffioError, attempts: int, successes: int
) -> tuple[bool, bool]:
    """Return whether to retry a step, and whether the failure counts as an attempt.

    `successes` is the run's count of successes when the step started: a transient failure counts
    only if other steps succeeded meanwhile.

    Raises:
        DiffioError: The client is closed or the journal cannot be written, which ends the run.
    """
    root = root_cause(failure)
    if isinstance(root, (ClientClosed, DatabaseError)):
        raise root
    failure_class = classify(failure)
    if failure_class is FailureClass.FATAL:
        context.stop(failure)
        return True, False
    if failure_class is FailureClass.FILE:
        return False, True
    counts = not is_shortage(failure) and (
        failure_class is FailureClass.UNEXPECTED or context.congestion.successes > successes
    )
    if failure_class is FailureClass.TRANSIENT:
        context.congestion.on_failure(failure)
        if context.congestion.should_give_up:
            context.stop(failure)
            return True, False
    return attempts < MAX_ATTEMPTS or not counts, counts


async def requeue_or_fail(
    context: RunContext, row: LeasedRow, failure: DiffioError, successes: int
) -> None:
    """Requeue a leased row whose step failed, or fail it; arguments as in `decide_retry`."""
    # The attempts of a job are counted when they fail, the others when the row is leased.
    attempts = row.attempts + isinstance(row, RestorationJob)
    retry, counts = decide_retry(context, failure, attempts, successes)
    if isinstance(row, ResultDownload) and context.stop_reason is failure:
        # The failure is fatal to all downloads too.
        context.downloads_stopped = failure
    if not retry:
        await fail(context, row, failure)
        return
    transition, delay = context.journal.transition, context.congestion.pause
    match row:
        case SourceFile():
            await transition(file_queries.requeue_file, row.id, delay)
        case RestorationJob():
            await transition(job_queries.requeue_job, row.id, delay, counts=counts)
        case ResultDownload():
            await transition(file_queries.requeue_download, row, delay, counts=counts)
    context.scan_in(delay)


async def fail(
    context: RunContext,
    row: LeasedRow,
    failure: Exception,
    *,
    retryable: bool = True,
    owned: bool = True,
) -> None:
    """Fail a leased row, with the files of a job.

    Args:
        context: The run.
        row: The row.
        failure: The reason.
        retryable: Whether another run may retry it without cost.
        owned: Whether a file that the batch wrote may exist at the path of a result.
    """
    transition, problem = context.journal.transition, error_record(failure)
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
    context.on_file_failed(failure)


async def fail_unexpectedly(context: RunContext, row: LeasedRow, failure: Exception) -> None:
    """Fail one file, or the files of one job, after an unexpected error.

    Raises:
        Exception: The error concerns the whole run: the journal, the client, or a shortage.
    """
    if isinstance(failure, (LeaseLost, DiffioError)) or shortage_of(failure) is not None:
        raise failure
    log.error("%s failed unexpectedly; the batch continues", _describe(row), exc_info=failure)
    if isinstance(row, RestorationJob):
        problem = error_record(failure)
        await context.journal.transition(job_queries.fail_broken_job, row.id, problem)
        context.on_file_failed(failure)
    else:
        await fail(context, row, failure, owned=isinstance(row, ResultDownload) and row.owned)


def _describe(row: LeasedRow) -> str:
    # The repr would contain the credentials of an upload.
    match row:
        case SourceFile():
            return f"the file {row.path!r}"
        case RestorationJob():
            return f"recording {row.id} of the journal (project {row.project or 'unknown'})"
        case ResultDownload():
            return f"the {row.download_type} of generation {row.generation}"
