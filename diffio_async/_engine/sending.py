"""The retry loop: a call is sent until it is answered, refused for good, or out of time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from diffio_async._engine.closing import Closing
from diffio_async._engine.descriptors import connections_per_host
from diffio_async._engine.dressing import Dressing
from diffio_async._engine.hooks import guarded
from diffio_async._engine.loops import running_loop
from diffio_async._engine.ranges_in_flight import RangesInFlight
from diffio_async._engine.server_clock import ServerClock
from diffio_async._engine.transport import Attempt, Transport
from diffio_async._logging import log
from diffio_async._wire.addresses import api_base_url, header_items, is_insecure, plausible_api_key
from diffio_async._wire.calls import Host
from diffio_async._wire.codec import decoded
from diffio_async._wire.contents import parsed
from diffio_async._wire.failures import error_for, request_id
from diffio_async._wire.redaction import public_url
from diffio_async._wire.replay import Replay, next_delay
from diffio_async._wire.requests import Request, prepared
from diffio_async.errors import AnswerLost, DiffioError, NotReached, Timeout
from diffio_async.events import (
    AnswerReceived,
    RequestFailed,
    RequestSent,
    RetryScheduled,
    UploadRestarted,
    UploadResumed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diffio_async._engine.bodies import Body
    from diffio_async._engine.transport import Answer, Exchange
    from diffio_async._wire.calls import Call
    from diffio_async.events import Event
    from diffio_async.options import CallOptions, ClientOptions, RequestOptions

T = TypeVar("T")

_TOLD_LOUDER = (RetryScheduled, UploadResumed)

#: Told the name of each answered call and its JSON as it came, in the tasks where it is set: models
#: do not keep how a time stamp was spelled.
hearing: ContextVar[Callable[[str, object], None] | None] = ContextVar("hearing", default=None)


@cache
def _warn_of_plain_http(base_url: str) -> None:
    """Log one warning for each base URL in the life of the process."""
    log.warning(
        "the API key and recordings are sent unencrypted to %s: allow_insecure_http is on", base_url
    )


def log_event(event: Event) -> None:
    """The first observer: every event at DEBUG, retries at INFO. Events hold no secrets."""
    level = logging.INFO if isinstance(event, _TOLD_LOUDER) else logging.DEBUG
    level = logging.WARNING if isinstance(event, UploadRestarted) else level
    log.log(level, "%s", event)


class Sender:
    """Sends calls for one client: its address, its key, its options, its transport."""

    def __init__(self, key: str | None, base_url: str, options: ClientOptions) -> None:
        self.base_url = api_base_url(base_url, allow_insecure_http=options.allow_insecure_http)
        if is_insecure(self.base_url):
            _warn_of_plain_http(public_url(self.base_url))
        self.options = options
        self._key = plausible_api_key(key)
        header_items(options.headers)
        self.transport = Transport(options)
        self.closing = Closing()
        self.server_clock = ServerClock()
        self.ranges = RangesInFlight(min(options.ranges_in_flight, connections_per_host(options)))
        self._observers = (log_event, *options.observers)
        self._dressing = Dressing(self._key, options)

    def __reduce__(self) -> tuple[type[Sender], tuple[str, str, ClientOptions]]:
        """Pickle what it was made from, the key included: connections stay where they are."""
        return Sender, (self._key, self.base_url, self.options)

    @property
    def heard(self) -> bool:
        """Whether anybody would hear of what is told at DEBUG."""
        return len(self._observers) > 1 or log.isEnabledFor(logging.DEBUG)

    def tell(self, event: Event) -> None:
        """Tell the observers; one that raises is logged and harms nobody."""
        for observer in self._observers:
            try:
                observer(event)
            except (Exception, asyncio.CancelledError):  # the latter of a future it looked at
                log.exception("an observer raised on %s", type(event).__name__)

    async def send(
        self, call: Call[T], options: RequestOptions | None = None, *, body: Body | None = None
    ) -> T:
        """Send a call until an answer is final, and decode it.

        Raises:
            DiffioError: The last failure, with the earlier ones as notes.
        """
        request, answer = await self._answered(call, options, body)
        model = decoded(
            answer.body,
            call.returns,
            call=call.name,
            status=answer.status,
            secrets=request.secrets,
            needs=call.needs,
        )
        hear = hearing.get()
        if hear is not None:
            hear(call.name, parsed(answer.body))
        return model

    async def body(self, call: Call[T], options: RequestOptions | None = None) -> bytes:
        """Send a call as `send` does; its answer as it came."""
        _, answer = await self._answered(call, options, None)
        return answer.body

    def under(self, options: RequestOptions | None) -> CallOptions:
        """The client's options with those of a call laid over them."""
        return self._dressing.of(options)[0]

    async def _answered(
        self, call: Call[T], options: RequestOptions | None, body: Body | None
    ) -> tuple[Request, Answer]:
        under, dress = self._dressing.of(options)
        request = prepared(call, base_url=self.base_url, dress=dress)
        answer = await self.perform(
            call.name,
            request,
            call.replay,
            under,
            body=body,
            also=call.also_transient,
            about=call.about,
        )
        return request, answer

    async def perform(
        self,
        name: str,
        request: Request,
        replay: Replay,
        under: CallOptions,
        *,
        body: Body | None = None,
        also: frozenset[int] = frozenset(),
        about: str = "",
    ) -> Answer:
        """Make attempts until one succeeds. A recording's bytes have no total: only stalls end."""
        running_loop()
        began = time.monotonic()
        earlier: list[str] = []
        while True:
            number = len(earlier) + 1
            elapsed = time.monotonic() - began
            attempt = Attempt(
                request=request,
                timeouts=under.timeouts,
                total=_total(under, elapsed) if body is None else None,
                body=body,
                fresh=replay is Replay.NEVER,
            )
            try:
                async with nullcontext() if body is None else body.place():
                    return await self._once(name, number, attempt, about)
            except DiffioError as failure:
                delay = next_delay(
                    guarded(under.retry),
                    replay,
                    failure,
                    attempt=number,
                    elapsed=time.monotonic() - began,
                    jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
                    also=also,
                )
                if delay is None:
                    for note in earlier:
                        failure.add_note(note)
                    raise
                reason = f"{type(failure).__name__}: {failure}"
            earlier.append(f"attempt {number}: {reason}")
            self.tell(RetryScheduled(call=name, attempt=number, delay=delay, reason=reason))
            await self.closing.pause(delay)

    @contextmanager
    def asked(
        self, name: str, number: int, request: Request
    ) -> Iterator[Callable[[Answer | Exchange], None]]:
        """Tell observers of a request, and that it failed where the body raises.

        What is given tells them of its answer.
        """
        if not self.heard:
            yield _untold
            return
        url, began = public_url(request.url), time.monotonic()
        self.tell(RequestSent(call=name, method=request.method, url=url, attempt=number))

        def answered(answer: Answer | Exchange) -> None:
            self.tell(
                AnswerReceived(
                    call=name,
                    method=request.method,
                    url=url,
                    attempt=number,
                    status=answer.status,
                    seconds=time.monotonic() - began,
                    request_id=request_id(answer.headers, request.secrets),
                )
            )

        try:
            yield answered
        except BaseException as failure:
            self.tell(
                RequestFailed(
                    call=name,
                    method=request.method,
                    url=url,
                    attempt=number,
                    seconds=time.monotonic() - began,
                    reason=_why(failure),
                )
            )
            raise

    async def _once(self, name: str, number: int, attempt: Attempt, about: str) -> Answer:
        request = attempt.request
        with self.asked(name, number, request) as answered:
            answer = await self.transport.attempt(attempt)
            answered(answer)
        if request.host is Host.API and self.server_clock.stale:
            self.server_clock.record(answer.headers)
        if answer.ok:
            return answer
        raise error_for(
            answer.status,
            answer.headers,
            answer.body,
            call=name,
            host=request.host,
            now=self.server_clock.now(),
            secrets=request.secrets,
            about=about,
        )

    async def aclose(self) -> None:
        """End pauses and uploads, then close the connections: all raise `ClientClosed`."""
        try:
            await self.closing.end()
        finally:
            await self.transport.aclose()


def _why(failure: BaseException) -> str:
    """Why there was no answer, in a few words."""
    if isinstance(failure, asyncio.CancelledError):
        return "cancelled"
    if isinstance(failure, NotReached):
        return failure.cause or "not reached"
    if isinstance(failure, Timeout):
        return "timed out"
    return "connection lost" if isinstance(failure, AnswerLost) else type(failure).__name__


def _untold(_: Answer | Exchange) -> None:
    """Nobody hears of this answer."""


def _total(under: CallOptions, elapsed: float) -> float | None:
    """Seconds this attempt may take: its own total, cut where the retry budget ends."""
    total, budget = under.timeouts.total, under.retry.budget
    if budget is None:
        return total
    left = max(0.001, budget - elapsed)
    return left if total is None else min(total, left)
