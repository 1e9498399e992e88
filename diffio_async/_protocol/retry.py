"""May a call be sent again, and after how long? Pure: time and randomness are arguments."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async.errors import ApiError, ConnectionFailed, ResponseLost

if TYPE_CHECKING:
    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy

#: Statuses that another try may mend, as the contract names them.
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
#: Statuses that, with `Retry-After`, say that the request was not accepted.
THROTTLE_STATUSES = frozenset({429, 503})


def backoff(attempt: int, initial: float, maximum: float) -> float:
    """Return the longest delay after attempt number `attempt` (from 1), in seconds: it doubles."""
    # The exponent is bounded: a policy of a thousand attempts must not overflow.
    return min(maximum, initial * 2.0 ** min(attempt - 1, 60))


class RetrySafety(Enum):
    """What sending a call a second time would do. Every endpoint is a POST, so the call must say.

    READ changes nothing. KEYED carries an idempotency key. IDEMPOTENT has the same effect twice
    as once. NEVER would be done (and billed) twice.
    """

    READ = "read"
    KEYED = "keyed"
    IDEMPOTENT = "idempotent"
    NEVER = "never"


def is_safe_to_retry(replay: RetrySafety, failure: DiffioError) -> bool:
    """Whether a second sending is harmless, whatever became of the first."""
    if replay is not RetrySafety.NEVER or isinstance(failure, ConnectionFailed):
        return True
    return (
        isinstance(failure, ApiError)
        and failure.status in THROTTLE_STATUSES
        and failure.retry_after is not None
    )


def is_retryable(failure: DiffioError, also: frozenset[int] = frozenset()) -> bool:
    """Whether another try may mend it; `also` adds statuses."""
    if isinstance(failure, ConnectionFailed):
        return not failure.permanent
    if isinstance(failure, ApiError):
        return failure.status in RETRYABLE_STATUSES or failure.status in also
    return isinstance(failure, ResponseLost)


def retry_delay(
    policy: RetryPolicy,
    replay: RetrySafety,
    failure: DiffioError,
    *,
    attempt: int,
    elapsed: float,
    jitter: float,
    also: frozenset[int] = frozenset(),
) -> float | None:
    """Seconds until the next attempt, or None to stop and raise `failure`.

    Args:
        policy: The limits.
        replay: What a second sending would do.
        failure: What became of attempt number `attempt` (from 1).
        attempt: How many attempts were made.
        elapsed: Seconds since the first attempt began.
        jitter: A random number from 0 to 1, this pause's share of the longest one.
        also: Statuses that are transient for this call beside the usual ones.
    """
    if attempt >= policy.attempts or not is_safe_to_retry(replay, failure):
        return None
    verdict = policy.on(failure) if policy.on is not None else None
    if verdict is False or (verdict is None and not is_retryable(failure, also)):
        return None
    requested_delay = failure.retry_after if isinstance(failure, ApiError) else None
    if verdict is not None and verdict is not True:
        delay = float(verdict)
        if not math.isfinite(delay):
            # "Again after for ever" is never.
            return None
        delay = max(0.0, delay)
    elif requested_delay is not None:
        if requested_delay > policy.max_retry_after:
            return None
        delay = requested_delay
    else:
        delay = jitter * backoff(attempt, policy.initial_delay, policy.max_delay)
    if policy.total_timeout is not None and elapsed + delay >= policy.total_timeout:
        return None
    return delay
