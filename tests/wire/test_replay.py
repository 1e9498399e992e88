"""Whether a failed call is sent again, and after how long."""

from __future__ import annotations

import math

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._wire.replay import WORTH_A_RETRY, Replay, next_delay, transient
from diffio_async.errors import (
    AnswerLost,
    ApiError,
    ClientClosed,
    ConfigurationError,
    DiffioError,
    NotReached,
    ResponseInvalid,
    Timeout,
)
from diffio_async.options import RetryPolicy

WAITS = st.none() | st.floats(0, 1e6)


def answered(status: int, retry_after: float | None = None) -> ApiError:
    return ApiError(f"answered {status}", status=status, retry_after=retry_after)


FAILURES: st.SearchStrategy[DiffioError] = st.one_of(
    st.builds(NotReached, st.just("no"), permanent=st.booleans()),
    st.sampled_from([AnswerLost("lost"), Timeout("late"), ResponseInvalid("?")]),
    st.sampled_from([ClientClosed("closed"), ConfigurationError("wrong")]),
    st.builds(answered, st.integers(300, 599), WAITS),
)
VERDICTS = st.sampled_from([True, False, None, 0, 3, -1.0, math.inf, -math.inf, math.nan])
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10_000),
    budget=st.none() | st.floats(0.001, 1e6),
    base=st.floats(0, 1e300),
    cap=st.floats(0, 1e300),
    retry_after_cap=st.floats(0, 1e6),
    on=st.none() | VERDICTS.map(lambda verdict: lambda _: verdict),
)
ATTEMPTS = st.integers(1, 10_000)
ELAPSED = st.floats(0, 1e6)
JITTER = st.floats(0, 1)


@given(
    policy=POLICIES,
    replay=st.sampled_from(Replay),
    failure=FAILURES,
    attempt=ATTEMPTS,
    elapsed=ELAPSED,
    jitter=JITTER,
)
def test_whatever_the_policy_the_limits_hold(
    policy: RetryPolicy,
    replay: Replay,
    failure: DiffioError,
    attempt: int,
    elapsed: float,
    jitter: float,
) -> None:
    delay = next_delay(policy, replay, failure, attempt=attempt, elapsed=elapsed, jitter=jitter)
    if delay is None:
        return
    assert 0 <= delay < math.inf
    assert attempt < policy.attempts
    assert policy.budget is None or elapsed + delay < policy.budget
    if replay is Replay.NEVER:
        # Sent again only where nothing can have been accepted, whatever a hook says.
        assert isinstance(failure, NotReached) or (
            isinstance(failure, ApiError)
            and failure.status in {429, 503}
            and failure.retry_after is not None
        )
    if policy.on is None:
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        if asked is None:
            assert delay <= policy.cap
        else:
            assert delay == asked <= policy.retry_after_cap


def test_a_never_is_not_repeated_when_it_may_have_been_accepted() -> None:
    """Creating a project or a key twice leaves one that nobody knows; no hook can make it safe."""
    asked: list[DiffioError] = []

    def again(failure: DiffioError) -> bool:
        asked.append(failure)
        return True

    for policy in (RetryPolicy(), RetryPolicy(on=again)):
        for failure in (
            AnswerLost("lost"),
            Timeout("late"),
            ResponseInvalid("?"),
            *(answered(status) for status in WORTH_A_RETRY),
            *(answered(status, 1.0) for status in WORTH_A_RETRY - {429, 503}),
        ):
            assert delay_of(policy, failure, Replay.NEVER) is None, failure
    assert asked == []
    for failure in (NotReached("no"), answered(429, 1.0), answered(503, 0.0)):
        assert delay_of(RetryPolicy(), failure, Replay.NEVER) is not None, failure


def delay_of(
    policy: RetryPolicy,
    failure: DiffioError,
    replay: Replay = Replay.READ,
    *,
    attempt: int = 1,
    elapsed: float = 0.0,
    jitter: float = 1.0,
) -> float | None:
    return next_delay(policy, replay, failure, attempt=attempt, elapsed=elapsed, jitter=jitter)


def test_pauses_double_up_to_the_cap_and_never_overflow() -> None:
    policy = RetryPolicy(attempts=10**6, base=0.5, cap=20, budget=None)
    found = [delay_of(policy, Timeout("late"), attempt=n) for n in (1, 2, 3, 6, 7, 5000)]
    assert found == [0.5, 1.0, 2.0, 16.0, 20.0, 20.0]
    huge = evolve(policy, base=1e308, cap=1e308)
    assert delay_of(huge, Timeout("late"), attempt=9999) == 1e308


def test_jitter_is_full() -> None:
    """A fleet that failed together comes back spread over the whole pause."""
    for jitter in (0.0, 0.25, 1.0):
        assert delay_of(RetryPolicy(), Timeout("late"), jitter=jitter) == 0.5 * jitter


def test_the_server_is_waited_for_up_to_a_cap() -> None:
    """Beyond `cap` but not beyond `retry_after_cap`: then the error comes at once."""
    policy = RetryPolicy(cap=1, retry_after_cap=60)
    assert delay_of(policy, answered(429, 60.0), jitter=0) == 60
    assert delay_of(policy, answered(429, 60.1)) is None
    assert delay_of(policy, answered(429, 0.0)) == 0


def test_attempts_and_budget_whichever_ends_first() -> None:
    policy = RetryPolicy(attempts=3, budget=10, base=1)
    assert delay_of(policy, Timeout("late"), attempt=2) is not None
    assert delay_of(policy, Timeout("late"), attempt=3) is None
    assert delay_of(policy, Timeout("late"), elapsed=8.9) == 1
    assert delay_of(policy, Timeout("late"), elapsed=9.0) is None
    assert delay_of(policy, answered(429, 10.0)) is None
    assert delay_of(RetryPolicy(attempts=1), NotReached("no")) is None
    assert delay_of(RetryPolicy(budget=1), NotReached("no"), elapsed=1, jitter=0) is None


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
    assert delay_of(policy, Timeout("late")) == transient_delay
    assert delay_of(policy, answered(404)) == final_delay


def test_a_hook_does_not_outlast_attempts_and_budget() -> None:
    policy = RetryPolicy(attempts=2, budget=5, on=lambda _: 4.0)
    assert delay_of(policy, answered(404), attempt=2) is None
    assert delay_of(policy, answered(404), elapsed=1.0) is None


def test_what_another_try_may_mend() -> None:
    assert [s for s in range(300, 600) if transient(answered(s))] == [408, 429, 500, 502, 503, 504]
    assert transient(answered(409), frozenset({409}))
    assert transient(NotReached("no"))
    assert not transient(NotReached("certificate", permanent=True))
    assert transient(AnswerLost("lost"))
    for final in (ResponseInvalid("?"), ClientClosed("closed"), ConfigurationError("wrong")):
        assert not transient(final)
