"""Events of a client: the observers that receive them, and the operations that they belong to."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from diffio_async._protocol.api_errors import request_id
from diffio_async._protocol.redaction import public_url
from diffio_async._reporting import log
from diffio_async.errors import ConnectionFailed, ResponseLost, ResponseTimeout
from diffio_async.events import (
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
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from diffio_async._http.exchange import Exchange
    from diffio_async._protocol.requests import Request
    from diffio_async.events import Event
    from diffio_async.options import Observer

_INFO_EVENTS = (RetryScheduled, UploadResumed)
_UNOBSERVED: AbstractContextManager[Callable[[Exchange], None]] = nullcontext(lambda _: None)
#: Numbers of operations, unique in this process.
_numbers = itertools.count(1)
#: The operation that the running task is part of. Tasks and blocking calls inherit it.
current_operation: ContextVar[int | None] = ContextVar("current_operation", default=None)


def log_event(event: Event) -> None:
    """Log an event at DEBUG, retries at INFO, restarted uploads at WARNING; without secrets."""
    level = logging.INFO if isinstance(event, _INFO_EVENTS) else logging.DEBUG
    level = logging.WARNING if isinstance(event, UploadRestarted) else level
    if log.isEnabledFor(level):
        log.log(level, "%s", event)


class Observers:
    """Observers of one client; the log is always one of them."""

    def __init__(self, observers: tuple[Observer, ...]) -> None:
        self._observers = (log_event, *observers)

    @property
    def active(self) -> bool:
        """Return whether events logged at DEBUG are observed at all."""
        return len(self._observers) > 1 or log.isEnabledFor(logging.DEBUG)

    def emit(self, event: Event) -> None:
        """Notify the observers; log what one raises."""
        for observer in self._observers:
            try:
                observer(event)
            except (Exception, asyncio.CancelledError):  # the latter by `Future.result`
                log.exception("an observer raised on %s", type(event).__name__)

    def request(
        self, name: str, number: int, request: Request
    ) -> AbstractContextManager[Callable[[Exchange], None]]:
        """Notify observers of a request, and of its failure if the body raises.

        Yields a function that notifies them of the response.
        """
        return self._observed(name, number, request) if self.active else _UNOBSERVED

    @contextmanager
    def _observed(
        self, name: str, number: int, request: Request
    ) -> Iterator[Callable[[Exchange], None]]:
        url, started_at = public_url(request.url), time.monotonic()
        operation_id = current_operation.get()
        self.emit(
            RequestSent(
                call=name,
                method=request.method,
                url=url,
                attempt=number,
                operation_id=operation_id,
            )
        )

        def notify_response(response: Exchange) -> None:
            self.emit(
                ResponseReceived(
                    call=name,
                    method=request.method,
                    url=url,
                    attempt=number,
                    status=response.status,
                    seconds=time.monotonic() - started_at,
                    request_id=request_id(response.headers, request.secrets),
                    operation_id=operation_id,
                )
            )

        try:
            yield notify_response
        except BaseException as failure:
            self.emit(
                RequestFailed(
                    call=name,
                    method=request.method,
                    url=url,
                    attempt=number,
                    seconds=time.monotonic() - started_at,
                    reason=_why(failure),
                    operation_id=operation_id,
                )
            )
            raise


class Operation:
    """One operation, for the body of a `with` statement in a coroutine; silent if unobserved.

    Attributes:
        number: The id of the operation; None if it is not observed.
        generation_id: The generation, as soon as it is known.
        api_project_id: The project, as soon as it is known.
        size: Bytes that were transferred, when they are known.
    """

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

    def __enter__(self) -> Self:
        if self._observers.active:
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
