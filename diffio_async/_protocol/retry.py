"""Retries: whether a call may be sent again, and after how many seconds."""

from __future__ import annotations

import inspect
import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

from diffio_async._reporting import log
from diffio_async.errors import ApiError, ConnectionFailed, ResponseLost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy

#: Statuses that the contract names as transient.
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
#: Statuses that, with `Retry-After`, mean that the request was not accepted.
THROTTLE_STATUSES = frozenset({429, 503})
#: Seconds until a `Retry-After` date that are accepted when only this machine's clock is known.
_MAX_UNVERIFIED_WAIT = 60.0
#: Doublings of a backoff, so that a policy of a thousand attempts does not overflow.
_MAX_DOUBLINGS = 60


class RetrySafety(Enum):
    """The effect of sending a call twice. Every endpoint is a POST, so each call declares it.

    READ changes nothing. KEYED carries an idempotency key. IDEMPOTENT has the same effect twice
    as once. NEVER would be done (and billed) twice.
    """

    READ = "read"
    KEYED = "keyed"
    IDEMPOTENT = "idempotent"
    NEVER = "never"


def is_safe_to_retry(replay: RetrySafety, failure: DiffioError) -> bool:
    """Return whether a second request is harmless, whether or not the first was accepted."""
    if replay is not RetrySafety.NEVER or isinstance(failure, ConnectionFailed):
        return True
    return (
        isinstance(failure, ApiError)
        and failure.status in THROTTLE_STATUSES
        and failure.retry_after is not None
    )


def is_retryable(failure: DiffioError, also: frozenset[int] = frozenset()) -> bool:
    """Return whether another attempt may succeed; `also` adds statuses."""
    if isinstance(failure, ConnectionFailed):
        return not failure.permanent
    if isinstance(failure, ApiError):
        return failure.status in RETRYABLE_STATUSES or failure.status in also
    return isinstance(failure, ResponseLost)


def backoff(attempt: int, initial: float, maximum: float) -> float:
    """Return the longest delay after attempt number `attempt` (from 1), in seconds: it doubles."""
    return min(maximum, initial * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))


def retry_delay(
    policy: RetryPolicy,
    replay: RetrySafety,
    failure: DiffioError,
    *,
    attempt: int,
    elapsed: float | None,
    jitter: float,
    also: frozenset[int] = frozenset(),
) -> float | None:
    """Return the seconds until the next attempt, or None to stop and raise `failure`.

    Args:
        policy: The limits.
        replay: The effect of sending the call twice.
        failure: The failure of attempt number `attempt` (from 1).
        attempt: The number of attempts made.
        elapsed: Seconds since the first attempt started; None if the total time is not limited.
        jitter: A random number from 0 to 1, the share of the longest delay (full jitter).
        also: Statuses that are transient for this call in addition to the usual ones.
    """
    if attempt >= policy.attempts or not is_safe_to_retry(replay, failure):
        return None
    verdict = None if policy.on is None else _call_hook(policy.on, failure)
    if verdict is False or (verdict is None and not is_retryable(failure, also)):
        return None
    requested_delay = failure.retry_after if isinstance(failure, ApiError) else None
    if verdict is not None and verdict is not True:
        delay = float(verdict)
        if not math.isfinite(delay):
            return None
        delay = max(0.0, delay)
    elif requested_delay is not None:
        if requested_delay > policy.max_retry_after:
            return None
        delay = requested_delay
    else:
        delay = jitter * backoff(attempt, policy.initial_delay, policy.max_delay)
    if policy.total_timeout is None or elapsed is None:
        return delay
    return delay if elapsed + delay < policy.total_timeout else None


def _call_hook(hook: Callable[[DiffioError], object], failure: DiffioError) -> bool | float | None:
    """Return a retry hook's decision; None if it raises, so that the failure keeps its ids."""
    try:
        verdict = hook(failure)
    except Exception:
        log.exception("a retry hook raised; the policy decides in its place")
        return None
    if verdict is None or isinstance(verdict, (bool, int, float)):
        return verdict
    log.error("a retry hook must return a bool, seconds or None, not %s", type(verdict))
    if inspect.iscoroutine(verdict):
        verdict.close()
    return None


def retry_after(
    headers: Mapping[str, str], now: datetime, *, clock_known: bool = True
) -> float | None:
    """Return the delay that a response requests, in seconds; None if absent.

    That is `Retry-After-Ms`, or `Retry-After` as seconds or a date; of several values the largest.
    A date is compared with the response's own `Date`, because the clock of this machine may be
    wrong, or else with `now`. A date far ahead is ignored if the server's clock is not known, and
    so are values that cannot be parsed. `headers` has lower-case names.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit)
        if seconds is not None:
            return seconds
    date = http_date(headers.get("retry-after", ""))
    if date is None:
        return None
    sent = http_date(headers.get("date", ""))
    seconds = max(0.0, (date - (sent or now)).total_seconds())
    if sent is None and not clock_known and seconds > _MAX_UNVERIFIED_WAIT:
        return None
    return seconds


def _seconds(text: str, unit: float) -> float | None:
    try:
        # Repeated headers were joined by commas.
        seconds = max(map(float, text.split(","))) * unit
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def http_date(text: str) -> datetime | None:
    """Return the time in a header such as `Date`; None if it is not a date."""
    try:
        date = parsedate_to_datetime(text)
        # A zone of hours may lead to a year that datetime does not support.
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
