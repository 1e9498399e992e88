"""What becomes of a work or a result when a call failed: again later, or over."""

from __future__ import annotations

import errno
import shlex
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async._logging import log
from diffio_async._protocol.api_errors import encodable
from diffio_async._protocol.retry import is_retryable
from diffio_async._storage.system_errors import caused_by, shortage_of
from diffio_async.batch import file_queries, job_queries, result_queries
from diffio_async.batch.records import LeaseLost, RestorationJob, SourceFile
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
    from diffio_async.batch.file_queries import Problem
    from diffio_async.batch.records import ResultDownload


class FailureKind(Enum):
    """What to do about a failure."""

    #: Nothing new is begun: every file would meet it.
    FATAL = "everybody's"
    #: Wait a little, and try again.
    TRANSIENT = "the weather"
    #: Try this file again, a few times.
    UNEXPECTED = "odd"
    #: This file fails, and no other.
    FILE = "alone"


#: The disk of the results failed: for all of them, where a source has only its own bad blocks.
_DISK_FAILED = frozenset({errno.EIO})
_PERMANENT = (InvalidSource, InvalidTarget, ConfigurationError, GenerationFailed)
_FATAL = (AuthenticationFailed, PaymentRequired, PermissionDenied)


def root_of(failure: DiffioError) -> DiffioError:
    """What is at the bottom of a failed transfer."""
    while isinstance(failure, (UploadFailed, DownloadFailed)) and isinstance(
        failure.__cause__, DiffioError
    ):
        failure = failure.__cause__
    return failure


def classify(failure: DiffioError) -> FailureKind:
    """What a failure means."""
    root = root_of(failure)
    shortage = shortage_of(failure)
    if shortage is not None:
        return FailureKind.TRANSIENT if shortage.transient else FailureKind.FATAL
    if isinstance(root, _FATAL) or (isinstance(root, ConnectionFailed) and root.permanent):
        return FailureKind.FATAL
    if isinstance(root, _PERMANENT):
        return FailureKind.FILE
    # A portal's page, where the answer should be, is weather too.
    if is_retryable(root) or isinstance(root, (InvalidResponse, NotReady, ServerError)):
        return FailureKind.TRANSIENT
    if isinstance(root, ApiError):
        # Elsewhere than at the API, 4xx is mostly an offer that expired.
        return FailureKind.FILE if type(root) is not ApiError else FailureKind.UNEXPECTED
    return FailureKind.UNEXPECTED


def short(failure: DiffioError) -> bool:
    """Whether the process is short of something that its work gives back when it ends."""
    shortage = shortage_of(failure)
    return shortage is not None and shortage.transient


def is_throttled(failure: DiffioError) -> bool:
    """Whether less at a time is asked for: by the server, or by what this process is short of."""
    root = root_of(failure)
    return (
        short(failure)
        or isinstance(root, RateLimited)
        or (isinstance(root, ServerError) and root.retry_after is not None)
    )


def outcome_unknown(failure: DiffioError) -> bool:
    """Whether the server may have done what it did not confirm."""
    return isinstance(failure, (ResponseLost, ServerError, InvalidResponse))


def disk_is_full(failure: DiffioError) -> bool:
    """Whether no result could be written, of any file."""
    shortage = shortage_of(failure)
    if shortage is not None:
        return not shortage.transient
    return caused_by(failure, _DISK_FAILED)


#: Tries of one step of one file in a run, where the failure seems to be its own.
MAX_ATTEMPTS = 4
#: Characters of an error that the journal keeps.
_LONGEST = 4000
#: The API's code where a generation has no result of a type.
_NO_SUCH_TYPE = "downloadUnavailable"


def error_record(failure: Exception) -> Problem:
    """The class and the text of a failure, as the journal keeps them."""
    return type(failure).__name__, encodable(str(failure))[:_LONGEST]


def is_gone(failure: DiffioError) -> bool:
    """Whether the service does not know the generation, rather than one type of its results."""
    return type(failure) is NotFound and failure.code != _NO_SUCH_TYPE


def lost_problem(desk: RunContext, failure: DiffioError, generation: str, project: str) -> Problem:
    """The failure where a journalled generation is unknown, with what can be done."""
    text = str(failure).rstrip(".")
    return type(failure).__name__, (
        f"{text}. The service no longer knows generation {generation} of project {project}; its "
        "result cannot be fetched. With retry_failed=True (diffio-async batch retry "
        f"{shlex.quote(desk.journal.path)}) the recording is restored again, and billed again"
    )


def decide_retry(
    desk: RunContext, failure: DiffioError, tries: int, successes: int
) -> tuple[bool, bool]:
    """Whether to try again, and whether that counts as a try.

    `successes` is how many there had been when the step began: a failure among successes is the
    step's own, one among failures is the weather's.

    Raises:
        DiffioError: It ends the run: the client is closed, or the journal cannot be written.
    """
    root = root_of(failure)
    if isinstance(root, (ClientClosed, DatabaseError)):
        raise root
    kind = classify(failure)
    if kind is FailureKind.FATAL:
        desk.stop(failure)
        return True, False
    if kind is FailureKind.FILE:
        return False, True
    counts = not short(failure) and (
        kind is FailureKind.UNEXPECTED or desk.congestion.successes > successes
    )
    if kind is FailureKind.TRANSIENT:
        desk.congestion.on_failure(failure)
        if desk.congestion.should_give_up:
            desk.stop(failure)
            return True, False
    return tries < MAX_ATTEMPTS or not counts, counts


async def file_set_back(
    desk: RunContext, file: SourceFile, failure: DiffioError, successes: int
) -> None:
    """A file's turn failed before it had a work: it comes again later, or the file fails."""
    journal = desk.journal
    again, _ = decide_retry(desk, failure, file.tries, successes)
    if again:
        delay = desk.congestion.pause
        await journal.write(file_queries.requeue_file, journal.run_id, file.id, delay)
        desk.poll_in(delay)
        return
    problem = error_record(failure)
    await journal.write(
        file_queries.file_failed, journal.run_id, file.id, (problem[0], file.problem or problem[1])
    )
    if desk.plan.on_error == "stop":
        desk.stop(failure)


async def requeue_or_fail(
    desk: RunContext, work: RestorationJob, failure: DiffioError, successes: int
) -> None:
    """A step of a work failed: it is taken up again later, or its files fail."""
    journal = desk.journal
    again, counts = decide_retry(desk, failure, work.tries + 1, successes)
    if again:
        delay = desk.congestion.pause
        await journal.write(job_queries.requeue_job, journal.run_id, work.id, delay, counts=counts)
        desk.poll_in(delay)
        return
    await journal.write(
        job_queries.job_failed, journal.run_id, work.id, error_record(failure), again=True
    )
    if desk.plan.on_error == "stop":
        desk.stop(failure)


async def requeue_or_fail_download(
    desk: RunContext, fetch: ResultDownload, failure: DiffioError, successes: int
) -> None:
    """A download failed: it is begun again later, or the result fails."""
    journal = desk.journal
    again, counts = decide_retry(desk, failure, fetch.tries, successes)
    if desk.stopped is failure:
        # What may not be asked for is not asked for again and again.
        desk.pending_downloads = failure
    if again:
        delay = desk.congestion.pause
        await journal.write(
            result_queries.requeue_download, journal.run_id, fetch, delay, counts=counts
        )
        desk.poll_in(delay)
        return
    await journal.write(
        result_queries.download_failed,
        journal.run_id,
        fetch,
        error_record(failure),
        again=True,
        ours=True,
    )
    if desk.plan.on_error == "stop":
        desk.stop(failure)


async def broken(
    desk: RunContext, row: SourceFile | RestorationJob | ResultDownload, failure: Exception
) -> None:
    """Fail one file, or the files of one work, for an error that nothing expects.

    Raises:
        Exception: It concerns the whole run: the journal, the client, what the process is short of.
    """
    if isinstance(failure, (LeaseLost, DiffioError)) or shortage_of(failure) is not None:
        raise failure
    log.error("%s failed unexpectedly; the batch continues", _called(row), exc_info=failure)
    journal, problem = desk.journal, error_record(failure)
    if isinstance(row, SourceFile):
        await journal.write(file_queries.file_failed, journal.run_id, row.id, problem)
    elif isinstance(row, RestorationJob):
        await journal.write(job_queries.work_broken, journal.run_id, row.id, problem)
    else:
        await journal.write(
            result_queries.download_failed, journal.run_id, row, problem, again=True, ours=row.ours
        )
    desk.ended.notify()
    if desk.plan.on_error == "stop":
        desk.stop(failure)


def _called(row: SourceFile | RestorationJob | ResultDownload) -> str:
    # Not by its repr, which has the credentials of an upload.
    if isinstance(row, SourceFile):
        return f"the file {row.path!r}"
    if isinstance(row, RestorationJob):
        return f"recording {row.id} of the journal (project {row.project or 'unknown'})"
    return f"the {row.kind} of generation {row.generation}"
