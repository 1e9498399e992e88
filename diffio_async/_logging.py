"""Logger of the package. Handler errors are suppressed, and logged text is escaped."""

from __future__ import annotations

import contextlib
import logging
import traceback
from typing import TYPE_CHECKING, Any

from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


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
