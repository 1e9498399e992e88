"""Shutdown of a client: pauses end at once, uploads after their clean-up."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

import anyio
from attrs import define, field

from diffio_async._reporting import log
from diffio_async._storage.loops import running_loop
from diffio_async.errors import ClientClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

CLOSED = "the client is closed: create another one, or keep this one open around all its calls"
#: Seconds that `aclose` waits for the clean-up of uploads.
ABORT_SECONDS = 5.0
#: Seconds that an interrupted caller waits for it; the rest happens in the background.
GRACE_SECONDS = 0.5


@define(eq=False)
class _Work:
    """Work that can be stopped on its loop, with callbacks for its end."""

    loop: asyncio.AbstractEventLoop
    cut: Callable[[], None]
    #: Whether `close` waits for its clean-up.
    graceful: bool
    #: The project whose upload it aborts.
    project: str | None = None
    waiting: list[Callable[[], None]] = field(factory=list)


# A pause in an upload ends with the upload; one in its clean-up continues.
_current_work: ContextVar[_Work | None] = ContextVar("within", default=None)


class ShutdownCoordinator:
    """The work in progress of a client, on any loop.

    There is no lock, because one that is held at a fork stays locked in the child. Operations on
    the set are atomic: work is added before it checks whether the client is closed, and the client
    is closed before it checks for work.
    """

    def __init__(self) -> None:
        self._works: set[_Work] = set()
        # The loop refers to tasks only weakly.
        self._cleaning: set[asyncio.Task[None]] = set()
        self._closed = False

    async def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            ClientClosed: The client was closed, at once.
        """
        if seconds <= 0 or _current_work.get() in self._works:
            await asyncio.sleep(seconds)
            return
        loop = running_loop()
        over: asyncio.Future[bool] = loop.create_future()

        def end(closed: bool) -> None:
            if not over.done():
                over.set_result(closed)

        with self._known(_Work(loop, lambda: end(True), graceful=False)):
            timer = loop.call_later(seconds, end, False)
            try:
                closed = await over
            finally:
                timer.cancel()
        if closed:
            raise ClientClosed(CLOSED)

    @contextlib.contextmanager
    def on_close(self, end: Callable[[], None]) -> Iterator[None]:
        """Run the body; call `end`, on its loop, if the client is closed meanwhile.

        Raises:
            ClientClosed: The client is closed.
        """
        with self._known(_Work(running_loop(), end, graceful=False)):
            yield

    @contextlib.contextmanager
    def cancel_on_close(self) -> Iterator[None]:
        """Run the body until it ends or the client is closed.

        Raises:
            ClientClosed: The client was closed meanwhile; the body had time to clean up.
        """
        with anyio.CancelScope() as scope:
            work = _Work(running_loop(), lambda: self._cancel(work, scope), graceful=True)
            with self._known(work):
                token = _current_work.set(work)
                try:
                    yield
                finally:
                    _current_work.reset(token)
        if scope.cancelled_caught:
            raise ClientClosed(CLOSED)

    async def finish(
        self, cleaning: Callable[[], Coroutine[None, None, None]], *, project: str | None = None
    ) -> None:
        """Run a clean-up in a separate task, which is not cancelled.

        The caller waits briefly, and the clean-up continues in the background; `close` waits for
        it. A clean-up must limit its own time.

        Args:
            cleaning: Starts the clean-up.
            project: The project whose upload it aborts.

        Raises:
            asyncio.CancelledError: The caller was cancelled meanwhile.
        """
        from diffio_async._storage.threads import wait_all_uncancelled

        work = _Work(running_loop(), _not_cut, graceful=True, project=project)

        async def clean() -> None:
            _current_work.set(work)
            try:
                await cleaning()
            finally:
                self._discard(work)

        self._works.add(work)
        task = asyncio.create_task(clean())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)
        # A task that is cancelled before its first step does not discard the work itself.
        task.add_done_callback(lambda _: self._discard(work))
        await wait_all_uncancelled([task], GRACE_SECONDS)
        if task.done() and not task.cancelled():
            task.result()

    def _discard(self, work: _Work) -> None:
        self._works.discard(work)
        for notify in work.waiting:
            notify()

    def _cancel(self, work: _Work, scope: anyio.CancelScope) -> None:
        if work in self._works:
            scope.cancel()

    @contextlib.contextmanager
    def _known(self, work: _Work) -> Iterator[None]:
        self._works.add(work)
        try:
            if self._closed:
                raise ClientClosed(CLOSED)
            yield
        finally:
            self._discard(work)

    async def close(self, *, interrupted: bool = False) -> None:
        """Stop all work and wait for clean-ups; later work is refused.

        Args:
            interrupted: Wait for the grace time only; log aborts that are not confirmed by
                then.
        """
        self._closed = True
        if not self._works:  # needs no loop
            return
        here, changed = running_loop(), asyncio.Event()
        seen = set[_Work]()
        with anyio.move_on_after(GRACE_SECONDS if interrupted else ABORT_SECONDS):
            while True:
                # Stopped work may start a clean-up.
                for work in self._works - seen:
                    if work.graceful and work.loop.is_running():
                        work.waiting.append(lambda: _call_soon(here, changed.set))
                    _call_soon(work.loop, work.cut)
                    seen.add(work)
                if not any(work.graceful and work.loop.is_running() for work in self._works.copy()):
                    break
                await changed.wait()
                changed.clear()
        projects = sorted({work.project for work in self._works.copy() if work.project})
        if projects:
            log.warning("the abort of the upload of %s was not confirmed", ", ".join(projects))


def _not_cut() -> None:
    """Do nothing: a clean-up limits its own time."""


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(call)
