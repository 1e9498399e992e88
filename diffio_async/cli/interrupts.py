"""Runs a command's coroutine; SIGINT and SIGTERM cancel it and set the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any

from diffio_async._http.error_context import REQUESTED, STARTED
from diffio_async._storage.system_errors import shortage_of
from diffio_async.cli.console import FAILED, INTERRUPTED, TERMINATED, console, print_error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: None on Windows, which has no such signal.
_HANGUP: int | None = getattr(signal, "SIGHUP", None)


#: Whether the command has reported its interruption itself.
_interruption_reported = False


def mark_interruption_reported() -> None:
    """Record that the command has printed what its interruption means."""
    global _interruption_reported  # noqa: PLW0603 - a process runs one command
    _interruption_reported = True


def run(
    work: Callable[[], Coroutine[Any, Any, int]], *, is_server: bool = False, as_json: bool = False
) -> int:
    """Run `work` and return its exit code; 130 or 143 if a signal cancelled it.

    An interruption that `work` does not report is printed as one line, or one object with
    `as_json`, unless it is a server.

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
        if as_json:
            console.json({"event": "interrupted"})
        else:
            console.note("interrupted")
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
        if _HANGUP is not None:
            add_handler(_HANGUP, stop if is_server else _ignore)
    except NotImplementedError:
        # On Windows, asyncio.run turns Ctrl-C into a cancellation and KeyboardInterrupt.
        pass
    try:
        return await work()
    except asyncio.CancelledError:
        if not received:
            raise
        task.uncancel()
        return 128 + received[0]
    finally:
        remove_handlers()


def _ignore(_: int) -> None:
    """Ignore a signal."""
