"""`RequestOptions`, in the guide's words, and what they mean to the client beneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from attrs import frozen

from diffio_async import options as native
from diffio_async._protocol.retry import RETRYABLE_STATUSES
from diffio_async.errors import ApiError, ConfigurationError, DiffioError

#: Seconds of the first pause, and the statuses worth another try, where nothing else is said.
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
    """Options of one call or of a client; what is None is taken from the client.

    Attributes:
        headers: Added to requests to the API, and to no other host.
        timeout: Seconds for one attempt; a file's bytes may take longer, but not stall longer.
        maxRetries: Tries after the first, 0 where nothing is said. What cannot safely be sent
            twice is not, whatever is said here.
        retryBackoff: Seconds the first pause may last; later ones double, to 20 s at most.
        retryStatusCodes: Statuses worth another try.
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
        """Take the options; `timeoutInSeconds` is `timeout` by its other name, and wins."""
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
    # Below Python 3.12 pydantic refuses signatures that name a `typing.TypedDict`.
    RequestOptionsLike = RequestOptions | Mapping[str, object] | None


def read(given: RequestOptionsLike) -> RequestOptions:
    """The options of an object, a dict or None.

    Raises:
        ConfigurationError: They are neither.
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
    """The options of one call for the client beneath, which has those of `client` already."""
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
    """One number for all that may take time; None is no limit."""
    return native.Timeouts(connect=seconds, read=seconds, total=seconds)


def retry(
    retries: int | None, backoff: float | None, codes: Sequence[int] | None
) -> native.RetryPolicy:
    """So many tries after the first, however long they take together."""
    return native.RetryPolicy(
        attempts=1 + max(0, retries or 0),
        total_timeout=None,
        initial_delay=_BACKOFF if backoff is None else backoff,
        on=_ByStatus(RETRYABLE_STATUSES if codes is None else frozenset(codes)),
    )


@frozen
class _ByStatus:
    """Tries again on these statuses and on none of the usual others; pickles with the client."""

    codes: frozenset[int]

    def __call__(self, failure: DiffioError, /) -> bool | None:
        if not isinstance(failure, ApiError):
            return None
        if failure.status in self.codes:
            return True
        return False if failure.status in RETRYABLE_STATUSES else None
