"""Whether a failed request is retried, and after which delay."""

from __future__ import annotations

import math

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.retry import RETRYABLE_STATUSES, RetrySafety, is_retryable, retry_delay
from diffio_async.errors import (
    ApiError,
    ClientClosed,
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    InvalidResponse,
    ResponseLost,
    ResponseTimeout,
)
from diffio_async.options import RetryPolicy

DELAYS = st.none() | st.floats(0, 1e6)


def api_error(status: int, retry_after: float | None = None) -> ApiError:
    return ApiError(f"returned {status}", status=status, retry_after=retry_after)


FAILURES: st.SearchStrategy[DiffioError] = st.one_of(
    st.builds(ConnectionFailed, st.just("no"), permanent=st.booleans()),
    st.sampled_from([ResponseLost("lost"), ResponseTimeout("late"), InvalidResponse("?")]),
    st.sampled_from([ClientClosed("closed"), ConfigurationError("wrong")]),
    st.builds(api_error, st.integers(300, 599), DELAYS),
)
HOOK_RESULTS = st.sampled_from([True, False, None, 0, 3, -1.0, math.inf, -math.inf, math.nan])
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10_000),
    total_timeout=st.none() | st.floats(0.001, 1e6),
    initial_delay=st.floats(0, 1e300),
    max_delay=st.floats(0, 1e300),
    max_retry_after=st.floats(0, 1e6),
    on=st.none() | HOOK_RESULTS.map(lambda hook_result: lambda _: hook_result),
)
ATTEMPTS = st.integers(1, 10_000)
ELAPSED = st.floats(0, 1e6)
JITTER = st.floats(0, 1)


@given(
    policy=POLICIES,
    retry_safety=st.sampled_from(RetrySafety),
    failure=FAILURES,
    attempt=ATTEMPTS,
    elapsed=ELAPSED,
    jitter=JITTER,
)
def test_the_limits_of_any_policy_are_respected(
    policy: RetryPolicy,
    retry_safety: RetrySafety,
    failure: DiffioError,
    attempt: int,
    elapsed: float,
    jitter: float,
) -> None:
    delay = retry_delay(
        policy, retry_safety, failure, attempt=attempt, elapsed=elapsed, jitter=jitter
    )
    if delay is None:
        return
    assert 0 <= delay < math.inf
    assert attempt < policy.attempts
    assert policy.total_timeout is None or elapsed + delay < policy.total_timeout
    if retry_safety is RetrySafety.NEVER:
        # It is retried only if the request cannot have been accepted, whatever a hook returns.
        assert isinstance(failure, ConnectionFailed) or (
            isinstance(failure, ApiError)
            and failure.status in {429, 503}
            and failure.retry_after is not None
        )
    if policy.on is None:
        requested = failure.retry_after if isinstance(failure, ApiError) else None
        if requested is None:
            assert delay <= policy.max_delay
        else:
            assert delay == requested <= policy.max_retry_after


def test_a_non_idempotent_request_that_may_have_been_accepted_is_not_retried() -> None:
    """A second project or key would be unknown to the caller; hooks are not consulted."""
    requested: list[DiffioError] = []

    def retry_always(failure: DiffioError) -> bool:
        requested.append(failure)
        return True

    for policy in (RetryPolicy(), RetryPolicy(on=retry_always)):
        for failure in (
            ResponseLost("lost"),
            ResponseTimeout("late"),
            InvalidResponse("?"),
            *(api_error(status) for status in RETRYABLE_STATUSES),
            *(api_error(status, 1.0) for status in RETRYABLE_STATUSES - {429, 503}),
        ):
            assert delay_of(policy, failure, RetrySafety.NEVER) is None, failure
    assert requested == []
    for failure in (ConnectionFailed("no"), api_error(429, 1.0), api_error(503, 0.0)):
        assert delay_of(RetryPolicy(), failure, RetrySafety.NEVER) is not None, failure


def delay_of(
    policy: RetryPolicy,
    failure: DiffioError,
    retry_safety: RetrySafety = RetrySafety.READ,
    *,
    attempt: int = 1,
    elapsed: float = 0.0,
    jitter: float = 1.0,
) -> float | None:
    return retry_delay(
        policy, retry_safety, failure, attempt=attempt, elapsed=elapsed, jitter=jitter
    )


def test_delays_double_up_to_the_maximum_and_never_overflow() -> None:
    policy = RetryPolicy(attempts=10**6, initial_delay=0.5, max_delay=20, total_timeout=None)
    found = [delay_of(policy, ResponseTimeout("late"), attempt=n) for n in (1, 2, 3, 6, 7, 5000)]
    assert found == [0.5, 1.0, 2.0, 16.0, 20.0, 20.0]
    huge = evolve(policy, initial_delay=1e308, max_delay=1e308)
    assert delay_of(huge, ResponseTimeout("late"), attempt=9999) == 1e308


def test_jitter_applies_to_the_whole_delay() -> None:
    """Clients that failed together retry at different times."""
    for jitter in (0.0, 0.25, 1.0):
        assert delay_of(RetryPolicy(), ResponseTimeout("late"), jitter=jitter) == 0.5 * jitter


def test_retry_after_is_obeyed_up_to_its_maximum() -> None:
    """It may exceed `max_delay`; above `max_retry_after`, the error is raised at once."""
    policy = RetryPolicy(max_delay=1, max_retry_after=60)
    assert delay_of(policy, api_error(429, 60.0), jitter=0) == 60
    assert delay_of(policy, api_error(429, 60.1)) is None
    assert delay_of(policy, api_error(429, 0.0)) == 0


def test_retries_end_with_the_attempts_or_the_total_timeout() -> None:
    policy = RetryPolicy(attempts=3, total_timeout=10, initial_delay=1)
    assert delay_of(policy, ResponseTimeout("late"), attempt=2) is not None
    assert delay_of(policy, ResponseTimeout("late"), attempt=3) is None
    assert delay_of(policy, ResponseTimeout("late"), elapsed=8.9) == 1
    assert delay_of(policy, ResponseTimeout("late"), elapsed=9.0) is None
    assert delay_of(policy, api_error(429, 10.0)) is None
    assert delay_of(RetryPolicy(attempts=1), ConnectionFailed("no")) is None
    assert (
        delay_of(RetryPolicy(total_timeout=1), ConnectionFailed("no"), elapsed=1, jitter=0) is None
    )


@pytest.mark.parametrize(
    ("hook_result", "transient_delay", "final_delay"),
    [
        (True, 0.5, 0.5),
        (False, None, None),
        (None, 0.5, None),
        (3, 3.0, 3.0),
        (0, 0.0, 0.0),
        (-4.0, 0.0, 0.0),
        (math.inf, None, None),
        (math.nan, None, None),
    ],
)
def test_a_hook_decides_about_requests_that_are_safe_to_retry(
    hook_result: bool | float | None, transient_delay: float | None, final_delay: float | None
) -> None:
    policy = RetryPolicy(on=lambda _: hook_result)
    assert delay_of(policy, ResponseTimeout("late")) == transient_delay
    assert delay_of(policy, api_error(404)) == final_delay


def test_a_hook_cannot_exceed_attempts_and_total_timeout() -> None:
    policy = RetryPolicy(attempts=2, total_timeout=5, on=lambda _: 4.0)
    assert delay_of(policy, api_error(404), attempt=2) is None
    assert delay_of(policy, api_error(404), elapsed=1.0) is None


def test_which_failures_are_retryable() -> None:
    assert [s for s in range(300, 600) if is_retryable(api_error(s))] == [
        408,
        429,
        500,
        502,
        503,
        504,
    ]
    assert is_retryable(api_error(409), frozenset({409}))
    assert is_retryable(ConnectionFailed("no"))
    assert not is_retryable(ConnectionFailed("certificate", permanent=True))
    assert is_retryable(ResponseLost("lost"))
    for final in (InvalidResponse("?"), ClientClosed("closed"), ConfigurationError("wrong")):
        assert not is_retryable(final)
