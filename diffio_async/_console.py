"""The standard streams: text goes out escaped, and neither raises nor holds up the work."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console as Terminal
    from rich.live import Live

#: What lines drawn by `Console.live` may hold, for terminals that have ASCII alone.
_ASCII = str.maketrans({"…": "~", "━": "=", "─": "-"})
#: Bytes that a pipe which is writable takes without blocking.
_AT_ONCE = 512
#: Bytes that may wait for a slow reader before what is optional is dropped.
_MAX_WAITING = 1 << 20
#: Seconds between two looks at a reader that takes nothing.
_LOOK = 0.1
_REFRESHES = 5


class _Writer:
    """Writes bytes to a file. What it does not take at once is written by a thread.

    After the first failure everything is dropped.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw
        self.failure: Exception | None = None
        self.waiting = 0
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, data: bytes) -> None:
        """Write, now or later, in the order of the calls."""
        with self._changed:
            if not self.waiting:
                data = self._written_at_once(data)
            if not data or self.failure is not None:
                return
            self.waiting += len(data)
            self._chunks.append(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="console", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, most: int) -> None:
        """Wait until at most so many bytes are left to write."""
        with self._changed:
            while self.waiting > most and self.failure is None:
                self._changed.wait(_LOOK)

    def _written_at_once(self, data: bytes) -> bytes:
        """Write what blocks nobody; the rest is returned."""
        try:
            while data and _writable(self.raw, 0):
                count = self.raw.write(data[:_AT_ONCE])
                if not count:
                    break
                data = data[count:]
        except (OSError, ValueError) as failure:
            self.failure = failure
        return data

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._chunks:
                    self._changed.wait()
                data = self._chunks.popleft()
            try:
                view = memoryview(data)
                while view:
                    # None: a pipe that does not block, and is full.
                    count = self.raw.write(view)
                    if count is None:
                        _writable(self.raw, _LOOK)
                    view = view[count or 0 :]
            except (OSError, ValueError) as failure:
                self.failure = failure
            with self._changed:
                self.waiting -= len(data)
                self._changed.notify_all()
                if self.failure is not None:
                    return


def _writable(raw: io.RawIOBase, seconds: float) -> bool:
    """Whether a write would not block, as far as the system can tell; no longer than `seconds`."""
    if os.name == "nt":
        threading.Event().wait(seconds)
        return False
    return bool(select.select([], [raw], [], seconds)[1])


class Output:
    """One of the standard streams, as text; whatever happens to it, nothing is raised.

    Args:
        name: Which one; what `sys` has under that name is looked up for each write.
        aside: Whether a thread writes what the other side is slow to take.
    """

    def __init__(self, name: Literal["stdout", "stderr"], *, aside: bool) -> None:
        self._name = name
        self._aside = aside
        self._writer: _Writer | None = None
        self._failure: Exception | None = None

    @property
    def _stream(self) -> TextIO | None:
        # None under pythonw, and where the descriptor was closed before the start.
        return cast("TextIO | None", getattr(sys, self._name, None))

    @property
    def encoding(self) -> str:
        """The stream's encoding; UTF-8 where it has none that Python knows."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            "".encode(encoding)
        except (LookupError, TypeError):
            return "utf-8"
        return str(encoding)

    @property
    def failure(self) -> Exception | None:
        """Why something could not be written, None while all is well."""
        return self._failure if self._writer is None else self._writer.failure

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return bool(self._stream is not None and self._stream.isatty())
        except Exception:  # noqa: BLE001 - a stream of the user's may raise anything
            return False

    def fileno(self) -> int:
        """The descriptor.

        Raises:
            OSError: There is none.
        """
        try:
            return cast("TextIO", self._stream).fileno()
        except Exception as failure:
            raise OSError(f"{self._name} has no descriptor") from failure

    def write(self, text: str, *, optional: bool = False) -> int:
        """Write text as it is. What is `optional` is dropped while much waits for a slow reader."""
        stream = self._stream
        if stream is None or not text:
            return len(text)
        data = text.encode(self.encoding, "backslashreplace")
        writer = self._writer_of(stream)
        if writer is None:
            try:
                stream.write(data.decode(self.encoding))
                stream.flush()
            except Exception as failure:  # noqa: BLE001 - it must not end what is paid for
                self._failure = failure
        elif not (optional and writer.waiting > _MAX_WAITING):
            writer.put(data.replace(b"\n", os.linesep.encode()))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def wait(self, *, most: int = _MAX_WAITING) -> None:
        """Block until at most so many bytes wait for whoever reads."""
        if self._writer is not None:
            self._writer.wait(most)

    def _writer_of(self, stream: TextIO) -> _Writer | None:
        """The writer of a real file, None for any other kind of stream."""
        raw = getattr(stream, "buffer", None) if self._aside else None
        raw = getattr(raw, "raw", raw)  # under PYTHONUNBUFFERED there is no buffer between
        if not isinstance(raw, io.RawIOBase):
            return None
        if self._writer is None or self._writer.raw is not raw:
            with contextlib.suppress(Exception):
                # What was printed by others before comes first.
                stream.flush()
            self._writer = _Writer(raw)
        return self._writer


class Console:
    """Where people and programs are shown what happens.

    Lines are escaped (see `printable`), JSON and CSV are written as they are. Nothing raises.

    Args:
        aside: Whether a thread writes what the other side is slow to take; `close` waits for it.
    """

    def __init__(self, *, aside: bool = False) -> None:
        self.out = Output("stdout", aside=aside)
        self.err = Output("stderr", aside=aside)
        self._live: Live | None = None

    def result(self, *lines: str, style: str | None = None) -> None:
        """Print lines on standard output; in a style of rich's, where that is a terminal."""
        if (self._live is not None or style is not None) and self.out.isatty():
            terminal = _terminal(self.out) if self._live is None else self._live.console
            _drawn(terminal, self.out, lines, style)
        else:
            self.out.write(_joined(lines))

    def note(self, *lines: str) -> None:
        """Print lines on standard error, above what is live there."""
        if self._live is not None:
            _drawn(self._live.console, self.err, lines, None)
        else:
            self.err.write(_joined(lines))

    def json(self, fact: Mapping[str, object], *, optional: bool = False) -> None:
        """Print an object as a line on standard output; see `Output.write` for `optional`."""
        self.out.write(json.dumps(fact) + "\n", optional=optional)

    @contextlib.contextmanager
    def live(self, lines: Callable[[int], list[str]]) -> Iterator[None]:
        """Within the body, show lines at the bottom of the terminal that standard error is.

        Args:
            lines: Gives the lines of now, for a number of columns; called by another thread.
        """
        try:
            self._live = _started(self.err, lines)
        except Exception:  # noqa: BLE001 - a terminal that cannot show it is no reason to stop
            self._live = None
        try:
            yield
        finally:
            live, self._live = self._live, None
            if live is not None:
                with contextlib.suppress(Exception):
                    live.stop()

    def close(self) -> None:
        """Wait until everything is written, or cannot be; say so if standard output failed."""
        self.out.wait(most=0)
        if self.failed:
            failure = self.out.failure
            reason = failure.strerror if isinstance(failure, OSError) else str(failure)
            self.note(f"diffio-async: standard output could not be written whole: {reason}")
        self.err.wait(most=0)

    @property
    def failed(self) -> bool:
        """Whether standard output failed; a reader who has had enough is no failure."""
        failure = self.out.failure
        return failure is not None and not isinstance(failure, BrokenPipeError)


def _joined(lines: tuple[str, ...]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)


def _drawn(terminal: Terminal, plain: Output, lines: tuple[str, ...], style: str | None) -> None:
    """Print lines by way of rich; plainly, where that fails."""
    try:
        from rich.text import Text

        text = Text("\n".join(map(printable, lines)), style=style or "")
        terminal.print(text, soft_wrap=True, crop=False)
    except Exception:  # noqa: BLE001 - what cannot be shown must not end what is paid for
        plain.write(_joined(lines))


def _started(err: Output, lines: Callable[[int], list[str]]) -> Live:
    from rich.live import Live
    from rich.text import Text

    terminal = _terminal(err)

    def drawn() -> Text:
        text = ""
        with contextlib.suppress(Exception):
            text = "\n".join(printable(line) for line in lines(terminal.width))
        if not err.encoding.lower().startswith("utf"):
            text = text.translate(_ASCII)
        drawing = Text(text, no_wrap=True, overflow="crop")
        drawing.highlight_regex("━+", "bar.complete")
        drawing.highlight_regex("─+", "bar.back")
        return drawing

    live = Live(
        get_renderable=drawn,
        console=terminal,
        refresh_per_second=_REFRESHES,
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    )
    live.start()
    return live


def _terminal(output: Output) -> Terminal:
    from rich.console import Console as Rich

    return Rich(file=cast("Any", output), markup=False, emoji=False, highlight=False)
