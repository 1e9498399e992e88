"""Events of a client: the observers that receive them, and the operations that they belong to."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from diffio_async._protocol.api_errors import request_id
from diffio_async._protocol.redaction import public_url
from diffio_async._reporting import log
from diffio_async.errors import ConnectionFailed, ResponseLost, ResponseTimeout
from diffio_async.events import (
    Event,
    OperationEnded,
    OperationStarted,
    RequestFailed,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
    UploadRestarted,
    UploadResumed,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from diffio_async._http.exchange import Exchange
    from diffio_async._protocol.requests import Request
    from diffio_async.options import Observer

#: The levels at which events are logged; the others are logged at DEBUG.
_LEVELS: dict[type[Event], int] = {
    RetryScheduled: logging.INFO,
    UploadResumed: logging.INFO,
    UploadRestarted: logging.WARNING,
}
_UNOBSERVED: AbstractContextManager[Callable[[Exchange], None]] = nullcontext(lambda _: None)
#: Numbers of operations, unique in this process.
_numbers = itertools.count(1)
#: The operation that the running task is part of. Tasks and blocking calls inherit it.
current_operation: ContextVar[int | None] = ContextVar("current_operation", default=None)


def _log_event(event: Event) -> None:
    """Log an event: it has no secrets."""
    log.log(_LEVELS.get(type(event), logging.DEBUG), "%s", event)


class Observers:
    """Observers of one client; the log is one of them if its level is low enough."""

    def __init__(self, observers: tuple[Observer, ...]) -> None:
        self._observers = observers
        self._by_type: dict[type[Event], tuple[Observer, ...]] = {}

    @property
    def active(self) -> bool:
        """Return whether events that are logged at DEBUG are observed at all."""
        return bool(self._observers) or log.logger.isEnabledFor(logging.DEBUG)

    def emit(self, event: Event) -> None:
        """Notify the observers; log what one raises."""
        for observer in self.receivers(type(event)):
            try:
                observer(event)
            except (Exception, asyncio.CancelledError):  # the latter by `Future.result`
                log.exception("an observer raised on %s", type(event).__name__)

    def receivers(self, event_type: type[Event]) -> tuple[Observer, ...]:
        """Return the observers that receive a class of events."""
        found = self._by_type.get(event_type)
        if found is None:
            found = self._by_type[event_type] = tuple(
                observer
                for observer in self._observers
                if event_type in getattr(observer, "event_types", (event_type,))
            )
        # The level may change at any time.
        is_logged = log.logger.isEnabledFor(_LEVELS.get(event_type, logging.DEBUG))
        return (_log_event, *found) if is_logged else found

    def request(
        self, name: str, number: int, request: Request
    ) -> AbstractContextManager[Callable[[Exchange], None]]:
        """Notify observers of a request, and of its failure if the body raises.

        Yields a function that notifies them of the response.
        """
        return _ObservedRequest(self, name, number, request) if self.active else _UNOBSERVED


class _ObservedRequest:
    """One request that observers are notified of. A class costs less than a generator."""

    def __init__(self, observers: Observers, name: str, number: int, request: Request) -> None:
        self._observers, self._name, self._number = observers, name, number
        self._request, self._url = request, public_url(request.url)
        self._operation_id = current_operation.get()
        self._started_at = time.monotonic()

    def __enter__(self) -> Callable[[Exchange], None]:
        if self._observers.receivers(RequestSent):
            self._emit(RequestSent)
        return self._on_response

    def _on_response(self, response: Exchange) -> None:
        self._emit(
            ResponseReceived,
            status=response.status,
            seconds=time.monotonic() - self._started_at,
            request_id=request_id(response.received_headers, self._request.secrets),
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            seconds = time.monotonic() - self._started_at
            self._emit(RequestFailed, seconds=seconds, reason=_why(error))

    def _emit(
        self,
        event_type: Callable[..., RequestSent | ResponseReceived | RequestFailed],
        **more: object,
    ) -> None:
        event = event_type(
            call=self._name,
            method=self._request.method,
            url=self._url,
            attempt=self._number,
            operation_id=self._operation_id,
            **more,
        )
        self._observers.emit(event)


class Operation:
    """One operation, for the body of a `with` statement in a coroutine; silent if unobserved.

    One that is detached in the body continues. Another `with` statement ends it, maybe in another
    task.

    Attributes:
        number: The id of the operation; None if it is not observed.
        generation_id: The generation, as soon as it is known.
        api_project_id: The project, as soon as it is known.
        size: Bytes that were transferred, when they are known.
    """

    __slots__ = (
        "_detached",
        "_name",
        "_observers",
        "_parent_id",
        "_started_at",
        "api_project_id",
        "generation_id",
        "number",
        "size",
    )

    def __init__(
        self,
        observers: Observers,
        name: str,
        *,
        generation_id: str | None = None,
        api_project_id: str | None = None,
    ) -> None:
        self._observers, self._name = observers, name
        self.generation_id, self.api_project_id = generation_id, api_project_id
        self.size: int | None = None
        self.number: int | None = None
        self._detached = False

    def detach(self) -> None:
        """Let the operation continue after the body."""
        self._detached = True

    def __enter__(self) -> Self:
        self._detached = False
        if self.number is not None:
            current_operation.set(self.number)
        elif self._observers.active:
            self._parent_id, self._started_at = current_operation.get(), time.monotonic()
            self.number = next(_numbers)
            current_operation.set(self.number)
            self._observers.emit(
                OperationStarted(
                    name=self._name,
                    operation_id=self.number,
                    parent_id=self._parent_id,
                    generation_id=self.generation_id,
                    api_project_id=self.api_project_id,
                )
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.number is not None:
            current_operation.set(self._parent_id)
            if self._detached and error is None:
                return
            self._observers.emit(
                OperationEnded(
                    name=self._name,
                    operation_id=self.number,
                    parent_id=self._parent_id,
                    generation_id=self.generation_id or getattr(error, "generation_id", None),
                    api_project_id=self.api_project_id or getattr(error, "api_project_id", None),
                    seconds=time.monotonic() - self._started_at,
                    size=self.size,
                    error=None if kind is None else kind.__name__,
                )
            )


def _why(failure: BaseException) -> str:
    """Return why there was no response, in a few words."""
    if isinstance(failure, asyncio.CancelledError):
        return "cancelled"
    if isinstance(failure, ConnectionFailed):
        return failure.cause or "not reached"
    if isinstance(failure, ResponseTimeout):
        return "timed out"
    return "connection lost" if isinstance(failure, ResponseLost) else type(failure).__name__
