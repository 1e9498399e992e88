"""What passes between a thread that blocks and the one task that works for it.

The thread sends orders to the loop, and listens. The task posts words in return: values, its end,
and errands, which are callbacks to run in the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from contextvars import ContextVar, copy_context
from inspect import isawaitable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from diffio_async._bridge.loop_thread import OWN_THREAD, UNWIND_SECONDS, LoopThreadManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# On Windows a lock that waits for ever does not notice Ctrl-C.
_POLL_SECONDS = 0.2 if sys.platform == "win32" else None

#: Characters of a result that are noted.
_MAX_NOTE = 500
_NOT_READY = str(Path(__file__).parent) + os.sep
_DONE = "the call that was to run this callback in its thread has ended"
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

manager = LoopThreadManager()
#: The talk that the running task belongs to.
current: ContextVar[CallChannel] = ContextVar("current")


class Message:
    """What a task posts. The item is claimed once, so that nothing here keeps it alive."""

    __slots__ = ("_item", "kind")

    def __init__(self, kind: Literal["said", "ended", "failed", "errand"], item: Any) -> None:
        self.kind, self._item = kind, item

    def claim(self) -> Any:
        """The value, error or errand."""
        item, self._item = self._item, None
        return item


class CallbackRequest(NamedTuple):
    """A callback to run in the thread."""

    function: Callable[[Any], object]
    fact: object
    response: asyncio.Future[tuple[object, Exception | None]]


class CallChannel:
    """A thread's side and a task's side of one call, iteration or context."""

    __slots__ = ("_loop_thread", "_posts", "_task", "_turn", "ended", "left")
    _turn: asyncio.Future[BaseException | None]

    def __init__(self) -> None:
        self._loop_thread = manager.thread()
        self._posts: SimpleQueue[Message] = SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self.ended = False  # the last word was heard
        self.left = False  # the thread does not listen any more

    # The thread's side.

    @property
    def gone(self) -> str | None:
        """Why the task cannot be asked any more, or None."""
        return self._loop_thread.stopped_reason

    def begin(self, job: Callable[..., Awaitable[object]], /, *args: Any, **kwargs: Any) -> Message:
        """Start the task, in a copy of the thread's context; its first word."""
        thread = self._loop_thread
        thread.waiters.add(self)
        context = copy_context()
        context.run(current.set, self)
        if not thread.send(self._start, job, args, kwargs, context=context):
            raise RuntimeError(thread.stopped_reason)
        return self._listen()

    def resume(self, order: BaseException | None = None) -> Message:
        """Have the task go on from the value it said, with or without an error; its next word."""
        thread = self._loop_thread
        why_not = OWN_THREAD if thread.is_current() else thread.stopped_reason
        if why_not is None:
            thread.send(self._continue, order)
            return self._listen()
        if isinstance(order, GeneratorExit):
            # Whoever collects garbage closes generators, wherever that happens to be.
            if thread.stopped_reason is None:
                thread.send(self._continue, order)
            self.ended = True
            return Message("ended", None)
        raise RuntimeError(why_not)

    def _listen(self) -> Message:
        while True:
            try:
                word = self._posts.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            if word.kind != "errand":
                self.ended = word.kind != "said"
                return word
            self._run(word.claim())

    def _run(self, errand: CallbackRequest) -> None:
        if not errand.response.done():
            outcome = _outcome(errand.function, errand.fact)
            self._loop_thread.send(_settle, errand.response, outcome)
            # Frames of a traceback lead to their callers, so from the error to this one.
            del errand, outcome

    def cancel(self, why: BaseException | None) -> None:
        """Cancel the task and wait until it has unwound; does nothing if it has ended.

        What the task's own error notes is noted in `why`, the error that the caller gets instead.
        """
        if self.ended or self.left or self._loop_thread.stopped_reason:
            return
        self.left = True
        self._loop_thread.send(self._cancel)
        if self._loop_thread.is_current():
            return
        deadline = time.monotonic() + UNWIND_SECONDS
        # A second Ctrl-C means now.
        with contextlib.suppress(Empty, KeyboardInterrupt):
            while not self.ended:
                word = self._posts.get(timeout=max(0.0, deadline - time.monotonic()))
                self.ended = word.kind in ("ended", "failed")
                if word.kind == "errand":
                    self._loop_thread.send(word.claim().reply.cancel)
                elif why is not None:
                    _keep_notes(word, why)

    # The task's side, on the loop.

    def _start(self, job: Callable[..., Awaitable[object]], args: Any, kwargs: Any) -> None:
        # The loop holds the task until its first step, `_task` from there on.
        self._loop_thread.loop.create_task(self._work(job, args, kwargs))

    async def _work(self, job: Callable[..., Awaitable[object]], args: Any, kwargs: Any) -> None:
        thread = self._loop_thread
        self._task = asyncio.current_task()
        try:
            if self.left:
                raise asyncio.CancelledError  # noqa: TRY301 - left before the first step
            word = Message("ended", await job(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - SystemExit too, by value
            if thread.stopped_reason and isinstance(error, asyncio.CancelledError):
                error = RuntimeError(thread.stopped_reason)
            word = Message("failed", trim_traceback(error))
        self._task = None
        thread.waiters.discard(self)
        if not thread.quiet:
            self._posts.put(word)

    async def yield_value(self, value: object) -> BaseException | None:
        """Hand a value to the thread; the order it gives in return."""
        self._turn = self._loop_thread.loop.create_future()
        self._posts.put(Message("said", value))
        del value
        return await self._turn

    async def send_on(self, function: Callable[[Any], object], fact: object) -> object:
        """Run a callback in the thread; what it returns, or raises.

        Raises:
            asyncio.CancelledError: The thread has left.
            RuntimeError: The call, iteration or context has ended.
        """
        if self.left:
            raise asyncio.CancelledError
        if self._task is None:
            raise RuntimeError(_DONE)
        reply = self._loop_thread.loop.create_future()
        self._posts.put(Message("errand", CallbackRequest(function, fact, reply)))
        try:
            answer, problem = await reply
        finally:
            del reply  # it leads to the error, whose traceback leads here
        if problem is not None:
            try:
                raise problem
            finally:
                del problem
        return await answer if isawaitable(answer) else answer

    def _continue(self, order: BaseException | None) -> None:
        if not self._turn.done():
            self._turn.set_result(order)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # it never began, or is over
            self._loop_thread.waiters.discard(self)
            self._posts.put(Message("ended", None))

    def abort(self, error: Exception) -> None:
        """The task will not work any more."""
        self._posts.put(Message("failed", error))


def _outcome(function: Callable[[Any], object], fact: object) -> tuple[object, Exception | None]:
    try:
        return function(fact), None
    except Exception as error:  # noqa: BLE001 - raised again in the task
        return None, trim_traceback(error)


def _keep_notes(word: Message, why: BaseException) -> None:
    """Copy to `why` what a task, left by its caller, knew at its end: nobody else receives it."""
    if word.kind == "failed":
        for name, value in vars(word.claim()).items():
            if name == "__notes__":
                for note in value:
                    why.add_note(note)
            else:
                vars(why).setdefault(name, value)
    elif (result := word.claim()) is not None:
        # It was complete when the cancellation reached it.
        why.add_note(f"the call had returned {result!r:.{_MAX_NOTE}}")


def _settle(reply: asyncio.Future[T], answer: T) -> None:
    if not reply.done():
        reply.set_result(answer)


def trim_traceback(error: E) -> E:
    """The error with a traceback that begins below the frames of this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_NOT_READY):
        trace = trace.tb_next
    return error.with_traceback(trace)
