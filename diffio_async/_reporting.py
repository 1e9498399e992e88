"""Reporting of paid work: the logger, the callbacks of users, and the ids in errors."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import traceback
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from diffio_async._error_base import DiffioError
from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from types import TracebackType

    from diffio_async.types import Callback

T = TypeVar("T")


class _Log(logging.LoggerAdapter[logging.Logger]):
    """Logger adapter that suppresses exceptions of the user's handlers and filters."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message. Strings and errors among its arguments are escaped (see `printable`)."""
        # Skip this frame, so that records name the line that logged.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with contextlib.suppress(Exception):
            super().log(level, msg, *map(_escape, args), **kwargs)

    def process(self, msg: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the message and arguments unchanged."""
        return msg, kwargs


def _escape(argument: object) -> object:
    if isinstance(argument, (str, BaseException)):
        return printable(str(argument))
    return argument


def _format_traceback(record: logging.LogRecord) -> bool:
    """Format the traceback before any formatter does: escaped, and cut out of its middle."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and record.exc_text is None:
        lines = list[str]()
        # A frame of the traceback is several lines. A message is one: its line breaks are escaped.
        for entry in traceback.TracebackException.from_exception(error).format():
            text = entry.strip("\n")
            for each in text.split("\n") if text.startswith("  File ") else [text]:
                lines.append(_shortened(printable(each[:_LINE]), _LINE))
        record.exc_text = _shortened("\n".join(lines), _TRACEBACK)
    return True


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]} … {text[-limit // 2 :]}"


#: Characters of a line of a traceback, and of a whole one.
_LINE, _TRACEBACK = 2000, 16000

log = _Log(logging.getLogger("diffio_async"), {})
log.logger.addFilter(_format_traceback)


async def call_progress_callback(
    callback: Callback[T] | None, fact: T, *, log_failure: bool = True
) -> bool:
    """Call a callback and return whether it returned.

    An exception that it raises is logged if `log_failure`, and suppressed: the work is billed.
    """
    if callback is None:
        return True
    try:
        outcome = callback(fact)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        if log_failure:
            log.exception("a progress callback raised; the work it reports continues")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This task was not cancelled: the callback awaited something that was.
        if log_failure:
            log.exception("a progress callback was cancelled; the work it reports continues")
    else:
        return True
    return False


#: Exceptions that interrupt a call; the generations that it started continue at the service.
INTERRUPTIONS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
#: Generations that one interruption names; more would hide the traceback.
_MAX_NAMED = 100
#: Log messages about a generation that an interrupted call started, or was starting.
STARTED = "interrupted; generation %s of project %s may still run and be billed"
REQUESTED = (
    "interrupted while a generation of project %s was being started (idempotency key %s); it may "
    "run and be billed"
)


class AttachedIds:
    """Context manager that attaches ids to exceptions; a generator would take twice as long."""

    __slots__ = ("_ids",)

    def __init__(self, ids: Mapping[str, str | None]) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        """Begin the work."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Attach the ids to the exception that ended the work."""
        if isinstance(error, DiffioError):
            for name, value in self._ids.items():
                # A key is useful with its project; before that exists, nothing was paid for.
                useful = name != "idempotency_key" or error.api_project_id is not None
                if value is not None and useful and getattr(error, name) is None:
                    setattr(error, name, value)
                    error.add_note(f"{name}={value}")
        elif error is not None:
            noted = getattr(error, "__notes__", [])
            for name, value in self._ids.items():
                if value is not None and not any(note.startswith(f"{name}=") for note in noted):
                    error.add_note(f"{name}={value}")
                    if isinstance(error, INTERRUPTIONS):
                        setattr(error, name, value)


def attach_ids(**ids: str | None) -> AttachedIds:
    """Attach the ids of uploaded or paid work to every exception of the body.

    Args:
        ids: `api_project_id`, `generation_id` or `idempotency_key`; None is omitted.
    """
    return AttachedIds(ids)


@contextlib.contextmanager
def attach_started(
    *, api_project_id: str, generation_id: str | None = None, idempotency_key: str | None = None
) -> Iterator[None]:
    """Attach the ids of a generation that this call starts, or has started.

    An interruption is also logged: `asyncio.TaskGroup` and `gather` drop the notes of a cancelled
    child. It gets the attribute `may_be_billed`.

    Args:
        api_project_id: The project.
        generation_id: The generation; None while it is requested.
        idempotency_key: The key of the request.
    """
    ids = {"api_project_id": api_project_id, "generation_id": generation_id}
    with attach_ids(**ids, idempotency_key=idempotency_key):
        try:
            yield
        except INTERRUPTIONS as error:
            vars(error)["may_be_billed"] = True
            if generation_id is None:
                log.warning(REQUESTED, api_project_id, idempotency_key)
            else:
                log.warning(STARTED, generation_id, api_project_id)
            raise


@contextlib.contextmanager
def concerning_many(running: Callable[[], Collection[tuple[str, str | None]]]) -> Iterator[None]:
    """Attach the generations that continue when the body is interrupted.

    Args:
        running: Returns their ids, each with that of its project, if known.
    """
    try:
        yield
    except INTERRUPTIONS as error:
        ids = running()
        for generation_id, api_project_id in islice(ids, _MAX_NAMED):
            error.add_note(f"generation_id={generation_id}")
            if api_project_id is not None:
                error.add_note(f"api_project_id={api_project_id}")
        if len(ids) > _MAX_NAMED:
            error.add_note(f"and {len(ids) - _MAX_NAMED} more generations")
        raise
