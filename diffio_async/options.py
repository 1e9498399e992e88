"""Options of clients and calls: frozen, validated on creation, merged field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Protocol, runtime_checkable

from attrs import evolve, field, frozen

from diffio_async._validators import (
    Rule,
    displayed,
    non_negative,
    non_negative_int,
    optional_positive,
    optional_unlimited,
    positive,
    positive_int,
    positive_number,
)
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.events import Event

MIB = 1024 * 1024

DEFAULT_BASE_URL = "https://api.diffio.ai/v1"

#: Names of headers with credentials.
CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "xi-api-key"})

#: Receives every event in order. It must not block; exceptions are logged and suppressed.
Observer = Callable[[Event], object]


@runtime_checkable
class RetryHook(Protocol):
    """Decides whether a failed call is retried.

    True retries, False stops, a number retries after so many seconds, None leaves the decision to
    the policy. It runs on the event loop and must not block. It is not called for a request that
    may have been accepted and would be executed (and billed) twice.
    """

    def __call__(self, failure: DiffioError, /) -> bool | float | None:
        """Return the decision for `failure`."""
        ...


@frozen(kw_only=True)
class RetryPolicy:
    """Retries of a failed call, until `attempts` or `total_timeout` is exceeded.

    Delays are random, between 0 and `initial_delay * 2**n` seconds, at most `max_delay` (full
    jitter). A `Retry-After` of the server takes precedence.

    Attributes:
        attempts: Maximum number of attempts, the first included.
        total_timeout: Maximum seconds of all attempts and delays; None for no limit.
        initial_delay: Maximum seconds of the first delay.
        max_delay: Maximum seconds of each delay.
        max_retry_after: Maximum seconds of a `Retry-After`. If the server specifies more, the error
            is raised at once.
        on: A hook that may decide; see `RetryHook`.
    """

    attempts: int = field(default=5, validator=positive_int)
    total_timeout: float | None = field(default=120.0, validator=optional_positive)
    initial_delay: float = field(default=0.5, validator=non_negative)
    max_delay: float = field(default=20.0, validator=non_negative)
    max_retry_after: float = field(default=60.0, validator=non_negative)
    on: RetryHook | None = None


#: A single attempt.
NO_RETRY = RetryPolicy(attempts=1)


@frozen(kw_only=True)
class Timeouts:
    """Time-outs in seconds; None for no limit.

    Attributes:
        connect: Maximum to connect, TLS included.
        read: Maximum until the headers of a response arrived, and between two chunks of its body.
        total: Maximum of one attempt of a call, from connecting to the last byte. It does not apply
            to uploads of parts and downloads, which may take hours.
    """

    connect: float | None = field(default=15.0, validator=optional_positive)
    read: float | None = field(default=60.0, validator=optional_positive)
    total: float | None = field(default=120.0, validator=optional_positive)


def _headers(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return _mapping_of_headers({} if given is None else given)


def _headers_if_any(given: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return None if given is None else _mapping_of_headers(given)


def _mapping_of_headers(given: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"headers must be a mapping of names to values, not a {type(given).__name__}"
        )
    return given


_timeout = Rule(
    optional_positive.requirement,
    lambda value: isinstance(value, Timeouts) or optional_positive.accepts(value),
)


@frozen(kw_only=True)
class RequestOptions:
    """Options of one call. An option that is None is the client's.

    Attributes:
        headers: Added to requests to the API, but not to other hosts. A credential in them
            (`Authorization`, `X-Api-Key`) replaces the API key.
        timeout: `Timeouts`, or the total seconds of one attempt.
        retry: The retry policy.
        api_key: API key for this call. It replaces all credentials of the client.
    """

    headers: Mapping[str, str] | None = field(
        default=None, converter=_headers_if_any, repr=False, hash=False
    )
    timeout: Timeouts | float | None = field(default=None, validator=_timeout)
    retry: RetryPolicy | None = None
    api_key: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class WaitPolicy:
    """Polling by all waits of a client, which share one rate limit.

    While few generations are waited for, each is polled after at most half of `min_interval`, or
    5 % of the time waited so far. Where the rate limit does not allow that for all of them, a poll
    is placed shortly after the likely end, as predicted by the progress and earlier generations.

    Attributes:
        min_interval: Shortest delay between two polls of one wait, in seconds. A tenth of it before
            the first poll, a quarter when a wait begins, 0.4 of it where the end is well known in
            advance.
        max_interval: Longest delay between two polls of one wait, in seconds. It is longer while
            polls wait for the rate limit.
        timeout: Longest duration of a wait, in seconds; `math.inf` or None for no limit.
        max_polls_per_second: Upper bound of the rate limit for the polls of all waits and batches
            together. The rate limit adapts: it starts at 10 polls per second, grows while more
            polls are due, and is halved if the service throttles.
        burst: Extra polls allowed in one second after an idle period (token-bucket burst).
        push_check_interval: Seconds between polls of one generation while webhook events report
            the ends; about two polls for each hundred ends over all generations.
    """

    min_interval: float = field(default=1.0, validator=positive)
    max_interval: float = field(default=15.0, validator=positive)
    timeout: float | None = field(default=3600.0, validator=optional_unlimited)
    max_polls_per_second: float = field(default=100.0, validator=positive_number)
    burst: int = field(default=10, validator=non_negative_int)
    push_check_interval: float = field(default=60.0, validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.min_interval > self.max_interval:
            raise ConfigurationError(
                f"min_interval ({self.min_interval:g} s) must not be above max_interval "
                f"({self.max_interval:g} s)"
            )


def _timeouts(given: Timeouts | None) -> Timeouts:
    return Timeouts() if given is None else given


def _retry(given: RetryPolicy | None) -> RetryPolicy:
    return RetryPolicy() if given is None else given


def _wait(given: WaitPolicy | None) -> WaitPolicy:
    return WaitPolicy() if given is None else given


def as_observers(given: Iterable[Observer] | Observer | None) -> tuple[Observer, ...]:
    """Return one, several or no observers as a tuple.

    Raises:
        ConfigurationError: One of them cannot be called.
    """
    if given is None:
        return ()
    several: object = [given] if callable(given) else given
    observers = tuple(several) if isinstance(several, Iterable) else (several,)
    for observer in observers:
        if not callable(observer):
            raise ConfigurationError(
                f"observers must be functions that receive an event, and {displayed(observer)} is "
                "not one"
            )
    return observers


@frozen(kw_only=True)
class ClientOptions:
    """Options of a client. An option that is None is the default.

    Attributes:
        headers: Added to requests to the API, but not to other hosts.
        timeouts: Time-outs of every call.
        retry: Retry policy of every call.
        wait: Polling by waits.
        max_concurrent_parts: Maximum number of upload parts sent at once, over all uploads of the
            client. The number adapts to the connection: it starts at two (four on a long link),
            grows while that increases the throughput, and is halved if a host throttles.
        max_download_connections: Maximum number of download connections over all downloads of the
            client; each download always has one. A large result is downloaded over several
            connections if that is measured to be faster; 1 disables this.
        max_connections_per_host: Maximum number of open connections to each host.
        max_upload_bytes: Maximum size of a source; larger ones are refused before a project is
            created. The hosted service accepts 2 GiB.
        max_response_bytes: Maximum size of a response of the API, but not of a result. Ten thousand
            projects take a tenth of the default.
        proxy: `http://host:port` of a proxy for every request.
        trust_env: Use the proxies in the environment by curl's rules: `https_proxy`, `HTTPS_PROXY`,
            `http_proxy`, `all_proxy`, `ALL_PROXY`, `no_proxy` and `NO_PROXY` (never `.netrc`).
        allow_insecure_http: Accept an `http://` base URL, and `http://` webhook URLs, of other
            machines, for a sandbox in a network of containers. The API key, recordings and results
            are then sent unencrypted. URLs in responses may use `http://` for the host of the base
            URL only. A warning is logged once. `DIFFIO_ALLOW_INSECURE_HTTP=1` in the environment
            has the same effect.
        ssl: SSL context, for a private certificate authority or a client certificate.
        observers: One or several observers, which receive every event. Events are also logged
            (logger `diffio_async`).
    """

    headers: Mapping[str, str] = field(factory=dict, converter=_headers, repr=False, hash=False)
    timeouts: Timeouts = field(factory=Timeouts, converter=_timeouts)
    retry: RetryPolicy = field(factory=RetryPolicy, converter=_retry)
    wait: WaitPolicy = field(factory=WaitPolicy, converter=_wait)
    max_concurrent_parts: int = field(default=8, validator=positive_int)
    max_download_connections: int = field(default=8, validator=positive_int)
    max_connections_per_host: int = field(default=100, validator=positive_int)
    max_upload_bytes: int = field(default=2048 * MIB, validator=positive_int)
    max_response_bytes: int = field(default=32 * MIB, validator=positive_int)
    # The URL of a proxy may contain a password.
    proxy: str | None = field(default=None, repr=False)
    trust_env: bool = False
    allow_insecure_http: bool = False
    ssl: SSLContext | None = field(default=None, repr=False)
    observers: tuple[Observer, ...] = field(default=(), converter=as_observers)


@frozen(kw_only=True)
class ResolvedOptions:
    """Options of a client, overridden by those of a call."""

    headers: Mapping[str, str] = field(factory=dict, repr=False, hash=False)
    timeouts: Timeouts = Timeouts()
    retry: RetryPolicy = RetryPolicy()
    api_key: str | None = field(default=None, repr=False)


def resolve_options(client: ClientOptions, call: RequestOptions | None) -> ResolvedOptions:
    """Return the options of a client, overridden by those of a call.

    Raises:
        ConfigurationError: The options of the call are not `RequestOptions`.
    """
    base = ResolvedOptions(headers=client.headers, timeouts=client.timeouts, retry=client.retry)
    if call is None:
        return base
    if not isinstance(call, RequestOptions):
        raise ConfigurationError(
            f"the options of a call must be RequestOptions, not a {type(call).__name__}"
        )
    timeouts = call.timeout
    if isinstance(timeouts, (int, float)):
        timeouts = evolve(client.timeouts, total=float(timeouts))
    headers = client.headers
    if call.api_key is not None:
        # Otherwise the client's credential would be sent, and another account billed.
        headers = {name: v for name, v in headers.items() if name.lower() not in CREDENTIAL_HEADERS}
    return ResolvedOptions(
        headers=merge_headers(headers, call.headers or {}),
        timeouts=timeouts or base.timeouts,
        retry=call.retry or base.retry,
        api_key=call.api_key,
    )


def merge_headers(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Return both, `second` overriding `first` regardless of case in names."""
    merged: dict[str, tuple[str, str]] = {}
    for name, value in (*first.items(), *second.items()):
        merged[name.lower()] = (name, value)
    return dict(merged.values())
