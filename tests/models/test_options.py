"""Options: validation and merging."""

from __future__ import annotations

import math
from typing import Any

import pytest

from diffio_async._validators import validate_wait
from diffio_async.errors import ConfigurationError
from diffio_async.options import (
    NO_RETRY,
    ClientOptions,
    RequestOptions,
    RetryPolicy,
    Timeouts,
    WaitPolicy,
    merge_headers,
    resolve_options,
)

NEVER_SECONDS: tuple[object, ...] = (-1, -0.001, math.nan, math.inf, -math.inf, "1", True, [], 1j)


@pytest.mark.parametrize(
    ("kind", "names", "more"),
    [
        (RetryPolicy, ["total_timeout", "initial_delay", "max_delay", "max_retry_after"], ()),
        (Timeouts, ["connect", "read", "total"], (0,)),
        (WaitPolicy, ["min_interval", "max_interval"], (0, None)),
        (RetryPolicy, ["initial_delay", "max_delay", "max_retry_after"], (None,)),
        (RequestOptions, ["timeout"], (0,)),
    ],
)
def test_invalid_seconds_are_refused(kind: Any, names: list[str], more: tuple[object, ...]) -> None:
    for name in names:
        for value in (*NEVER_SECONDS, *more):
            with pytest.raises(ConfigurationError, match=name):
                kind(**{name: value})


def test_a_wait_may_have_no_end_but_no_odd_one() -> None:
    """`math.inf` and None are no limit; a shortest interval above the longest is refused."""
    for value in NEVER_SECONDS:
        if value != math.inf:
            with pytest.raises(ConfigurationError, match="timeout"):
                WaitPolicy(timeout=value)  # type: ignore[arg-type]
    assert WaitPolicy(timeout=math.inf).timeout == math.inf
    assert WaitPolicy(timeout=None).timeout is None
    with pytest.raises(ConfigurationError, match="max_interval"):
        WaitPolicy(min_interval=30)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (RetryPolicy, "attempts"),
        (ClientOptions, "max_concurrent_parts"),
        (ClientOptions, "max_connections_per_host"),
        (ClientOptions, "max_upload_bytes"),
    ],
)
def test_counts_are_whole_and_at_least_one(kind: Any, name: str) -> None:
    for value in (0, -1, 1.5, math.nan, "3", None, True):
        with pytest.raises(ConfigurationError, match=name):
            kind(**{name: value})
    assert getattr(kind(**{name: 1}), name) == 1


def test_no_limit_is_none() -> None:
    Timeouts(connect=None, read=None, total=None)
    RetryPolicy(total_timeout=None)
    WaitPolicy(timeout=None)
    WaitPolicy(timeout=0)
    assert NO_RETRY.attempts == 1


@pytest.mark.parametrize("poll_interval", [0, -1, math.nan, math.inf, "1", True])
def test_an_invalid_poll_interval_is_refused(poll_interval: Any) -> None:
    with pytest.raises(ConfigurationError, match="poll_interval"):
        validate_wait(poll_interval, None)


@pytest.mark.parametrize("timeout", [-1, math.nan, -math.inf, "1", True])
def test_an_invalid_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        validate_wait(None, timeout)


def test_a_wait_may_have_no_limit_or_poll_once() -> None:
    validate_wait(None, None)
    validate_wait(0.5, math.inf)
    validate_wait(1, 0)


def test_the_call_is_laid_over_the_client_field_by_field() -> None:
    client = ClientOptions(
        headers={"A": "1", "B": "1"},
        timeouts=Timeouts(connect=1, read=2, total=3),
        retry=RetryPolicy(attempts=7),
    )
    nothing = resolve_options(client, None)
    assert nothing == resolve_options(client, RequestOptions())
    assert (nothing.headers, nothing.timeouts, nothing.retry, nothing.api_key) == (
        {"A": "1", "B": "1"},
        client.timeouts,
        client.retry,
        None,
    )
    call = RequestOptions(headers={"b": "2"}, timeout=9, retry=NO_RETRY, api_key="k")
    some = resolve_options(client, call)
    assert some.headers == {"A": "1", "b": "2"}
    assert some.timeouts == Timeouts(connect=1, read=2, total=9.0)
    assert some.retry is NO_RETRY
    assert some.api_key == "k"
    replaced = resolve_options(client, RequestOptions(timeout=Timeouts(total=None)))
    assert replaced.timeouts == Timeouts(total=None)


def test_header_names_are_compared_in_any_case() -> None:
    """`authorization` beside `Authorization` never sends both, however they were merged."""
    assert merge_headers({"Authorization": "A", "X": "1"}, {"authorization": "B"}) == {
        "authorization": "B",
        "X": "1",
    }
    assert merge_headers({}, {"authorization": "A", "AUTHORIZATION": "B"}) == {"AUTHORIZATION": "B"}


def test_a_key_for_one_call_takes_the_place_of_the_clients_credentials() -> None:
    client = ClientOptions(headers={"x-api-key": "A", "Authorization": "B", "X-Trace": "1"})
    assert resolve_options(client, RequestOptions(api_key="C")).headers == {"X-Trace": "1"}
    assert resolve_options(client, RequestOptions()).headers == client.headers


def test_no_option_shows_a_secret() -> None:
    secret = {"X-Api-Key": "SECRET"}
    client = ClientOptions(headers=secret, proxy="http://me:SECRET@proxy:1")
    call = RequestOptions(headers=secret, api_key="SECRET")
    for options in (client, call, resolve_options(client, call)):
        assert "SECRET" not in repr(options)
        hash(options)
