"""The console that all commands print through, and what is logged while they run."""

from __future__ import annotations

import contextlib
import logging
import traceback

from diffio_async._console import Console
from diffio_async._text import printable
from diffio_async.cli.exit_codes import FAILED

console = Console(aside=True)


def after_output(code: int) -> int:
    """Return the exit code of a command whose whole work is to print.

    A reader who closed the pipe had enough; any other failure of standard output is a failure.
    """
    console.out.wait(most=0)
    return FAILED if console.failed else code


class ConsoleHandler(logging.Handler):
    """Prints records as lines on standard error, escaped, above what is live there.

    Args:
        traced: Whether tracebacks are printed; where not, what was raised is a part of the line.
    """

    def __init__(self, *, traced: bool) -> None:
        super().__init__()
        self._traced = traced

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; one that cannot be formatted is left out."""
        with contextlib.suppress(Exception):
            error = record.exc_info[1] if record.exc_info else None
            line = record.getMessage()
            if self._traced:
                console.note(f"{record.levelname} {line}", *_traced(error))
            else:
                console.note(line + (f" ({type(error).__name__}: {error})" if error else ""))


def _traced(error: BaseException | None) -> list[str]:
    """The traceback as lines, if there is one; what an error says cannot begin one."""
    found: list[str] = []
    if error is None:
        return found
    for text in traceback.TracebackException.from_exception(error).format():
        # Of entries with several lines only frames are ours; messages may be anybody's.
        frame = text.startswith("  File ")
        found += text.rstrip("\n").split("\n") if frame else [f"  {printable(text.strip())}"]
    return found


def log_to_console(level: int, *, traced: bool = True) -> None:
    """Print what is logged at this level or above."""
    logging.basicConfig(level=level, handlers=[ConsoleHandler(traced=traced)])
