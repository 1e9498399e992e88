"""Ctrl-C and SIGTERM: cancel the work, let it clean up after itself, say so by the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any

from diffio_async._http.error_context import REQUESTED, STARTED
from diffio_async._storage.system_errors import shortage_of
from diffio_async.cli.console import console
from diffio_async.cli.exit_codes import FAILED, INTERRUPTED
from diffio_async.cli.usage_error import print_error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = {128 + number for number in SIGNALS}
#: The terminal went away. Windows has no such signal.
_HANGUP: int | None = getattr(signal, "SIGHUP", None)

#: Whether the interruption of this command was reported by the command itself.
_reported = False


def interruption_reported() -> None:
    """Record that the command has printed what its interruption means."""
    global _reported  # noqa: PLW0603 - a process is one command
    _reported = True


def run(
    work: Callable[[], Coroutine[Any, Any, int]], *, serves: bool = False, as_json: bool = False
) -> int:
    """Run `work` to its exit code; a signal cancels it and makes the code 130 or 143.

    An interruption that `work` does not report is reported in one line, or one object with
    `as_json`, unless the command `serves`.

    A second signal does not wait for the cleaning up. A terminal that goes away (SIGHUP) ends
    nothing, since the work is paid for; only what `serves` is stopped by it, with the code 129.
    Where this process or the machine is short of something, that is one line, and the code is 1.
    """
    try:
        code = asyncio.run(_listening(work, serves=serves))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (OSError, MemoryError, RuntimeError) as failure:
        shortage = shortage_of(failure)
        if shortage is None:
            raise
        print_error(f"the command ended early: {shortage.text}")
        return FAILED
    if code in _INTERRUPTED and not serves and not _reported:
        if as_json:
            console.json({"event": "interrupted"})
        else:
            console.note("interrupted")
    return code


async def _listening(work: Callable[[], Coroutine[Any, Any, int]], *, serves: bool) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs has a task
    caught: list[int] = []
    heard: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        # The command prints these itself, with the commands to run next.
        logging.getLogger("diffio_async").addFilter(
            lambda record: record.msg not in {STARTED, REQUESTED}
        )
        while heard:
            loop.remove_signal_handler(heard.pop())
        task.cancel()

    try:
        for number in SIGNALS:
            # A process started with a signal ignored (nohup, a background job) stays deaf to it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop, number)
                heard.append(number)
        if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
            loop.add_signal_handler(_HANGUP, stop if serves else _outlived, _HANGUP)
            heard.append(_HANGUP)
    except NotImplementedError:
        # Windows: asyncio.run turns Ctrl-C into a cancellation and KeyboardInterrupt itself.
        pass
    try:
        return await work()
    except asyncio.CancelledError:
        if not caught:
            raise
        task.uncancel()
        return 128 + caught[0]
    finally:
        while heard:
            loop.remove_signal_handler(heard.pop())


def _outlived(_: int) -> None:
    """Go on."""
