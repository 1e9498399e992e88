"""Run coroutines for threads that block: calls, iterations, contexts and callbacks.

This works in scripts, in threads, inside a running loop (which is blocked meanwhile), and in both
processes of a fork. In the thread of the bridge's own loop it raises `RuntimeError`. Ctrl-C cancels
the coroutine, waits 5 seconds for it to unwind, and is raised again, with the notes of the
coroutine's own error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ParamSpec, TypeVar, overload

from diffio_async._bridge.call_channel import CallChannel, current, manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

__all__ = ["enter", "hook", "iterate", "run", "stop"]

P = ParamSpec("P")
T = TypeVar("T")


def run(func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function; return what it returns."""
    channel = CallChannel()
    try:
        message = channel.begin(func, *args, **kwargs)
    except BaseException as error:
        channel.cancel(error)
        raise
    if message.kind == "raised":
        raise message.claim()
    result: T = message.claim()
    return result


def iterate(
    func: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Generator[T, None, None]:
    """Yield what an asynchronous iterator yields; one task runs it from start to end.

    Closing or dropping the generator closes the asynchronous one and waits for it, in another
    thread at most 5 seconds. An exception that is thrown into it is raised in the asynchronous one;
    Ctrl-C cancels that.
    """
    channel = CallChannel()
    try:
        message = channel.begin(_generate, channel, func, args, kwargs)
        # Not `while` with a condition: in Python 3.13 that jumps back outside of the `try`, where
        # Ctrl-C may arrive.
        while True:
            if message.kind != "value":
                break
            thrown: BaseException | None = None
            try:
                yield message.claim()
            except (Exception, GeneratorExit) as error:  # noqa: BLE001 - raised in the task
                thrown = error
            message = channel.resume(thrown)
    except BaseException as error:
        channel.cancel(error)
        raise
    finally:
        thrown = None
    if message.kind == "raised":
        raise message.claim()


async def _generate(
    channel: CallChannel,
    func: Callable[..., AsyncIterator[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    items = func(*args, **kwargs)
    generator = items if isinstance(items, AsyncGenerator) else None
    thrown: BaseException | None = None
    try:
        while not isinstance(thrown, GeneratorExit):
            if thrown is None:
                step = anext(items)
            elif generator is None:
                raise thrown
            else:
                step = generator.athrow(thrown)
            try:
                thrown = await channel.yield_value(await step)
            except StopAsyncIteration:
                return
    finally:
        thrown = None
        if generator is not None:
            await _close(generator)


async def _close(generator: AsyncGenerator[object, None]) -> None:
    try:
        await generator.aclose()
    except BaseExceptionGroup as group:
        # A task group around a `yield` wraps the GeneratorExit that closes it.
        if (rest := group.split(GeneratorExit)[1]) is not None:
            raise rest from None


def enter(
    func: Callable[P, AbstractAsyncContextManager[T]], /, *args: P.args, **kwargs: P.kwargs
) -> AbstractContextManager[T]:
    """Return an asynchronous context manager as a blocking one; one task enters and exits it."""
    return _Context(_context_steps(func, args, kwargs))


class _Context(AbstractContextManager[T]):
    """A context manager whose asynchronous context is always exited."""

    def __init__(self, steps: Generator[T, BaseException | None, bool]) -> None:
        self._steps = steps

    def __enter__(self) -> T:
        try:
            return next(self._steps)
        except BaseException:
            self._steps.close()  # Ctrl-C may arrive between the yield and the return
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # Ctrl-C before the next line drops the generator, which exits the context too.
        try:
            self._steps.send(error)
        except StopIteration as end:
            if error is not None:
                error.__traceback__ = trace
            return bool(end.value)
        return False


def _context_steps(
    func: Callable[..., AbstractAsyncContextManager[T]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> Generator[T, BaseException | None, bool]:
    """Yield the context's value, receive the body's error; return whether it is suppressed."""
    channel = CallChannel()
    error: BaseException | None = None
    try:
        message = channel.begin(_run_context, channel, func, args, kwargs)
        if message.kind == "value":
            error = yield message.claim()
            if channel.gone or not isinstance(error, Exception | None):
                channel.cancel(error)
                return False
            message = channel.resume(error)
    except BaseException as failure:
        channel.cancel(failure)
        raise
    finally:
        error = None
    if message.kind == "raised":
        raise message.claim()
    return bool(message.claim())


async def _run_context(
    channel: CallChannel,
    func: Callable[..., AbstractAsyncContextManager[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> bool:
    """Run the context in the task; return whether it suppressed the error of the body."""
    thrown: BaseException | None = None
    try:
        async with func(*args, **kwargs) as value:
            waiting = channel.yield_value(value)
            del value
            thrown = await waiting
            if thrown is not None:
                raise thrown  # noqa: TRY301 - the context receives it
    except BaseException as error:
        if error is not thrown:
            raise
        return False
    else:
        return thrown is not None
    finally:
        thrown = None


@overload
def hook(fn: None) -> None: ...
@overload
def hook(fn: Callable[[T], object]) -> Callable[[T], Awaitable[object]]: ...
@overload
def hook(fn: Callable[[T], object] | None) -> Callable[[T], Awaitable[object]] | None: ...
def hook(fn: Callable[[T], object] | None) -> Callable[[T], Awaitable[object]] | None:
    """Return a callback for a coroutine that runs `fn` in the thread that blocks for it.

    `fn` may make blocking calls itself. Its exceptions are raised in the coroutine, but Ctrl-C and
    `SystemExit` cancel the coroutine and are raised from the blocking call. If `fn` returns an
    awaitable, as a coroutine function does, it is awaited on the loop.

    During an iteration or a context, callbacks run only while the thread waits.
    """
    if fn is None:
        return None

    async def in_callers_thread(fact: T) -> object:
        return await current.get().call_back(fn, fact)

    return in_callers_thread


def stop() -> None:
    """Stop the process's event loop thread; the next call starts another.

    Running tasks are cancelled, and their callers raise `RuntimeError`. At exit this happens
    automatically.
    """
    manager.stop()
