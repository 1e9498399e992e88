"""Core of the compat client: options, responses and errors of the coroutine client, mapped."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from diffio_async import _bridge as bridge
from diffio_async._http.transport import response_tap
from diffio_async.client import AsyncDiffio
from diffio_async.compat import options
from diffio_async.compat.errors import respell, to_compat_error
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.options import DEFAULT_BASE_URL, ClientOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async import options as native
    from diffio_async.compat.options import RequestOptionsLike

P = ParamSpec("P")
T = TypeVar("T")
Json = Mapping[str, object]
#: Responses by the name of their call, in the order of arrival.
Responses = dict[str, Json]


class CompatClientCore:
    """The coroutine client, and the options of all its calls."""

    def __init__(
        self,
        *,
        apiKey: str | None,
        baseUrl: str | None,
        timeout: float | None,
        timeoutInSeconds: float | None,
        httpClient: object,
        requestOptions: RequestOptionsLike,
    ) -> None:
        with guide_errors():
            if httpClient is not None:
                raise ConfigurationError(
                    "httpClient cannot be used here: requests are sent by aiohttp. Proxies are "
                    "read from the environment; timeouts and headers are requestOptions"
                )
            self.client_options = options.read(requestOptions)
            given = self.client_options
            seconds = timeoutInSeconds if timeoutInSeconds is not None else timeout
            self.api_key = apiKey or os.environ.get("DIFFIO_API_KEY") or ""
            base_url = baseUrl or os.environ.get("DIFFIO_API_BASE_URL") or DEFAULT_BASE_URL
            self.base_url = base_url.rstrip("/")
            self.aio = AsyncDiffio(
                given.apiKey or self.api_key,
                base_url=base_url,
                options=ClientOptions(
                    headers=given.headers,
                    timeouts=options.timeouts(
                        given.timeout if given.timeout is not None else seconds
                    ),
                    retry=options.retry(
                        given.maxRetries, given.retryBackoff, given.retryStatusCodes
                    ),
                    # The published package uses the proxies of the environment.
                    trust_env=True,
                ),
            )

    def options(self, given: RequestOptionsLike) -> native.RequestOptions | None:
        """Return the options of one call."""
        with guide_errors():
            return options.of_call(self.client_options, given)

    def call(
        self,
        build: Callable[[Json], T],
        function: Callable[P, Coroutine[Any, Any, object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function and return its last response, built with `build`."""
        responses: Responses = {}
        self.run(responses, function, *args, **kwargs)
        return build(next(reversed(responses.values())))

    def run(
        self,
        responses: Responses,
        function: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function; its responses are added to `responses`.

        Raises:
            DiffioApiError: The error that corresponds to the DiffioError of the function.
        """

        def record(call: str, response: object) -> None:
            if isinstance(response, dict):
                responses.pop(call, None)
                responses[call] = response

        async def work() -> T:
            response_tap.set(record)
            return await function(*args, **kwargs)

        try:
            return bridge.run(work)
        except DiffioError as failure:
            raise to_compat_error(failure) from failure
        except (KeyboardInterrupt, SystemExit) as interruption:
            respell(interruption)
            raise

    def close(self) -> None:
        """Close the connections; later calls raise `DiffioClientClosed`."""
        self.run({}, self.aio.aclose)


@contextlib.contextmanager
def guide_errors() -> Iterator[None]:
    """Raise a DiffioError as the DiffioApiError that corresponds to it."""
    try:
        yield
    except DiffioError as failure:
        raise to_compat_error(failure) from failure
