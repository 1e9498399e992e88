"""Blocking work off the loop, never outlived by the descriptors it uses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakSet

import anyio

from diffio_async._storage.loops import running_loop
from diffio_async._storage.system_errors import ThreadShortage, no_thread, shortage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# anyio imports it at the first use, which may be where no descriptor is left to import anything.
importlib.import_module("anyio._backends._asyncio")

P = ParamSpec("P")
R = TypeVar("R")


#: Seconds for which a shortage of the process is waited out, and of the pauses between tries.
SHORTAGE_SECONDS, SHORTEST_PAUSE, LONGEST_PAUSE = 10.0, 0.05, 1.0


@cache
def _pool() -> ThreadPoolExecutor:
    # Not the loop's own: names are resolved there, and a stuck disk must not stop that.
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix="diffio-files")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _submitted(work: Callable[[], R]) -> Future[R]:
    """Queue work for the pool. Where no further thread can be started, those that run do it.

    Raises:
        ThreadShortage: None runs.
    """
    done: Future[R] = Future()
    pool = _pool()

    def job() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(raised)
        else:
            done.set_result(result)

    try:
        pool.submit(job)
    except RuntimeError as failure:
        if not no_thread(failure):
            raise
        # The pool queued the job before it tried to start a thread.
        if pool not in _with_threads and done.cancel():
            raise ThreadShortage(errno.EAGAIN, str(failure)) from failure
    else:
        _with_threads.add(pool)
    return done


#: Pools in which a thread runs: none of the threads ever ends.
_with_threads: WeakSet[ThreadPoolExecutor] = WeakSet()


class TrackedExecutor:
    """Runs blocking functions in threads and remembers which still run.

    A cancelled caller leaves at once, but its thread goes on to the end of the read or write it
    is in: whoever closes the descriptor calls `drain` first, lest the thread use another's.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `work`, run in a thread."""
        return await asyncio.shield(self.begin(work, *args, **kwargs))

    async def patiently(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `work`, tried again for a while where the process is short of something.

        Other work gives it back when it ends. `work` must undo itself where it fails.
        """
        end = running_loop().time() + SHORTAGE_SECONDS
        pause = SHORTEST_PAUSE
        while True:
            try:
                return await self.run(work, *args, **kwargs)
            except (OSError, MemoryError) as failure:
                shortage = shortage_of(failure)
                if shortage is None or not shortage.passing:
                    raise
                if running_loop().time() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def begin(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Run `work` in a thread; cancel what is returned only through a shield.

        Raises:
            ThreadShortage: There is no thread yet, and none can be started.
        """
        loop = running_loop()
        future = asyncio.wrap_future(_submitted(lambda: work(*args, **kwargs)), loop=loop)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        # Nobody may be left to ask: what was raised is not logged then.
        future.add_done_callback(_retrieve)
        return future

    async def drain(self) -> None:
        """Wait until nothing runs, cancelled or not."""
        await wait_all_uncancelled(self._running)


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class DedicatedThread:
    """Runs code of the user's that blocks, one call after another, in a thread of its own.

    Such a call may never come back (a socket nobody writes to). In the pool it would keep a place
    from everyone else's files, and the interpreter waits for the pool's threads when it exits.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `work`, run in the thread. A cancelled caller leaves at once."""
        loop = running_loop()
        # What is raised travels as a result: a future takes no StopIteration, and one that
        # nobody waits for any more is not logged.
        future: asyncio.Future[Callable[[], R]] = loop.create_future()

        def job() -> None:
            outcome = _outcome(work, *args, **kwargs)
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(future.set_result, outcome)

        if self._thread is None:
            thread = threading.Thread(target=self._work, name="diffio-source", daemon=True)
            begin_thread(thread)
            self._thread = thread
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        self._jobs.put(job)
        return (await asyncio.shield(future))()

    async def end(self, patience: float) -> None:
        """End the thread; what still runs in it is waited for, `patience` seconds at most."""
        self._jobs.put(None)
        await wait_all_uncancelled(self._running, patience)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # and with it what it read


def begin_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        ThreadShortage: The system starts no more.
    """
    try:
        thread.start()
    except RuntimeError as failure:
        if not no_thread(failure):
            raise
        raise ThreadShortage(errno.EAGAIN, str(failure)) from failure


def _outcome(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
    """Run `work`; what is returned returns, or raises, the same."""
    try:
        result = work(*args, **kwargs)
    except BaseException as raised:  # noqa: BLE001 - raised again where it is waited for
        failure = raised

        def fail() -> R:
            raise failure

        return fail
    return lambda: result


async def wait_uncancelled(future: asyncio.Future[R]) -> None:
    """Wait for a future to end, however often the waiter is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: The waiter was cancelled; raised when the future has ended.
    """
    await wait_all_uncancelled([future])


async def wait_all_uncancelled(
    futures: Iterable[asyncio.Future[Any]], patience: float | None = None
) -> None:
    """Wait for several futures as `settled` does, all of them before it raises.

    After `patience` seconds those that still run are left to themselves.
    """
    cut: asyncio.CancelledError | None = None
    waiting = set(futures)
    if not waiting:
        return
    loop = running_loop()
    end = None if patience is None else loop.time() + patience
    # anyio cancels again and again until a scope is left; a task's own cancellation comes once,
    # and once more at the loop's end. The scope stops the one, the loop the other.
    with anyio.CancelScope(shield=True):
        while waiting:
            left = None if end is None else max(0.0, end - loop.time())
            try:
                done, waiting = await asyncio.wait(waiting, timeout=left)
            except asyncio.CancelledError as cancelled:
                cut = cancelled
                continue
            for future in done:
                if not future.cancelled():
                    future.exception()  # retrieved, so that nobody logs it
            if not done:
                break
    if cut is not None:
        raise cut
