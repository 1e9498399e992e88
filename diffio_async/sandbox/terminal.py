"""What the sandbox prints: escaped lines, and no failure of the terminal ends it."""

import logging
import sys
import traceback


def printable(text: str) -> str:
    """Escape what a terminal would obey instead of show, line breaks included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_lines(*lines: str) -> None:
    """Print lines on standard output."""
    _write(sys.stdout, lines)


def complain(*lines: str) -> None:
    """Print lines on standard error."""
    _write(sys.stderr, lines)


def _write(stream: object, lines: tuple[str, ...]) -> None:
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = "".join(f"{printable(line)}\n" for line in lines)
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]
    except (AttributeError, LookupError, OSError, ValueError):
        # There is no such stream, it is closed, its disk is full or nobody reads it.
        return


class PrintedLog(logging.Handler):
    """Prints log records; what a client sent cannot begin a line of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record and its traceback."""
        try:
            lines = [f"{record.levelname} {record.getMessage()}"]
            if record.exc_info and record.exc_info[1] is not None:
                shown = traceback.TracebackException.from_exception(record.exc_info[1])
                for text in shown.format():
                    # Frames have several lines; what an error says may be anybody's words.
                    frame = text.startswith("  File ")
                    lines += text.rstrip("\n").split("\n") if frame else [f"  {text.strip()}"]
        except Exception:  # noqa: BLE001 - a record that cannot be formatted is left out
            return
        complain(*lines)


def print_log(level: int) -> None:
    """Print what is logged from a level on, unless logging was set up before."""
    logging.basicConfig(level=level, handlers=[PrintedLog()])
