"""Transport of API calls: options, the retry loop and the server's clock."""

from __future__ import annotations

import random
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from attrs import define, evolve
from multidict import CIMultiDict, istr

from diffio_async._http.exchange import Attempt, fetch
from diffio_async._http.observers import Observers, Operation, current_operation
from diffio_async._http.sessions import ConnectionCounter, Sessions
from diffio_async._http.shutdown import ShutdownCoordinator
from diffio_async._protocol.api_errors import error_from_response
from diffio_async._protocol.codec import decode, parse_body
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.requests import (
    ApiHeaders,
    Host,
    Request,
    build_api_headers,
    build_request,
)
from diffio_async._protocol.retry import RetrySafety, http_date, retry_delay
from diffio_async._protocol.urls import (
    api_base_url,
    is_insecure,
    plausible_api_key,
    validate_headers,
)
from diffio_async._reporting import log
from diffio_async._storage.files import connections_per_host
from diffio_async._storage.loops import running_loop
from diffio_async.errors import DiffioError
from diffio_async.events import RetryScheduled
from diffio_async.options import NO_RETRY, RequestOptions, resolve_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from diffio_async._http.bodies import StreamingBody
    from diffio_async._http.exchange import Exchange
    from diffio_async._protocol.requests import ApiRequest
    from diffio_async.options import ClientOptions, ResolvedOptions

#: Seconds until another `Date` is recorded.
_CLOCK_SECONDS = 10.0


T = TypeVar("T")

#: Called with the name and the raw JSON of each response, in the tasks that set it: models do not
#: keep the spelling of time stamps.
response_tap: ContextVar[Callable[[str, object], None] | None] = ContextVar(
    "response_tap", default=None
)


@cache
def _warn_of_plain_http(base_url: str) -> None:
    """Log one warning for each base URL in the life of the process."""
    log.warning(
        "the API key and recordings are sent unencrypted to %s: allow_insecure_http is on", base_url
    )


@define
class ServerClock:
    """Estimates the server's time from the latest `Date` header and the monotonic clock.

    Times that a server sets (an expiry, a `Retry-After` date) are compared with this, because the
    clock of this machine may be wrong. Its resolution is one second.
    """

    _latest: tuple[str, float] | None = None

    @property
    def stale(self) -> bool:
        """Return whether the next response should be recorded."""
        return self._latest is None or time.monotonic() - self._latest[1] > _CLOCK_SECONDS

    @property
    def known(self) -> bool:
        """Return whether a response had a valid `Date`."""
        return self.estimate() is not None

    def record(self, headers: Mapping[str, str]) -> None:
        """Record a response that just arrived; `headers` has lower-case names."""
        date = headers.get("date")
        if date is not None:
            self._latest = date, time.monotonic()

    def estimate(self) -> datetime | None:
        """Return the server's time, or None before a response had a valid `Date`."""
        if self._latest is None:
            return None
        text, at = self._latest
        date = http_date(text)
        return None if date is None else date + timedelta(seconds=time.monotonic() - at)

    def now(self) -> datetime:
        """Return the server's time; before a response had a `Date`, this machine's."""
        return self.estimate() or datetime.fromtimestamp(time.time(), UTC)


class ApiTransport:
    """Sends the calls of one client, with its address, key, options and connections."""

    def __init__(self, key: str | None, base_url: str, options: ClientOptions) -> None:
        self.base_url = api_base_url(base_url, allow_insecure_http=options.allow_insecure_http)
        if is_insecure(self.base_url):
            _warn_of_plain_http(public_url(self.base_url))
        self.options = options
        self._key = plausible_api_key(key)
        validate_headers(options.headers)
        self.sessions = Sessions(options)
        self.closing = ShutdownCoordinator()
        self.server_clock = ServerClock()
        self.ranges = ConnectionCounter(
            min(options.max_download_connections, connections_per_host(options))
        )
        self.observers = Observers(options.observers)
        self.emit = self.observers.emit
        #: The options of the last call that had some, and of those without, and their context.
        self._contexts: dict[
            bool, tuple[RequestOptions | None, tuple[ResolvedOptions, ApiHeaders]]
        ] = {}

    def __reduce__(self) -> tuple[type[ApiTransport], tuple[str, str, ClientOptions]]:
        """Pickle the constructor arguments, the key included, without connections."""
        return ApiTransport, (self._key, self.base_url, self.options)

    async def send(
        self,
        call: ApiRequest[T],
        options: RequestOptions | None = None,
        *,
        body: StreamingBody | None = None,
        retry: bool = True,
    ) -> T:
        """Send a call, with retries unless `retry` is false, and decode its response.

        Raises:
            DiffioError: The last failure, with the earlier ones as notes.
        """
        response = await self._exchange(call, options, body, retry=retry)
        model = decode(
            response.body,
            call.returns,
            call=call.name,
            status=response.status,
            secrets=response.request.secrets,
            needs=call.needs,
        )
        tap = response_tap.get()
        if tap is not None:
            tap(call.name, parse_body(response.body))
        return model

    async def body(self, call: ApiRequest[T], options: RequestOptions | None = None) -> bytes:
        """Send a call once, and return the body of its response."""
        return (await self._exchange(call, options, None, retry=False)).body

    def operation(
        self, name: str, *, generation_id: str | None = None, api_project_id: str | None = None
    ) -> Operation:
        """Return an operation, which observers are notified of; for a `with` in a coroutine."""
        return Operation(
            self.observers, name, generation_id=generation_id, api_project_id=api_project_id
        )

    def resolve(self, options: RequestOptions | None) -> ResolvedOptions:
        """Return the client's options, overridden by those of a call."""
        return self._context(options)[0]

    def _context(self, options: RequestOptions | None) -> tuple[ResolvedOptions, ApiHeaders]:
        """Return the resolved options of a call, and its headers for the API.

        Raises:
            ConfigurationError: The options, the key or a header are invalid.
        """
        # The user's headers are a mutable mapping.
        fixed = not self.options.headers and not getattr(options, "headers", None)
        known = self._contexts.get(options is None)
        if fixed and known is not None and known[0] is options:
            return known[1]
        resolved = resolve_options(self.options, options)
        built = build_api_headers(self._key, resolved)
        # Names whose lower-case form is known are not converted for each request.
        names = CIMultiDict({istr(name): value for name, value in built.headers.items()})
        context = resolved, evolve(built, headers=names)
        if fixed:
            self._contexts[options is None] = options, context
        return context

    def _exchange(
        self,
        call: ApiRequest[T],
        options: RequestOptions | None,
        body: StreamingBody | None,
        *,
        retry: bool,
    ) -> Awaitable[Exchange]:
        under, headers = self._context(options)
        if not retry:
            under = evolve(under, retry=NO_RETRY)
        request = build_request(call, base_url=self.base_url, api_headers=headers)
        return self.send_with_retries(
            call.name,
            request,
            call.retry_safety,
            under,
            body=body,
            also=call.extra_retry_statuses,
            about=call.about,
        )

    async def send_with_retries(
        self,
        name: str,
        request: Request,
        replay: RetrySafety,
        under: ResolvedOptions,
        *,
        body: StreamingBody | None = None,
        also: frozenset[int] = frozenset(),
        about: str = "",
    ) -> Exchange:
        """Make attempts until one succeeds. Uploads have no total time-out, but one for stalls."""
        running_loop()
        started_at = time.monotonic()
        earlier: list[str] = []
        while True:
            number = len(earlier) + 1
            elapsed = time.monotonic() - started_at
            attempt = Attempt(
                request=request,
                timeouts=under.timeouts,
                total=_remaining_total(under, elapsed) if body is None else None,
                body=body,
                once=replay is RetrySafety.NEVER,
            )
            try:
                if body is None:
                    return await self._attempt(name, number, attempt, about)
                async with body.slot():
                    return await self._attempt(name, number, attempt, about)
            except DiffioError as failure:
                delay = retry_delay(
                    under.retry,
                    replay,
                    failure,
                    attempt=number,
                    # On a slow link, one part may take longer than any total time-out.
                    elapsed=time.monotonic() - started_at if body is None else None,
                    jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
                    also=also,
                )
                if delay is None:
                    for note in earlier:
                        failure.add_note(note)
                    raise
                reason = f"{type(failure).__name__}: {failure}"
            earlier.append(f"attempt {number}: {reason}")
            self.emit(
                RetryScheduled(
                    call=name,
                    attempt=number,
                    delay=delay,
                    reason=reason,
                    operation_id=current_operation.get(),
                )
            )
            await self.closing.sleep(delay)

    async def _attempt(self, name: str, number: int, attempt: Attempt, about: str) -> Exchange:
        request = attempt.request
        with self.observers.request(name, number, request) as notify_response:
            response = await fetch(self.sessions, attempt, self.options.max_response_bytes)
            notify_response(response)
        if request.host is Host.API and self.server_clock.stale:
            self.server_clock.record(response.headers)
        if response.ok:
            return response
        raise error_from_response(
            response.status,
            response.headers,
            response.body,
            call=name,
            host=request.host,
            now=self.server_clock.now(),
            clock_known=self.server_clock.known,
            secrets=request.secrets,
            about=about,
        )

    async def aclose(self, *, interrupted: bool = False) -> None:
        """End pauses and uploads, then close the connections: all raise `ClientClosed`.

        Args:
            interrupted: Wait for aborts of uploads only briefly.
        """
        try:
            await self.closing.close(interrupted=interrupted)
        finally:
            await self.sessions.aclose()


def _remaining_total(under: ResolvedOptions, elapsed: float) -> float | None:
    """Return the seconds that an attempt may take, by its time-out and the retry policy's."""
    total, budget = under.timeouts.total, under.retry.total_timeout
    if budget is None:
        return total
    left = max(0.001, budget - elapsed)
    return left if total is None else min(total, left)
