"""Console output that never raises and never blocks the caller on a slow reader."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from diffio_async import _system
from diffio_async._text import cells, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console as RichConsole
    from rich.live import Live
    from rich.table import Table

#: ASCII replacements in lines of `Console.live`, for streams that are not UTF.
_ASCII = str.maketrans({"…": "~", "━": "=", "─": "-"})
#: Bytes that a writable pipe accepts without blocking (POSIX: PIPE_BUF is at least 512).
_PIPE_CHUNK = 512
#: Bytes buffered for a slow reader before optional output is dropped.
_MAX_BUFFERED = 1 << 20
#: Seconds between two checks of a reader that is not reading.
_POLL_SECONDS = 0.1
_REFRESH_PER_SECOND = 5
#: Columns that the last cell of a table needs on a terminal, to be wrapped.
_MIN_LAST = 20


class _Writer:
    """Byte writer that hands what would block to a thread.

    After the first failure, all further output is dropped.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw
        self.failure: Exception | None = None
        self.buffered = 0
        self._chunks: deque[bytes] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, data: bytes) -> None:
        """Write now or queue, preserving the order of the calls."""
        with self._condition:
            if not self.buffered:
                data = self._write_available(data)
            if not data or self.failure is not None:
                return
            self.buffered += len(data)
            self._chunks.append(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="console", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def wait(self, max_bytes: int) -> None:
        """Block until at most `max_bytes` are left to write."""
        with self._condition:
            while self.buffered > max_bytes and self.failure is None:
                self._condition.wait(_POLL_SECONDS)

    def _write_available(self, data: bytes) -> bytes:
        """Write what does not block. Return the rest."""
        try:
            while data and _system.wait_writable(self.raw.fileno(), 0):
                count = self.raw.write(data[:_PIPE_CHUNK])
                if not count:
                    break
                data = data[count:]
        except (OSError, ValueError) as failure:
            self.failure = failure
        return data

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._chunks:
                    self._condition.wait()
                data = self._chunks.popleft()
            try:
                view = memoryview(data)
                while view:
                    # None means that a non-blocking pipe is full.
                    count = self.raw.write(view)
                    if count is None:
                        _system.wait_writable(self.raw.fileno(), _POLL_SECONDS)
                    view = view[count or 0 :]
            except (OSError, ValueError) as failure:
                self.failure = failure
            with self._condition:
                self.buffered -= len(data)
                self._condition.notify_all()
                if self.failure is not None:
                    return


class Output:
    """Text output to a standard stream. Write failures are recorded, not raised.

    Args:
        name: Attribute of `sys`, looked up for each write.
        background: Whether a thread writes what would block.
    """

    def __init__(self, name: Literal["stdout", "stderr"], *, background: bool) -> None:
        self._name = name
        self._background = background
        self._writer: _Writer | None = None
        self._failure: Exception | None = None

    @property
    def _stream(self) -> TextIO | None:
        # None under pythonw, and if the descriptor was closed before the process started.
        return cast("TextIO | None", getattr(sys, self._name, None))

    @property
    def encoding(self) -> str:
        """The stream's encoding; UTF-8 if it has none that Python knows."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            "".encode(encoding)
        except (LookupError, TypeError):
            return "utf-8"
        return str(encoding)

    @property
    def failure(self) -> Exception | None:
        """The first write failure, or None."""
        return self._failure if self._writer is None else self._writer.failure

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        try:
            return bool(self._stream is not None and self._stream.isatty())
        except Exception:  # noqa: BLE001 - a stream of the user's may raise anything
            return False

    def fileno(self) -> int:
        """Return the stream's file descriptor.

        Raises:
            OSError: The stream has no descriptor.
        """
        try:
            return cast("TextIO", self._stream).fileno()
        except Exception as failure:
            raise OSError(f"{self._name} has no descriptor") from failure

    def write(self, text: str, *, optional: bool = False) -> int:
        """Write text unescaped. `optional` text is dropped while a slow reader lags behind."""
        stream = self._stream
        if stream is None or not text:
            return len(text)
        data = text.encode(self.encoding, "backslashreplace")
        writer = self._writer_for(stream)
        if writer is None:
            try:
                stream.write(data.decode(self.encoding))
                stream.flush()
            except Exception as failure:  # noqa: BLE001 - output must not end paid work
                self._failure = failure
        elif not (optional and writer.buffered > _MAX_BUFFERED):
            writer.write(data.replace(b"\n", os.linesep.encode()))
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` flushes."""

    def wait(self, *, max_bytes: int = _MAX_BUFFERED) -> None:
        """Block until at most `max_bytes` are buffered for the reader."""
        if self._writer is not None:
            self._writer.wait(max_bytes)

    def _writer_for(self, stream: TextIO) -> _Writer | None:
        """Return the writer for a real file, None for any other stream."""
        raw = getattr(stream, "buffer", None) if self._background else None
        raw = getattr(raw, "raw", raw)  # PYTHONUNBUFFERED leaves out the buffered layer
        if not isinstance(raw, io.RawIOBase):
            return None
        if self._writer is None or self._writer.raw is not raw:
            with contextlib.suppress(Exception):
                # Output that other code printed before must come first.
                stream.flush()
            self._writer = _Writer(raw)
        return self._writer


class Console:
    """Results on standard output and notes on standard error, for people and programs.

    Lines are escaped (see `printable`); JSON and CSV are written unchanged. No method raises.

    Args:
        background: Whether a thread writes what would block; `close` waits for that thread.
    """

    def __init__(self, *, background: bool = False) -> None:
        self.out = Output("stdout", background=background)
        self.err = Output("stderr", background=background)
        self._live: Live | None = None

    def result(self, *lines: str, style: str | None = None) -> None:
        """Print lines on standard output, in a rich `style` if it is a terminal."""
        if (self._live is not None or style is not None) and self.out.isatty():
            terminal = _rich_console(self.out) if self._live is None else self._live.console
            _print_with_rich(terminal, self.out, lines, style)
        else:
            self.out.write(_to_lines(lines))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows on standard output, below the names of their columns.

        Columns named with a leading blank are aligned to the right. A terminal that is wide enough
        wraps the cells of the last column; otherwise each row is one line, with its ids whole.
        """
        shown = [[printable(cell) for cell in row] for row in rows]
        names = [name.strip() for name in columns]
        widths = [max(map(cells, column)) for column in zip(names, *shown, strict=True)]
        if self.out.isatty():
            with contextlib.suppress(Exception):
                terminal = _rich_console(self.out)
                needed = sum(width + 2 for width in widths[:-1]) + min(widths[-1], _MIN_LAST)
                if needed <= terminal.width:
                    terminal.print(_rich_table(columns, shown))
                    return
        self.out.write("".join(f"{line}\n" for line in _aligned(columns, widths, shown)))

    def note(self, *lines: str) -> None:
        """Print lines on standard error, above the live lines."""
        if self._live is not None:
            _print_with_rich(self._live.console, self.err, lines, None)
        else:
            self.err.write(_to_lines(lines))

    def json(self, value: Mapping[str, object], *, optional: bool = False) -> None:
        """Print an object as one line on standard output (`optional`: see `Output.write`)."""
        self.out.write(json.dumps(value) + "\n", optional=optional)

    @contextlib.contextmanager
    def live(self, lines: Callable[[int], list[str]]) -> Iterator[None]:
        """Show refreshed lines at the bottom of the terminal, if there is one, during the body.

        Args:
            lines: Returns the current lines for a number of columns; called by another thread.
        """
        # A failed display must not end paid work.
        with contextlib.suppress(Exception):
            self._live = _start_live(self.err, lines) if self.err.isatty() else None
        try:
            yield
        finally:
            live, self._live = self._live, None
            if live is not None:
                with contextlib.suppress(Exception):
                    live.stop()

    def close(self) -> None:
        """Wait for buffered output. Report a failure of standard output on standard error."""
        self.out.wait(max_bytes=0)
        if self.failed:
            failure = self.out.failure
            reason = failure.strerror if isinstance(failure, OSError) else str(failure)
            self.note(f"diffio-async: standard output is incomplete: {reason}")
        self.err.wait(max_bytes=0)

    @property
    def failed(self) -> bool:
        """Whether standard output failed. A closed pipe does not count as a failure."""
        failure = self.out.failure
        return failure is not None and not isinstance(failure, BrokenPipeError)


def _to_lines(lines: tuple[str, ...]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)


def _aligned(
    columns: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    for row in ([name.strip() for name in columns], *rows):
        words = []
        for name, cell, width in zip(columns, row, widths, strict=True):
            gap = " " * (width - cells(cell))
            words.append(gap + cell if name.startswith(" ") else cell + gap)
        yield "  ".join(words).rstrip()


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name.startswith(" ") else "left"
        is_last = name is columns[-1]
        table.add_column(name.strip(), justify=justify, overflow="fold", no_wrap=not is_last)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print_with_rich(
    terminal: RichConsole, plain: Output, lines: tuple[str, ...], style: str | None
) -> None:
    """Print lines with rich, or as plain text if rich fails."""
    try:
        from rich.text import Text

        text = Text("\n".join(map(printable, lines)), style=style or "")
        terminal.print(text, soft_wrap=True, crop=False)
    except Exception:  # noqa: BLE001 - output must not end paid work
        plain.write(_to_lines(lines))


def _start_live(err: Output, lines: Callable[[int], list[str]]) -> Live:
    from rich.live import Live
    from rich.text import Text

    terminal = _rich_console(err)

    def render() -> Text:
        text = ""
        with contextlib.suppress(Exception):
            text = "\n".join(printable(line) for line in lines(terminal.width))
        if not err.encoding.lower().startswith("utf"):
            text = text.translate(_ASCII)
        styled = Text(text, no_wrap=True, overflow="crop")
        styled.highlight_regex("━+", "bar.complete")
        styled.highlight_regex("─+", "bar.back")
        return styled

    live = Live(
        get_renderable=render,
        console=terminal,
        refresh_per_second=_REFRESH_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    )
    live.start()
    return live


def _rich_console(output: Output) -> RichConsole:
    from rich.console import Console as RichConsole

    return RichConsole(file=cast("Any", output), markup=False, emoji=False, highlight=False)
