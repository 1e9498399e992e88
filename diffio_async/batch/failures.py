"""What a failure means: its class, its record in the journal, and the pause that it causes."""

from __future__ import annotations

import errno
import shlex
import time
from enum import Enum
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from diffio_async._protocol import limits
from diffio_async._protocol.api_errors import DOWNLOAD_UNAVAILABLE
from diffio_async._protocol.codec import encodable
from diffio_async._protocol.limits import ConcurrencyLimit
from diffio_async._protocol.retry import THROTTLE_STATUSES, is_retryable
from diffio_async._storage.system_errors import caused_by, shortage_of
from diffio_async.errors import (
    ApiError,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
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
    from diffio_async.batch.file_queries import ErrorRecord
    from diffio_async.options import RetryPolicy


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


#: Characters of an error message that the journal stores.
_MAX_ERROR_LENGTH = 4000


def error_record(failure: Exception) -> ErrorRecord:
    """Return the class and the message of a failure, as the journal stores them."""
    return type(failure).__name__, encodable(str(failure))[:_MAX_ERROR_LENGTH]


def generation_is_unknown(failure: DiffioError) -> bool:
    """Whether the service does not know the generation (not just one download type)."""
    return type(failure) is NotFound and failure.code != DOWNLOAD_UNAVAILABLE


def lost_generation_record(
    failure: DiffioError, generation: str, project: str, journal: str
) -> ErrorRecord:
    """Return the error record for a recorded generation that the service does not know."""
    text = str(failure).rstrip(".")
    return type(failure).__name__, (
        f"{text}. The service no longer knows generation {generation} of project {project}; its "
        "result cannot be downloaded. With retry_failed=True (diffio-async batch retry "
        f"{shlex.quote(journal)}) the recording is restored again, and billed again"
    )


#: Initial number of concurrent uploads.
_INITIAL_UPLOADS = 8
#: Throttled responses within so many seconds halve the limit once.
_DEBOUNCE_SECONDS = 1.0
#: Seconds of consecutive failures after which the batch stops.
GIVE_UP_SECONDS = 900.0


@define(eq=False)
class CongestionControl:
    """Limit of concurrent uploads, and pause of all steps after failures.

    `pause_reason` is the failure that caused the current pause.
    """

    _limit: ConcurrencyLimit = field(
        factory=lambda: ConcurrencyLimit(max=_INITIAL_UPLOADS, limit=_INITIAL_UPLOADS)
    )
    successes: int = 0
    pause_reason: str | None = None

    def allow(self, max_uploads: int) -> None:
        """Set the upper bound of the limit."""
        self._limit.max = max_uploads
        self._limit.limit = min(self._limit.limit, max_uploads)

    @property
    def limit(self) -> int:
        """Maximum number of concurrent uploads."""
        return self._limit.limit

    @property
    def pause(self) -> float:
        """Seconds until new steps may start."""
        return self._limit.remaining_pause(time.monotonic())

    @property
    def should_give_up(self) -> bool:
        """Whether every step has failed for `GIVE_UP_SECONDS`."""
        since = self._limit.failing_since
        return since is not None and time.monotonic() - since > GIVE_UP_SECONDS

    def on_success(self) -> None:
        """Count a successful step, and raise the limit."""
        self.successes += 1
        self.pause_reason = None
        self._limit.on_success()

    def on_failure(self, failure: DiffioError) -> None:
        """Pause after a transient failure, longer after each consecutive one."""
        now = time.monotonic()
        if is_throttled(failure):
            self.on_throttled(failure)
        before = self._limit.remaining_pause(now)
        self._limit.on_failure(now)
        if self._limit.remaining_pause(now) > before:
            self._explain(failure)

    def on_throttled(self, failure: DiffioError) -> None:
        """Halve the limit, and pause for the `Retry-After` of the response."""
        now, root = time.monotonic(), root_cause(failure)
        self._limit.on_throttled(now, started_at=now - _DEBOUNCE_SECONDS)
        retry_after = root.retry_after if isinstance(root, ApiError) else None
        if self._limit.pause(now, retry_after or limits.MIN_PAUSE):
            self._explain(failure)

    def _explain(self, failure: DiffioError) -> None:
        shortage = shortage_of(failure)
        self.pause_reason = str(root_cause(failure)) if shortage is None else shortage.text

    def with_throttle_hook(self, policy: RetryPolicy) -> RetryPolicy:
        """Return the policy with a hook that reports throttled responses of all calls."""

        def hook(failure: DiffioError) -> bool | float | None:
            if isinstance(failure, ApiError) and failure.status in THROTTLE_STATUSES:
                self.on_throttled(failure)
            return None if policy.on is None else policy.on(failure)

        return evolve(policy, on=hook)
