"""The channel between a thread that blocks and the task that runs its call.

The thread sends functions to the loop and waits for messages. The task posts messages: values, its
result or error, and callbacks to run in the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from contextvars import ContextVar, copy_context
from inspect import isawaitable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from diffio_async._bridge.loop_thread import OWN_THREAD, UNWIND_SECONDS, LoopThreadManager
from diffio_async._bridge.system import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Characters of a result in a note.
_MAX_NOTE = 500
_PACKAGE = str(Path(__file__).parent) + os.sep
_ENDED = "this callback cannot run in its thread: the blocking call has ended"
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

manager = LoopThreadManager()
#: The channel of the running task.
current: ContextVar[CallChannel] = ContextVar("current")


class Message:
    """A message of a task. Its item is claimed once, so that the message does not keep it alive."""

    __slots__ = ("_item", "kind")

    def __init__(self, kind: Literal["value", "returned", "raised", "callback"], item: Any) -> None:
        self.kind, self._item = kind, item

    def claim(self) -> Any:
        """Return the value, error or callback."""
        item, self._item = self._item, None
        return item


class CallbackRequest(NamedTuple):
    """A callback to run in the thread."""

    function: Callable[[Any], object]
    fact: object
    response: asyncio.Future[tuple[object, Exception | None]]


class CallChannel:
    """A thread's side and a task's side of one call, iteration or context."""

    __slots__ = ("_loop_thread", "_posts", "_task", "_thread_id", "_turn", "ended", "left")
    _turn: asyncio.Future[BaseException | None]

    def __init__(self) -> None:
        self._loop_thread = manager.thread()
        self._posts: SimpleQueue[Message] = SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self._thread_id = threading.get_ident()  # of the thread that began the call
        self.ended = False  # the last message was received
        self.left = False  # the thread receives no more messages

    # Called in the thread.

    @property
    def gone(self) -> str | None:
        """Return why the task does not run any more, or None."""
        return self._loop_thread.stopped_reason

    def begin(self, job: Callable[..., Awaitable[object]], /, *args: Any, **kwargs: Any) -> Message:
        """Start the task, in a copy of the thread's context; return its first message."""
        thread = self._loop_thread
        thread.waiters.add(self)
        context = copy_context()
        context.run(current.set, self)
        if not thread.send(self._start, job, args, kwargs, context=context):
            raise RuntimeError(thread.stopped_reason)
        return self._receive()

    def resume(self, error: BaseException | None = None) -> Message:
        """Resume the task after a value, with or without an error; return its next message."""
        thread = self._loop_thread
        why_not = OWN_THREAD if thread.is_current() else thread.stopped_reason
        if why_not is None:
            thread.send(self._continue, error)
            is_other = threading.get_ident() != self._thread_id
            # The garbage collector may close a generator in a thread that the task waits for.
            limited = isinstance(error, GeneratorExit) and is_other
            return self._receive(time.monotonic() + UNWIND_SECONDS if limited else None)
        if isinstance(error, GeneratorExit):
            # The garbage collector closes generators, in any thread.
            if thread.stopped_reason is None:
                thread.send(self._continue, error)
            self.ended = True
            return Message("returned", None)
        raise RuntimeError(why_not)

    def _receive(self, deadline: float | None = None) -> Message:
        """Return the next message that is not a callback; after the deadline, an end."""
        while True:
            left = POLL_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                message = self._posts.get(timeout=left)
            except Empty:
                if deadline is None:
                    continue
                message = Message("returned", None)
            if message.kind != "callback":
                self.ended = message.kind != "value"
                return message
            self._run_callback(message.claim())

    def _run_callback(self, request: CallbackRequest) -> None:
        if not request.response.done():
            outcome = _outcome(request.function, request.fact)
            self._loop_thread.send(_settle, request.response, outcome)
            # Frames of a traceback refer to their callers, so the error refers to this frame.
            del request, outcome

    def cancel(self, why: BaseException | None) -> None:
        """Cancel the task and wait until it has unwound; do nothing if it has ended.

        Notes of the task's own error are copied to `why`, the error that the caller raises.
        """
        if self.ended or self.left or self._loop_thread.stopped_reason:
            return
        self.left = True
        self._loop_thread.send(self._cancel)
        if self._loop_thread.is_current():
            return
        deadline = time.monotonic() + UNWIND_SECONDS
        # A second Ctrl-C ends the wait.
        with contextlib.suppress(Empty, KeyboardInterrupt):
            while not self.ended:
                message = self._posts.get(timeout=max(0.0, deadline - time.monotonic()))
                self.ended = message.kind in ("returned", "raised")
                if message.kind == "callback":
                    self._loop_thread.send(message.claim().response.cancel)
                elif why is not None:
                    _keep_notes(message, why)

    # Called on the loop.

    def _start(self, job: Callable[..., Awaitable[object]], args: Any, kwargs: Any) -> None:
        # The loop refers to the task until its first step, and `_task` from then on.
        self._loop_thread.loop.create_task(self._work(job, args, kwargs))

    async def _work(self, job: Callable[..., Awaitable[object]], args: Any, kwargs: Any) -> None:
        thread = self._loop_thread
        self._task = asyncio.current_task()
        try:
            if self.left:
                raise asyncio.CancelledError  # noqa: TRY301 - cancelled before the first step
            message = Message("returned", await job(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - SystemExit too, by value
            if thread.stopped_reason and isinstance(error, asyncio.CancelledError):
                error = RuntimeError(thread.stopped_reason)
            message = Message("raised", trim_traceback(error))
        self._task = None
        thread.waiters.discard(self)
        if not thread.quiet:
            self._posts.put(message)

    async def yield_value(self, value: object) -> BaseException | None:
        """Send a value to the thread; return the error that it throws, or None."""
        self._turn = self._loop_thread.loop.create_future()
        self._posts.put(Message("value", value))
        del value
        return await self._turn

    async def call_back(self, function: Callable[[Any], object], fact: object) -> object:
        """Run a callback in the thread and return what it returns.

        Raises:
            asyncio.CancelledError: The thread does not wait any more.
            RuntimeError: The call, iteration or context has ended.
        """
        if self.left:
            raise asyncio.CancelledError
        if self._task is None:
            raise RuntimeError(_ENDED)
        reply = self._loop_thread.loop.create_future()
        self._posts.put(Message("callback", CallbackRequest(function, fact, reply)))
        try:
            result, problem = await reply
        finally:
            del reply  # it refers to the error, whose traceback refers to this frame
        if problem is not None:
            try:
                raise problem
            finally:
                del problem
        return await result if isawaitable(result) else result

    def _continue(self, error: BaseException | None) -> None:
        if not self._turn.done():
            self._turn.set_result(error)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # it was never started, or has ended
            self._loop_thread.waiters.discard(self)
            self._posts.put(Message("returned", None))

    def abort(self, error: Exception) -> None:
        """End the call with an error: the task does not run any more."""
        self._posts.put(Message("raised", error))


def _outcome(function: Callable[[Any], object], fact: object) -> tuple[object, Exception | None]:
    try:
        return function(fact), None
    except Exception as error:  # noqa: BLE001 - raised again in the task
        return None, trim_traceback(error)


def _keep_notes(message: Message, why: BaseException) -> None:
    """Copy notes and attributes of a cancelled task's error to `why`; otherwise they are lost."""
    if message.kind == "raised":
        for name, value in vars(message.claim()).items():
            if name == "__notes__":
                for note in value:
                    why.add_note(note)
            else:
                vars(why).setdefault(name, value)
    elif (result := message.claim()) is not None:
        # The task had returned when the cancellation arrived.
        why.add_note(f"the call had returned {result!r:.{_MAX_NOTE}}")


def _settle(reply: asyncio.Future[T], result: T) -> None:
    if not reply.done():
        reply.set_result(result)


def trim_traceback(error: E) -> E:
    """Return the error with a traceback that starts below the frames of this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    return error.with_traceback(trace)
