"""May a call be sent again, and after how long? Pure: time and randomness are arguments."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async.errors import AnswerLost, ApiError, NotReached

if TYPE_CHECKING:
    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy

#: Statuses that another try may mend, as the contract names them.
WORTH_A_RETRY = frozenset({408, 429, 500, 502, 503, 504})
#: Statuses that, with `Retry-After`, say that the request was not accepted.
REFUSED_FOR_NOW = frozenset({429, 503})


class Replay(Enum):
    """What sending a call a second time would do. Every endpoint is a POST, so the call must say.

    READ changes nothing. KEYED carries an idempotency key. IDEMPOTENT has the same effect twice
    as once. NEVER would be done (and billed) twice.
    """

    READ = "read"
    KEYED = "keyed"
    IDEMPOTENT = "idempotent"
    NEVER = "never"


def may_repeat(replay: Replay, failure: DiffioError) -> bool:
    """Whether a second sending is harmless, whatever became of the first."""
    if replay is not Replay.NEVER or isinstance(failure, NotReached):
        return True
    return (
        isinstance(failure, ApiError)
        and failure.status in REFUSED_FOR_NOW
        and failure.retry_after is not None
    )


def transient(failure: DiffioError, also: frozenset[int] = frozenset()) -> bool:
    """Whether another try may mend it; `also` adds statuses."""
    if isinstance(failure, NotReached):
        return not failure.permanent
    if isinstance(failure, ApiError):
        return failure.status in WORTH_A_RETRY or failure.status in also
    return isinstance(failure, AnswerLost)


def next_delay(
    policy: RetryPolicy,
    replay: Replay,
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
    if attempt >= policy.attempts or not may_repeat(replay, failure):
        return None
    verdict = policy.on(failure) if policy.on is not None else None
    if verdict is False or (verdict is None and not transient(failure, also)):
        return None
    asked = failure.retry_after if isinstance(failure, ApiError) else None
    if verdict is not None and verdict is not True:
        delay = float(verdict)
        if not math.isfinite(delay):
            # "Again after for ever" is never.
            return None
        delay = max(0.0, delay)
    elif asked is not None:
        if asked > policy.retry_after_cap:
            return None
        delay = asked
    else:
        # The exponent is bounded, so that a policy of a thousand attempts does not overflow.
        delay = jitter * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 60))
    if policy.budget is not None and elapsed + delay >= policy.budget:
        return None
    return delay
