"""What every command shares: options, console, signals, refusals and its exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from attrs import field, frozen

from diffio_async import _system
from diffio_async._console import Console
from diffio_async._protocol.redaction import MASK
from diffio_async._reporting import REQUESTED, STARTED
from diffio_async._storage.system_errors import shortage_of
from diffio_async._text import printable, shell_line
from diffio_async.cli import FAILED, HUNG_UP, INTERRUPTED, OK, TERMINATED, USAGE
from diffio_async.sandbox.request_log import ServerErrorLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from diffio_async.models.generations import DownloadType

EXIT_CODES = (
    "Exit codes: 0 all succeeded; 1 at least one failed; 2 wrong usage or configuration, "
    "nothing was sent; 130 interrupted (Ctrl-C); 143 terminated."
)
#: Exit codes of commands that make one request.
CALL_EXIT_CODES = (
    "Exit codes: 0 done; 1 it failed; 2 wrong usage or configuration, nothing was sent."
)
DOWNLOAD_TYPES: dict[str, DownloadType] = {
    "audio": "audio",
    "video": "video",
    "transcript": "transcript",
}


def _check_type(value: str) -> str:
    if value not in DOWNLOAD_TYPES:
        raise typer.BadParameter(f"choose audio, video or transcript, not {value!r}.")
    return value


TypeOption = Annotated[
    str,
    typer.Option(
        "--type",
        metavar="|".join(DOWNLOAD_TYPES),
        help="What to download.",
        callback=_check_type,
        autocompletion=lambda: [*DOWNLOAD_TYPES],
    ),
]
ModelOption = Annotated[str, typer.Option(metavar="MODEL", help="Model to restore with.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line on standard output.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Maximum wait for each generation, in seconds. Default: 3600.",
    ),
]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL of the proxy; '' uses none. Default: HTTPS_PROXY or ALL_PROXY, except for the "
        "hosts in NO_PROXY.",
    ),
]
KEY_ID_VARIABLE = "DIFFIO_API_KEY_ID"
ApiKeyIdOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        envvar=KEY_ID_VARIABLE,
        show_envvar=False,
        help=f"Id of the API key. Default: {KEY_ID_VARIABLE}, or the calling key.",
    ),
]
CacertOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the certificates to trust. Default: CURL_CA_BUNDLE, SSL_CERT_FILE, "
        "REQUESTS_CA_BUNDLE, or those of the system.",
    ),
]


@frozen
class NetworkOptions:
    """Network options of the running command. A proxy URL may contain a password."""

    proxy: str | None = field(default=None, repr=False)
    cacert: str | None = None


network_options: ContextVar[NetworkOptions] = ContextVar(
    "network_options",
    default=NetworkOptions(),  # noqa: B039 - frozen
)


def command_line(*words: str) -> str:
    """Return a `diffio-async` command for a shell, with the network options of this one.

    The password of a proxy is masked.
    """
    network = network_options.get()
    line = ["diffio-async", *words]
    if network.proxy is not None:
        credentials, at, host = network.proxy.rpartition("@")
        scheme, separator, _ = credentials.rpartition("://")
        line += ["--proxy", f"{scheme}{separator}{MASK}{at}{host}" if at else network.proxy]
    if network.cacert is not None:
        line += ["--cacert", network.cacert]
    return shell_line(line)


console = Console(background=True)


def print_event(
    event: Mapping[str, object],
    *lines: str,
    as_json: bool,
    to_stderr: bool = False,
    style: str | None = None,
) -> None:
    """Print an event as one JSON object on stdout, or as lines on stdout or stderr.

    `style`: rich style of the lines on stdout, if it is a terminal.
    """
    if as_json:
        console.json(event)
    elif to_stderr:
        console.note(*lines)
    else:
        console.result(*lines, style=style)


def print_error(error: Exception | str) -> None:
    """Print an error as one line on standard error."""
    if isinstance(error, OSError) and error.filename:
        error = f"{error.filename}: {error.strerror}"
    console.note(f"diffio-async: {error}")


def can_prompt() -> bool:
    """Return whether the user sees a prompt, and can reply to it."""
    return sys.stdin is not None and sys.stdin.isatty() and console.err.isatty()


def confirm(prompt: str) -> bool:
    """Return the reply of the user to a prompt; exit with 130 after Ctrl-C."""
    try:
        return typer.confirm(prompt, default=False, err=True)
    except typer.Abort:
        console.note("", "interrupted; nothing was sent")
        raise typer.Exit(INTERRUPTED) from None


def exit_code_after_output(code: int) -> int:
    """Wait for buffered output. Return `code`, or FAILED if standard output failed.

    For commands that only print. A reader that closed the pipe does not count as a failure.
    """
    console.out.wait(max_bytes=0)
    return FAILED if console.failed else code


class _ConsoleHandler(logging.Handler):
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
    logging.basicConfig(level=level, handlers=[_ConsoleHandler(tracebacks=tracebacks)])


def run_and_exit(
    work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool = False, is_server: bool = False
) -> NoReturn:
    """Run a command and exit with the code that `work` returns, or that of the signal.

    `work` raises what `exit_if_refused` prints before it has sent anything. A server that is
    stopped by a signal exits with 0.
    """
    with exit_if_refused(as_json=as_json, is_server=is_server):
        code = _run(work, as_json=as_json, is_server=is_server)
    if is_server and code in {INTERRUPTED, TERMINATED, HUNG_UP}:
        code = OK
    raise typer.Exit(code)


@contextlib.contextmanager
def exit_if_refused(*, as_json: bool, is_server: bool = False) -> Iterator[None]:
    """Print an invalid configuration or input that the body raises, and exit with 2.

    For a server, also a file or an address that cannot be used.
    """
    try:
        yield
    except Exception as error:
        if not _is_refusal(error, is_server=is_server):
            raise
        if as_json:
            refusal = {"error": type(error).__name__, "message": str(error), "exit_code": USAGE}
            console.json({"event": "refused", **refusal})
        print_error(error)
        raise typer.Exit(USAGE) from None


def _is_refusal(error: Exception, *, is_server: bool) -> bool:
    from diffio_async.errors import ConfigurationError, DatabaseError, InvalidSource
    from diffio_async.sandbox import SandboxError

    refusals = (ConfigurationError, DatabaseError, InvalidSource, SandboxError)
    return isinstance(error, refusals) or (is_server and isinstance(error, OSError))


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Whether the command has reported its interruption itself.
_interruption_reported = False


def mark_interruption_reported() -> None:
    """Record that the command has printed what its interruption means."""
    global _interruption_reported  # noqa: PLW0603 - a process runs one command
    _interruption_reported = True


def _run(work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool, is_server: bool) -> int:
    """Run `work` and return its exit code; 130 or 143 if a signal cancelled it.

    An interruption that `work` does not report is printed, unless it is a server.

    A second signal does not wait for the cleanup. SIGHUP (the terminal was closed) is ignored,
    since the work is paid for; it stops a server, with the code 129. A shortage of memory, disk,
    threads or file descriptors is reported in one line, with the code 1.
    """
    try:
        code = asyncio.run(_run_until_signal(work, is_server=is_server))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (OSError, MemoryError, RuntimeError) as failure:
        shortage = shortage_of(failure)
        if shortage is None:
            raise
        print_error(f"the command ended early: {shortage.text}")
        return FAILED
    if code in {INTERRUPTED, TERMINATED} and not is_server and not _interruption_reported:
        print_event({"event": "interrupted"}, "interrupted", as_json=as_json, to_stderr=True)
    return code


async def _run_until_signal(
    work: Callable[[], Coroutine[Any, Any, int]], *, is_server: bool
) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a running coroutine has a task
    received: list[int] = []
    handled: list[int] = []

    def add_handler(number: int, callback: Callable[[int], None]) -> None:
        # A signal that was ignored at the start (nohup, a background job) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, callback, number)
            handled.append(number)

    def remove_handlers() -> None:
        while handled:
            loop.remove_signal_handler(handled.pop())

    def stop(number: int) -> None:
        received.append(number)
        # The command prints what these messages say, with the commands to run next.
        logging.getLogger("diffio_async").addFilter(
            lambda record: record.msg not in {STARTED, REQUESTED}
        )
        remove_handlers()
        task.cancel()

    try:
        for number in _STOP_SIGNALS:
            add_handler(number, stop)
        if _system.HANGUP is not None:
            add_handler(_system.HANGUP, stop if is_server else lambda _: None)
    except NotImplementedError:
        # On Windows, asyncio.run turns Ctrl-C into a cancellation and KeyboardInterrupt.
        pass
    is_interruptible = signal.SIGINT in handled
    try:
        return await work()
    except asyncio.CancelledError:
        if not received:
            raise
        task.uncancel()
        return 128 + received[0]
    finally:
        remove_handlers()
        if is_interruptible:
            # All is done: Python's handler would print a traceback when threads are joined.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
