"""The package's logger: a handler of the user's that raises ends no work, and text is escaped."""

from __future__ import annotations

import contextlib
import logging
import traceback
from typing import TYPE_CHECKING, Any

from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Log(logging.LoggerAdapter[logging.Logger]):
    """Log like a logger; what handlers and filters raise is suppressed."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message; strings and errors among its arguments are escaped (see `printable`)."""
        # One frame more: records name the line that logged.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with contextlib.suppress(Exception):
            super().log(level, msg, *map(_shown, args), **kwargs)

    def process(self, msg: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Add nothing."""
        return msg, kwargs


def _shown(argument: object) -> object:
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
