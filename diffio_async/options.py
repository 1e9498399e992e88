"""Options: frozen, merged field by field, checked when made; the environment is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Protocol, runtime_checkable

from attrs import evolve, field, frozen

from diffio_async._validators import (
    Rule,
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

#: The headers that say who calls.
CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "xi-api-key"})

#: What an observer is: it is told what happened, in the order it happened; it must not block.
Observer = Callable[[Event], object]


@runtime_checkable
class RetryHook(Protocol):
    """Decides about a failure that is safe to repeat.

    True means again, False means stop, a number means again after so many seconds, None leaves
    it to the policy. It runs on the event loop and must not block. It is not asked about a call
    that may have been accepted and would then be done (and billed) twice: no hook can make that
    safe.
    """

    def __call__(self, failure: DiffioError, /) -> bool | float | None:
        """Say what to do about `failure`."""
        ...


@frozen(kw_only=True)
class RetryPolicy:
    """When to retry a failed call: until `attempts` or `total_timeout` is used up.

    Delays are drawn evenly between 0 and `initial_delay * 2**n` seconds, at most `max_delay`
    (full jitter).

    Attributes:
        attempts: Tries in all, the first included.
        total_timeout: Seconds over all attempts and pauses; None for no limit.
        initial_delay: Seconds the first pause may last.
        max_delay: Seconds any pause may last.
        max_retry_after: Seconds; where the server asks for more, the error is raised at once.
        on: A hook that may decide; see `RetryHook`.
    """

    attempts: int = field(default=5, validator=positive_int)
    total_timeout: float | None = field(default=120.0, validator=optional_positive)
    initial_delay: float = field(default=0.5, validator=non_negative)
    max_delay: float = field(default=20.0, validator=non_negative)
    max_retry_after: float = field(default=60.0, validator=non_negative)
    on: RetryHook | None = None


#: No second try.
NO_RETRY = RetryPolicy(attempts=1)


@frozen(kw_only=True)
class Timeouts:
    """Seconds; None for no limit.

    Attributes:
        connect: To connect, TLS included.
        read: Between two pieces of an answer: how long a stalled host is waited for.
        total: One attempt of a small call, from connecting to the last byte. Uploads of parts
            and downloads have no total: they may rightly take hours.
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
    """Options of one call; what is None is taken from the client.

    Attributes:
        headers: Added to requests to the API, and to no other host. A credential of your own
            (`Authorization`, `X-Api-Key`) takes the place of the key.
        timeout: `Timeouts`, or seconds for one attempt in all.
        retry: The retry policy.
        api_key: Another key for this call; it takes the place of any credential of the client's.
    """

    headers: Mapping[str, str] | None = field(
        default=None, converter=_headers_if_any, repr=False, hash=False
    )
    timeout: Timeouts | float | None = field(default=None, validator=_timeout)
    retry: RetryPolicy | None = None
    api_key: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class WaitPolicy:
    """How the waits of a client ask for progress: all of them together, within one budget.

    While few generations are waited for, each is polled after at most 15 % of the time waited so
    far. Where the budget does not allow that for all of them, a poll is placed shortly after the
    likely end, as far as the progress and earlier generations foretell it.

    Attributes:
        min_interval: Shortest delay between two polls of one wait, in seconds. A quarter of it
            when a wait begins, 0.4 of it where the end is well known in advance.
        max_interval: Longest delay between two polls of one wait, in seconds.
        timeout: Longest duration of a wait, in seconds; `math.inf` or None for no limit.
        max_polls_per_second: Rate limit for the polls of all waits together.
        burst: Extra polls allowed in one second after an idle period (token-bucket burst).
        push_check_interval: Seconds between polls of one generation while webhook events report
            the ends; about two polls for each hundred ends over all generations.
    """

    min_interval: float = field(default=1.0, validator=positive)
    max_interval: float = field(default=15.0, validator=positive)
    timeout: float | None = field(default=3600.0, validator=optional_unlimited)
    max_polls_per_second: float = field(default=10.0, validator=positive_number)
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


def _observers(given: Iterable[Observer] | Observer | None) -> tuple[Observer, ...]:
    if given is None or callable(given):
        return () if given is None else (given,)
    return tuple(given)


@frozen(kw_only=True)
class ClientOptions:
    """Options of a client; None stands for the default.

    Attributes:
        headers: Added to requests to the API, and to no other host.
        timeouts: Time-outs of every call.
        retry: The retry policy of every call.
        wait: How waits ask for progress.
        max_concurrent_parts: Upload parts sent at once at most, over all uploads of the client. How
            many are follows the link: two at first, more while that brings more bytes through,
            half as many where a host pushes back.
        max_download_connections: Maximum number of download connections over all downloads of the
            client; each download always has one. A large result is fetched over several where
            that is measured to be faster; 1 never tries.
        max_connections_per_host: Maximum number of open connections to each host, and as many
            again for calls that must not be repeated: those use a new connection each.
        max_upload_bytes: Larger sources are refused before a project is created. The hosted
            service takes 2 GiB.
        max_response_bytes: Larger responses of the API are refused (results are no responses of
            the API: they may be of any size). Ten thousand projects take a tenth of the default.
        proxy: `http://host:port` of a proxy for every request.
        trust_env: Read the environment's proxies by curl's rules: `https_proxy`, `HTTPS_PROXY`,
            `http_proxy`, `all_proxy`, `ALL_PROXY`, `no_proxy` and `NO_PROXY` (never `.netrc`).
        allow_insecure_http: Accept an `http://` base URL, and `http://` webhook URLs, of other
            machines. The API key, recordings and results then cross the network unencrypted, and
            anybody on it can read and change them: for a sandbox in a network of containers. The
            server's URLs may use `http://` for the base URL's host only. A warning is logged once.
            `DIFFIO_ALLOW_INSECURE_HTTP=1` in the environment turns it on, too.
        ssl: A context of your own, for a private authority or a client certificate.
        observers: One or several, told every event; the first is always logging (`diffio_async`).
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
    # A proxy's address may hold a password.
    proxy: str | None = field(default=None, repr=False)
    trust_env: bool = False
    allow_insecure_http: bool = False
    ssl: SSLContext | None = field(default=None, repr=False)
    observers: tuple[Observer, ...] = field(default=(), converter=_observers)


@frozen(kw_only=True)
class ResolvedOptions:
    """What one call runs under: the client's options with the call's laid over them."""

    headers: Mapping[str, str] = field(factory=dict, repr=False, hash=False)
    timeouts: Timeouts = Timeouts()
    retry: RetryPolicy = RetryPolicy()
    api_key: str | None = field(default=None, repr=False)


def resolve_options(client: ClientOptions, call: RequestOptions | None) -> ResolvedOptions:
    """Lay a call's options over the client's; header names meet in any case."""
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
        # Or else the client's own credential would be sent, and another account billed.
        headers = {name: v for name, v in headers.items() if name.lower() not in CREDENTIAL_HEADERS}
    return ResolvedOptions(
        headers=merge_headers(headers, call.headers or {}),
        timeouts=timeouts or base.timeouts,
        retry=call.retry or base.retry,
        api_key=call.api_key,
    )


def merge_headers(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Lay `second` over `first`: `authorization` replaces `Authorization`, never joins it."""
    merged: dict[str, tuple[str, str]] = {}
    for name, value in (*first.items(), *second.items()):
        merged[name.lower()] = (name, value)
    return dict(merged.values())


def validate_wait(poll_interval: float | None, timeout: float | None) -> None:
    """Check the times of a wait, in seconds.

    Raises:
        ConfigurationError: `poll_interval` is not above 0, or `timeout` is below 0.
    """
    optional_positive.check("poll_interval", poll_interval)
    optional_unlimited.check("timeout", timeout)
