"""Logger of the package, which escapes text and suppresses errors of handlers; user callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

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
