"""`RequestOptions` in camelCase, and their conversion to the options of the coroutine client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from attrs import frozen

from diffio_async import options as native
from diffio_async._protocol.retry import RETRYABLE_STATUSES
from diffio_async.errors import ApiError, ConfigurationError, DiffioError

#: Default for `retryBackoff`, in seconds.
_BACKOFF = 0.5


class RequestOptionsDict(TypedDict, total=False):
    """`RequestOptions` as a dict."""

    headers: Mapping[str, str] | None
    timeout: float | None
    timeoutInSeconds: float | None
    maxRetries: int | None
    retryBackoff: float | None
    retryStatusCodes: Sequence[int] | None
    apiKey: str | None


class RequestOptions:
    """Options of one call or of a client; None inherits from the client.

    Attributes:
        headers: Added to requests to the API, and to no other host.
        timeout: Seconds for one attempt; a file's bytes may take longer, but not stall longer.
        maxRetries: Retries after the first attempt, 0 by default. A call that cannot safely be
            repeated is not retried.
        retryBackoff: Upper limit of the first delay in seconds; later ones double, up to 20 s.
        retryStatusCodes: Statuses that are retried.
        apiKey: Another key.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        timeoutInSeconds: float | None = None,
        maxRetries: int | None = None,
        retryBackoff: float | None = None,
        retryStatusCodes: Sequence[int] | None = None,
        apiKey: str | None = None,
    ) -> None:
        """Create options; `timeoutInSeconds` is another name for `timeout` and has precedence."""
        self.headers = headers or {}
        self.timeout = timeoutInSeconds if timeoutInSeconds is not None else timeout
        self.maxRetries = maxRetries
        self.retryBackoff = retryBackoff
        self.retryStatusCodes = retryStatusCodes
        self.apiKey = apiKey

    def __repr__(self) -> str:
        # Headers and keys are secrets: their names are enough.
        return (
            f"RequestOptions(headers={sorted(self.headers)}, timeout={self.timeout}, "
            f"maxRetries={self.maxRetries}, retryBackoff={self.retryBackoff}, "
            f"retryStatusCodes={self.retryStatusCodes}, apiKey={'set' if self.apiKey else None})"
        )


if TYPE_CHECKING:
    RequestOptionsLike = RequestOptions | RequestOptionsDict | None
else:
    # Before Python 3.12, pydantic rejects signatures with a `typing.TypedDict`.
    RequestOptionsLike = RequestOptions | Mapping[str, object] | None


def read(given: RequestOptionsLike) -> RequestOptions:
    """Return the options of an object, a dict or None.

    Raises:
        ConfigurationError: The value is something else.
    """
    if isinstance(given, RequestOptions):
        return given
    if given is None:
        return RequestOptions()
    if not isinstance(given, dict):
        raise ConfigurationError("requestOptions must be a RequestOptions or dict")
    return RequestOptions(
        headers=given.get("headers"),
        timeout=given.get("timeout"),
        timeoutInSeconds=given.get("timeoutInSeconds"),
        maxRetries=given.get("maxRetries"),
        retryBackoff=given.get("retryBackoff"),
        retryStatusCodes=given.get("retryStatusCodes"),
        apiKey=given.get("apiKey"),
    )


def of_call(client: RequestOptions, given: RequestOptionsLike) -> native.RequestOptions | None:
    """Return the options of one call of the coroutine client, merged with the client's retries."""
    if given is None:
        return None
    call = read(given)
    retries, backoff, codes = call.maxRetries, call.retryBackoff, call.retryStatusCodes
    return native.RequestOptions(
        headers=call.headers,
        timeout=None if call.timeout is None else timeouts(call.timeout),
        retry=retry(
            client.maxRetries if retries is None else retries,
            client.retryBackoff if backoff is None else backoff,
            client.retryStatusCodes if codes is None else codes,
        ),
        api_key=call.apiKey or None,
    )


def timeouts(seconds: float | None) -> native.Timeouts:
    """Return time-outs that are all equal; None means unlimited."""
    return native.Timeouts(connect=seconds, read=seconds, total=seconds)


def retry(
    retries: int | None, backoff: float | None, codes: Sequence[int] | None
) -> native.RetryPolicy:
    """Return a policy of `retries` retries, without a limit to their total time."""
    return native.RetryPolicy(
        attempts=1 + max(0, retries or 0),
        total_timeout=None,
        initial_delay=_BACKOFF if backoff is None else backoff,
        on=_ByStatus(RETRYABLE_STATUSES if codes is None else frozenset(codes)),
    )


@frozen
class _ByStatus:
    """Retry hook: retry these statuses only. Can be pickled with the client."""

    codes: frozenset[int]

    def __call__(self, failure: DiffioError, /) -> bool | None:
        if not isinstance(failure, ApiError):
            return None
        if failure.status in self.codes:
            return True
        return False if failure.status in RETRYABLE_STATUSES else None
