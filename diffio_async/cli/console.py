"""Console, log handler, error output and exit codes shared by all commands."""

from __future__ import annotations

import contextlib
import logging
import signal
import traceback

from diffio_async._console import Console
from diffio_async._text import printable
from diffio_async.sandbox.log_limit import ServerErrorLimit

OK = 0
#: At least one file or generation failed; each failure was reported.
FAILED = 1
#: Wrong usage or configuration; nothing was sent.
USAGE = 2
#: 128 and the signal number, as shells report it: Ctrl-C (130), SIGTERM (143), SIGHUP (129).
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
HUNG_UP = 128 + 1
#: Exit codes of the signals that stop a server.
STOPPED = frozenset({INTERRUPTED, TERMINATED, HUNG_UP})


console = Console(background=True)


def exit_code_after_output(code: int) -> int:
    """Wait for buffered output. Return `code`, or FAILED if standard output failed.

    For commands that only print. A reader that closed the pipe does not count as a failure.
    """
    console.out.wait(max_bytes=0)
    return FAILED if console.failed else code


def exit_with_usage_error(error: Exception, *, as_json: bool) -> int:
    """Print why the command was refused, on stderr and as JSON. Return USAGE."""
    if as_json:
        console.json(
            {
                "event": "refused",
                "error": type(error).__name__,
                "message": str(error),
                "exit_code": USAGE,
            }
        )
    print_error(error)
    return USAGE


def print_error(error: Exception | str) -> None:
    """Print an error as one line on standard error."""
    if isinstance(error, OSError) and error.filename:
        console.note(f"diffio-async: {error.filename}: {error.strerror}")
    else:
        console.note(f"diffio-async: {error}")


class ConsoleHandler(logging.Handler):
    """Log handler that prints escaped lines on standard error, above the live lines.

    Args:
        tracebacks: Whether tracebacks are printed; if not, the exception is part of the line.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks
        self.addFilter(ServerErrorLimit())

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record. A record that cannot be formatted is dropped."""
        with contextlib.suppress(Exception):
            error = record.exc_info[1] if record.exc_info else None
            line = record.getMessage()
            if self._tracebacks:
                console.note(f"{record.levelname} {line}", *_traceback_lines(error))
            else:
                console.note(line + (f" ({type(error).__name__}: {error})" if error else ""))


def _traceback_lines(error: BaseException | None) -> list[str]:
    """Return the lines of a traceback; an error message cannot forge a line of its own."""
    lines: list[str] = []
    if error is None:
        return lines
    for text in traceback.TracebackException.from_exception(error).format():
        # Only frames may span several lines; messages may contain foreign text.
        frame = text.startswith("  File ")
        lines += text.rstrip("\n").split("\n") if frame else [f"  {printable(text.strip())}"]
    return lines


def log_to_console(level: int, *, tracebacks: bool = True) -> None:
    """Print log records of this level or above."""
    logging.basicConfig(level=level, handlers=[ConsoleHandler(tracebacks=tracebacks)])
