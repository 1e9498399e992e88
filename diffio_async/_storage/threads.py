"""Tasks and threads: blocking work, waits that end it, and notifications."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakSet

import anyio

from diffio_async import _system
from diffio_async._protocol.retry import backoff
from diffio_async._storage.loops import running_loop
from diffio_async._storage.system_errors import ThreadShortage, is_thread_shortage, shortage_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


# anyio imports it at the first use, which may be where no descriptor is left to import anything.
importlib.import_module("anyio._backends._asyncio")

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds to retry while the process is short of a resource, and the delays between attempts.
SHORTAGE_TIMEOUT, MIN_RETRY_DELAY, MAX_RETRY_DELAY = 10.0, 0.05, 1.0
#: Threads of the pool.
MAX_THREADS = 16


@cache
def _pool() -> ThreadPoolExecutor:
    # Not the loop's default executor: it resolves host names, which a stuck disk must not block.
    return ThreadPoolExecutor(max_workers=MAX_THREADS, thread_name_prefix="diffio-files")


_system.register_at_fork(after_in_child=_pool.cache_clear)

#: Pools that have at least one thread; threads of a pool never end.
_started_pools: WeakSet[ThreadPoolExecutor] = WeakSet()


class _Threads:
    """Base of what runs blocking functions, and tracks those that are still running."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()

    def _submit(self, job: Callable[[], None]) -> None:
        raise NotImplementedError

    def start(
        self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[Callable[[], R]]:
        """Start `work` in a thread; await the future through a shield.

        Its result is a function that returns the result of `work`, or raises its exception: a
        future does not accept StopIteration, and asyncio would log one that nobody awaits.

        Raises:
            ThreadShortage: No thread can be started.
        """
        loop = running_loop()
        future: asyncio.Future[Callable[[], R]] = loop.create_future()

        def job() -> None:
            if not future.cancelled():
                outcome = _captured(work, *args, **kwargs)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_deliver, future, outcome)

        try:
            self._submit(job)
        except BaseException:
            future.cancel()  # the job may be queued
            raise
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a thread and return its result. A cancelled caller returns at once."""
        return (await asyncio.shield(self.start(work, *args, **kwargs)))()


class TrackedExecutor(_Threads):
    """Runs blocking functions in the thread pool.

    A cancelled caller returns at once, but its thread finishes the current read or write. Call
    `drain` before closing a descriptor, so that no thread uses a reused descriptor number.
    """

    def _submit(self, job: Callable[[], None]) -> None:
        """Queue a job; threads that already run do it if no more can be started."""
        pool = _pool()
        try:
            pool.submit(job)
        except RuntimeError as failure:
            if not is_thread_shortage(failure):
                raise
            # The pool queued the job before it tried to start a thread.
            if pool not in _started_pools:
                raise ThreadShortage(errno.EAGAIN, str(failure)) from failure
        else:
            _started_pools.add(pool)

    async def run_with_retries(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a thread; retry for a while if the process is short of a resource.

        Other work of the process may release the resource. `work` must clean up when it fails.
        """
        end = running_loop().time() + SHORTAGE_TIMEOUT
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self.run(work, *args, **kwargs)
            except (OSError, MemoryError) as failure:
                shortage = shortage_of(failure)
                if shortage is None or not shortage.transient:
                    raise
                delay = backoff(attempt, MIN_RETRY_DELAY, MAX_RETRY_DELAY)
                if running_loop().time() + delay > end:
                    raise
            await asyncio.sleep(delay)

    async def drain(self) -> None:
        """Wait until no function runs any more, also if the waiter is cancelled."""
        await wait_all_uncancelled(self._running)


class DedicatedThread(_Threads):
    """Runs blocking user code in a separate daemon thread, one call at a time.

    Such a call may never return (a socket without a writer). In the pool it would occupy a worker,
    and the interpreter waits for the pool at exit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def _submit(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="diffio-source", daemon=True)
            start_thread(thread)
            self._thread = thread
        self._jobs.put(job)

    async def stop(self, timeout: float) -> None:
        """Stop the thread; wait at most `timeout` seconds for the call that is running."""
        self._jobs.put(None)
        await wait_all_uncancelled(self._running, timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # release the data that it read


def _deliver(future: asyncio.Future[Callable[[], R]], outcome: Callable[[], R]) -> None:
    if not future.cancelled():
        future.set_result(outcome)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        ThreadShortage: The system cannot start more threads.
    """
    try:
        thread.start()
    except RuntimeError as failure:
        if not is_thread_shortage(failure):
            raise
        raise ThreadShortage(errno.EAGAIN, str(failure)) from failure


def _captured(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
    """Run `work`; return a function that returns its result or raises its exception."""
    try:
        result = work(*args, **kwargs)
    except BaseException as raised:  # noqa: BLE001 - raised to the caller
        failure = raised

        def fail() -> R:
            raise failure

        return fail
    return lambda: result


async def wait_uncancelled(future: asyncio.Future[R]) -> None:
    """Wait for a future to finish, even if the waiter is cancelled.

    Raises:
        asyncio.CancelledError: The waiter was cancelled; raised after the future has finished.
    """
    await wait_all_uncancelled([future])


async def wait_all_uncancelled(
    futures: Iterable[asyncio.Future[Any]], timeout: float | None = None
) -> None:
    """Wait for all futures as `wait_uncancelled` does.

    After `timeout` seconds, return without waiting for those that still run.
    """
    cancellation: asyncio.CancelledError | None = None
    waiting = set(futures)
    if not waiting:
        return
    loop = running_loop()
    end = None if timeout is None else loop.time() + timeout
    # anyio repeats a cancellation until the scope exits, which the shield prevents; asyncio
    # cancels a task once, and again when the loop shuts down, which the `while` handles.
    with anyio.CancelScope(shield=True):
        while waiting:
            remaining = None if end is None else max(0.0, end - loop.time())
            try:
                done, waiting = await asyncio.wait(waiting, timeout=remaining)
            except asyncio.CancelledError as cancelled:
                cancellation = cancelled
                continue
            for future in done:
                if not future.cancelled():
                    future.exception()  # retrieved, so that asyncio does not log it
            if not done:
                break
    if cancellation is not None:
        raise cancellation


async def run_workers(work: Callable[[], Awaitable[None]], count: int) -> None:
    """Run `work` in `count` tasks; the first failure cancels the rest, and is raised as it is."""
    if count == 1:
        await work()
        return
    failures: list[Exception] = []

    async def guarded() -> None:
        try:
            await work()
        except Exception as failure:  # noqa: BLE001 - raised again below
            failures.append(failure)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(guarded)
    if failures:
        raise failures[0]


class Notifier:
    """Notifies waiting tasks of changes. There is no lock: each operation on the set is atomic."""

    def __init__(self) -> None:
        #: Replaced with each notification: read it before the data, and no change is missed.
        self.version = object()
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake all waiting tasks; may be called on any thread."""
        self.version = object()
        for waiter in self._waiters.copy():
            with contextlib.suppress(RuntimeError):  # its loop is closed
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    async def wait(self, seen: object, seconds: float) -> bool:
        """Wait for a version other than `seen`; return False after so many seconds without one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            if self.version is seen:
                await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.discard(waiter)
        return self.version is not seen


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


T = TypeVar("T")

#: Seconds to wait for a blocking iterator after its consumer has stopped.
_STOP_TIMEOUT = 0.1
_END = object()


async def iterate(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    """Yield the items of an asynchronous or a plain iterable.

    A plain iterator may block, or call a blocking client: it runs in a dedicated thread. A
    collection cannot block, and is iterated directly.
    """
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif isinstance(items, Collection):
        for item in items:
            yield item
    else:
        async with aclosing(_iterate_in_thread(items)) as found:
            async for item in found:
                yield item


async def _iterate_in_thread(items: Iterable[T]) -> AsyncGenerator[T, None]:
    thread = DedicatedThread()
    iterator: Iterator[T] | None = None

    def next_item() -> object:
        nonlocal iterator
        if iterator is None:
            iterator = iter(items)
        return next(iterator, _END)

    try:
        while (item := await thread.run(next_item)) is not _END:
            yield item  # type: ignore[misc]
    finally:
        await thread.stop(_STOP_TIMEOUT)
