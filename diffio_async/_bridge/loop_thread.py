"""The event loop that runs the coroutines of blocking calls: one per process, in its own thread.

The first call starts it, a fork replaces it, and the exit of the interpreter stops it.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from diffio_async._bridge.system import new_loop, register_after_fork, separate_selector

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable
    from contextvars import Context

#: Seconds to wait for a cancelled task to unwind.
UNWIND_SECONDS = 5.0
_FINALISE_SECONDS = 1.0
OWN_THREAD = (
    "a blocking call was made in the event loop's own thread, where it would wait for itself: "
    "use the async client here, and await it"
)
_FORKED = "this started before a fork: only the parent process can continue it"
_STOPPED = "the event loop that ran this was stopped"
_EXITING = "the interpreter is exiting: no blocking call can be made any more"


class Waiter(Protocol):
    """A caller that waits for work of the loop."""

    def abort(self, error: Exception) -> None:
        """Handle that the work will never be completed."""


class Latch:
    """An event that happens once, for any number of waiting threads.

    A wait holds nothing that Ctrl-C could leave held: from Python 3.14 on, it may arrive between
    the acquisition of a lock and the body of its `with`.
    """

    def __init__(self) -> None:
        self._is_open = False
        self._waits: list[SimpleQueue[None]] = []

    def open(self) -> None:
        """Let all threads continue."""
        self._is_open = True
        for each in list(self._waits):
            each.put(None)

    def wait(self) -> None:
        """Wait until it is open; the wait is in C."""
        opened = SimpleQueue[None]()
        self._waits.append(opened)
        if not self._is_open:
            opened.get()


class LoopThread:
    """An event loop in a daemon thread.

    Attributes:
        stopped_reason: Why it runs nothing any more, or None.
        waiters: The callers that wait for its work; they add themselves first.
    """

    def __init__(self) -> None:
        self.stopped_reason: str | None = None
        self.waiters: set[Waiter] = set()
        self.quiet = False
        self._stop_event = asyncio.Event()
        self._selector: selectors.BaseSelector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problem: BaseException | None = None
        self._begun = False
        self._settled = Latch()  # open once the loop exists or has failed
        self._thread = threading.Thread(target=self._run, name=__name__, daemon=True)

    @property
    def ready(self) -> bool:
        """Return whether the loop exists."""
        return self._loop is not None

    @property
    def failed(self) -> bool:
        """Return whether it could not be started."""
        return self._problem is not None

    def begin(self) -> None:
        """Start it, or wait until an interrupted call has started it.

        Raises:
            OSError: The system has no resources for a loop.
            RuntimeError: The system has none for a thread, or the interpreter is exiting.
        """
        # Thread.start and Event.wait wait in Python, where Ctrl-C corrupts a lock and is raised as
        # another error. They run in a thread that receives no signals; here the wait is in C.
        if not self._begun:
            self._begun = True
            try:
                _thread.start_new_thread(self._start, ())
            except RuntimeError as error:
                self._fail(error)
        self._settled.wait()
        problem = self._problem
        if problem is not None:
            try:
                raise problem
            finally:
                del problem

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop.

        Raises:
            RuntimeError: It does not exist.
        """
        if self._loop is None:
            raise RuntimeError(_STOPPED)
        return self._loop

    def is_current(self) -> bool:
        """Return whether the caller runs in this thread."""
        return threading.get_ident() == self._thread.ident

    def send(
        self, function: Callable[..., object], *args: Any, context: Context | None = None
    ) -> bool:
        """Schedule a function on the loop; return False if the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(function, *args, context=context)
        except RuntimeError:
            return False
        return True

    def _start(self) -> None:
        try:
            self._thread.start()
        except BaseException as error:  # noqa: BLE001 - raised in `begin`
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._problem = error
        self._settled.open()

    def _run(self) -> None:
        try:
            loop, self._selector = new_loop()
            self._loop = loop
        except BaseException as error:  # noqa: BLE001 - raised in `begin`
            self._fail(error)
            return
        end = loop.create_task(self._run_until_stopped())
        self._settled.open()
        try:
            while not end.done():
                # Raised by a child task, these stop the loop; the parent task re-raises them.
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    loop.run_until_complete(end)
        finally:
            loop.close()
            self._abort_waiters()

    async def _run_until_stopped(self) -> None:
        await self._stop_event.wait()
        me = asyncio.current_task()
        for task in asyncio.all_tasks() - {me}:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNWIND_SECONDS):
                # Tasks that others start in order to unwind are awaited, not cancelled.
                while tasks := asyncio.all_tasks() - {me}:
                    await asyncio.wait(tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FINALISE_SECONDS):
                await asyncio.get_running_loop().shutdown_asyncgens()

    def _abort_waiters(self) -> None:
        # At exit only daemon threads still wait, and they end silently with the process.
        for waiter in [] if self.quiet else list(self.waiters):
            waiter.abort(RuntimeError(self.stopped_reason))

    def stop(self, why: str, *, quiet: bool = False) -> None:
        """Cancel the tasks, finalise the generators, close the loop. This starts no thread."""
        self.stopped_reason, self.quiet = why, quiet
        if self._begun:
            self._settled.wait()
        if self.ready and self.send(self._stop_event.set):
            self._thread.join(UNWIND_SECONDS + _FINALISE_SECONDS)

    def abandon(self) -> None:
        """Abandon it in the child of a fork, where its thread does not exist."""
        self.stopped_reason = _FORKED
        separate_selector(self._selector)
        self._abort_waiters()


class LoopThreadManager:
    """Owner of the loop thread of this process."""

    def __init__(self) -> None:
        # A signal handler may call while its thread holds it. From Python 3.14 on, Ctrl-C during
        # the first call may leave it held: its thread can enter it again, but another one that has
        # to start the loop would wait. Once the loop runs, calls do not use it.
        self._lock = threading.RLock()
        self._thread: LoopThread | None = None
        self._exiting = False
        self._abandoned: list[
            LoopThread
        ] = []  # kept, so that their tasks do not unwind in the child
        register_after_fork(self._renew)
        atexit.register(self._exit)

    def thread(self) -> LoopThread:
        """Return the loop thread, started if necessary.

        Raises:
            RuntimeError: The caller is that thread itself, or the interpreter is exiting.
        """
        thread = self._thread
        if thread is None or not thread.ready:
            thread = self._start()
        if thread.is_current():
            raise RuntimeError(OWN_THREAD)
        return thread

    def _start(self) -> LoopThread:
        with self._lock:
            if self._exiting:
                raise RuntimeError(_EXITING)
            # Assigned before it is started: after Ctrl-C, the next call completes the start.
            thread = self._thread = self._thread or LoopThread()
            try:
                thread.begin()
            finally:
                if thread.failed:
                    self._thread = None
            return thread

    def stop(self, why: str = _STOPPED, *, quiet: bool = False) -> None:
        """Stop the loop thread, if there is one; the next call starts another.

        Raises:
            RuntimeError: The caller is that thread itself.
        """
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            if thread.is_current():
                self._thread = thread
                raise RuntimeError(OWN_THREAD)
            thread.stop(why, quiet=quiet)

    def _exit(self) -> None:
        self._exiting = True
        self.stop(_EXITING, quiet=True)

    def _renew(self) -> None:
        self._lock = threading.RLock()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._abandoned.append(thread)
            thread.abandon()
