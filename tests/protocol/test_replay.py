"""Whether a failed call is sent again, and after how long."""

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

WAITS = st.none() | st.floats(0, 1e6)


def answered(status: int, retry_after: float | None = None) -> ApiError:
    return ApiError(f"answered {status}", status=status, retry_after=retry_after)


FAILURES: st.SearchStrategy[DiffioError] = st.one_of(
    st.builds(ConnectionFailed, st.just("no"), permanent=st.booleans()),
    st.sampled_from([ResponseLost("lost"), ResponseTimeout("late"), InvalidResponse("?")]),
    st.sampled_from([ClientClosed("closed"), ConfigurationError("wrong")]),
    st.builds(answered, st.integers(300, 599), WAITS),
)
VERDICTS = st.sampled_from([True, False, None, 0, 3, -1.0, math.inf, -math.inf, math.nan])
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10_000),
    total_timeout=st.none() | st.floats(0.001, 1e6),
    initial_delay=st.floats(0, 1e300),
    max_delay=st.floats(0, 1e300),
    max_retry_after=st.floats(0, 1e6),
    on=st.none() | VERDICTS.map(lambda verdict: lambda _: verdict),
)
ATTEMPTS = st.integers(1, 10_000)
ELAPSED = st.floats(0, 1e6)
JITTER = st.floats(0, 1)


@given(
    policy=POLICIES,
    replay=st.sampled_from(RetrySafety),
    failure=FAILURES,
    attempt=ATTEMPTS,
    elapsed=ELAPSED,
    jitter=JITTER,
)
def test_whatever_the_policy_the_limits_hold(
    policy: RetryPolicy,
    replay: RetrySafety,
    failure: DiffioError,
    attempt: int,
    elapsed: float,
    jitter: float,
) -> None:
    delay = retry_delay(policy, replay, failure, attempt=attempt, elapsed=elapsed, jitter=jitter)
    if delay is None:
        return
    assert 0 <= delay < math.inf
    assert attempt < policy.attempts
    assert policy.total_timeout is None or elapsed + delay < policy.total_timeout
    if replay is RetrySafety.NEVER:
        # Sent again only where nothing can have been accepted, whatever a hook says.
        assert isinstance(failure, ConnectionFailed) or (
            isinstance(failure, ApiError)
            and failure.status in {429, 503}
            and failure.retry_after is not None
        )
    if policy.on is None:
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        if asked is None:
            assert delay <= policy.max_delay
        else:
            assert delay == asked <= policy.max_retry_after


def test_a_never_is_not_repeated_when_it_may_have_been_accepted() -> None:
    """Creating a project or a key twice leaves one that nobody knows; no hook can make it safe."""
    asked: list[DiffioError] = []

    def again(failure: DiffioError) -> bool:
        asked.append(failure)
        return True

    for policy in (RetryPolicy(), RetryPolicy(on=again)):
        for failure in (
            ResponseLost("lost"),
            ResponseTimeout("late"),
            InvalidResponse("?"),
            *(answered(status) for status in RETRYABLE_STATUSES),
            *(answered(status, 1.0) for status in RETRYABLE_STATUSES - {429, 503}),
        ):
            assert delay_of(policy, failure, RetrySafety.NEVER) is None, failure
    assert asked == []
    for failure in (ConnectionFailed("no"), answered(429, 1.0), answered(503, 0.0)):
        assert delay_of(RetryPolicy(), failure, RetrySafety.NEVER) is not None, failure


def delay_of(
    policy: RetryPolicy,
    failure: DiffioError,
    replay: RetrySafety = RetrySafety.READ,
    *,
    attempt: int = 1,
    elapsed: float = 0.0,
    jitter: float = 1.0,
) -> float | None:
    return retry_delay(policy, replay, failure, attempt=attempt, elapsed=elapsed, jitter=jitter)


def test_pauses_double_up_to_the_cap_and_never_overflow() -> None:
    policy = RetryPolicy(attempts=10**6, initial_delay=0.5, max_delay=20, total_timeout=None)
    found = [delay_of(policy, ResponseTimeout("late"), attempt=n) for n in (1, 2, 3, 6, 7, 5000)]
    assert found == [0.5, 1.0, 2.0, 16.0, 20.0, 20.0]
    huge = evolve(policy, initial_delay=1e308, max_delay=1e308)
    assert delay_of(huge, ResponseTimeout("late"), attempt=9999) == 1e308


def test_jitter_is_full() -> None:
    """A fleet that failed together comes back spread over the whole pause."""
    for jitter in (0.0, 0.25, 1.0):
        assert delay_of(RetryPolicy(), ResponseTimeout("late"), jitter=jitter) == 0.5 * jitter


def test_the_server_is_waited_for_up_to_a_cap() -> None:
    """Beyond `cap` but not beyond `max_retry_after`: then the error comes at once."""
    policy = RetryPolicy(max_delay=1, max_retry_after=60)
    assert delay_of(policy, answered(429, 60.0), jitter=0) == 60
    assert delay_of(policy, answered(429, 60.1)) is None
    assert delay_of(policy, answered(429, 0.0)) == 0


def test_attempts_and_budget_whichever_ends_first() -> None:
    policy = RetryPolicy(attempts=3, total_timeout=10, initial_delay=1)
    assert delay_of(policy, ResponseTimeout("late"), attempt=2) is not None
    assert delay_of(policy, ResponseTimeout("late"), attempt=3) is None
    assert delay_of(policy, ResponseTimeout("late"), elapsed=8.9) == 1
    assert delay_of(policy, ResponseTimeout("late"), elapsed=9.0) is None
    assert delay_of(policy, answered(429, 10.0)) is None
    assert delay_of(RetryPolicy(attempts=1), ConnectionFailed("no")) is None
    assert (
        delay_of(RetryPolicy(total_timeout=1), ConnectionFailed("no"), elapsed=1, jitter=0) is None
    )


@pytest.mark.parametrize(
    ("verdict", "transient_delay", "final_delay"),
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
def test_a_hook_decides_about_what_is_safe(
    verdict: bool | float | None, transient_delay: float | None, final_delay: float | None
) -> None:
    policy = RetryPolicy(on=lambda _: verdict)
    assert delay_of(policy, ResponseTimeout("late")) == transient_delay
    assert delay_of(policy, answered(404)) == final_delay


def test_a_hook_does_not_outlast_attempts_and_budget() -> None:
    policy = RetryPolicy(attempts=2, total_timeout=5, on=lambda _: 4.0)
    assert delay_of(policy, answered(404), attempt=2) is None
    assert delay_of(policy, answered(404), elapsed=1.0) is None


def test_what_another_try_may_mend() -> None:
    assert [s for s in range(300, 600) if is_retryable(answered(s))] == [
        408,
        429,
        500,
        502,
        503,
        504,
    ]
    assert is_retryable(answered(409), frozenset({409}))
    assert is_retryable(ConnectionFailed("no"))
    assert not is_retryable(ConnectionFailed("certificate", permanent=True))
    assert is_retryable(ResponseLost("lost"))
    for final in (InvalidResponse("?"), ClientClosed("closed"), ConfigurationError("wrong")):
        assert not is_retryable(final)
