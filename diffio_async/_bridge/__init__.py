"""Run coroutines for threads that block: calls, iterations, contexts and callbacks.

Works wherever a thread can wait: in scripts, in threads, inside a running loop (which stands still
meanwhile), in both processes of a fork. In the event loop's own thread it raises `RuntimeError`.
Ctrl-C cancels the coroutine, gives it 5 seconds to unwind, and is raised again, with the notes of
the coroutine's own error.
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
    """What the coroutine returns, or raises."""
    talk = CallChannel()
    try:
        word = talk.begin(func, *args, **kwargs)
    except BaseException as error:
        talk.cancel(error)
        raise
    if word.kind == "failed":
        raise word.claim()
    result: T = word.claim()
    return result


def iterate(
    func: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Generator[T, None, None]:
    """What the asynchronous iterator yields; one task runs it for the whole of its life.

    Closing the generator, or dropping it, closes the asynchronous one and waits for that. What is
    thrown into it is raised there; Ctrl-C cancels it.
    """
    talk = CallChannel()
    try:
        word = talk.begin(_generate, talk, func, args, kwargs)
        # A `while` with a condition jumps back outside of the `try` in Python 3.13, and Ctrl-C
        # may strike there.
        while True:
            if word.kind != "said":
                break
            order: BaseException | None = None
            try:
                yield word.claim()
            except (Exception, GeneratorExit) as error:  # noqa: BLE001 - thrown over there
                order = error
            word = talk.resume(order)
    except BaseException as error:
        talk.cancel(error)
        raise
    finally:
        order = None
    if word.kind == "failed":
        raise word.claim()


async def _generate(
    talk: CallChannel,
    func: Callable[..., AsyncIterator[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    items = func(*args, **kwargs)
    generator = items if isinstance(items, AsyncGenerator) else None
    order: BaseException | None = None
    try:
        while not isinstance(order, GeneratorExit):
            if order is None:
                step = anext(items)
            elif generator is None:
                raise order
            else:
                step = generator.athrow(order)
            try:
                order = await talk.yield_value(await step)
            except StopAsyncIteration:
                return
    finally:
        order = None
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
    """The asynchronous context as a blocking one; one task enters and leaves it."""
    return _Context(_context_steps(func, args, kwargs))


class _Context(AbstractContextManager[T]):
    """A context that is never entered without being left again."""

    def __init__(self, stay: Generator[T, BaseException | None, bool]) -> None:
        self._steps = stay

    def __enter__(self) -> T:
        try:
            return next(self._steps)
        except BaseException:
            self._steps.close()  # Ctrl-C may strike between the yield and the return
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # Ctrl-C before the next line drops the generator, and that leaves the context too.
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
    """Yield the context's value, take the body's error; whether the context swallowed that."""
    talk = CallChannel()
    error: BaseException | None = None
    try:
        word = talk.begin(_run_context, talk, func, args, kwargs)
        if word.kind == "said":
            error = yield word.claim()
            if talk.gone or not isinstance(error, Exception | None):
                talk.cancel(error)
                return False
            word = talk.resume(error)
    except BaseException as failure:
        talk.cancel(failure)
        raise
    finally:
        error = None
    if word.kind == "failed":
        raise word.claim()
    return bool(word.claim())


async def _run_context(
    talk: CallChannel,
    func: Callable[..., AbstractAsyncContextManager[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> bool:
    """Whether the context swallowed the error of the body."""
    order: BaseException | None = None
    try:
        async with func(*args, **kwargs) as value:
            waiting = talk.yield_value(value)
            del value
            order = await waiting
            if order is not None:
                raise order  # noqa: TRY301 - for the context to see
    except BaseException as error:
        if error is not order:
            raise
        return False
    else:
        return order is not None
    finally:
        order = None


@overload
def hook(fn: None) -> None: ...
@overload
def hook(fn: Callable[[T], object]) -> Callable[[T], Awaitable[object]]: ...
@overload
def hook(fn: Callable[[T], object] | None) -> Callable[[T], Awaitable[object]] | None: ...
def hook(fn: Callable[[T], object] | None) -> Callable[[T], Awaitable[object]] | None:
    """A callback for a coroutine that runs `fn` in the thread that blocks for it.

    There `fn` may make blocking calls of its own. What it raises is raised in the coroutine, but
    Ctrl-C and `SystemExit` cancel that and are raised from the blocking call. If `fn` returns an
    awaitable, as a coroutine function does, that is awaited on the loop.

    During an iteration or a context, the thread is there for callbacks only while it waits.
    """
    if fn is None:
        return None

    async def in_the_callers_thread(fact: T) -> object:
        return await current.get().send_on(fn, fact)

    return in_the_callers_thread


def stop() -> None:
    """Stop the process's event loop thread; the next call starts another.

    What still runs is cancelled, and whoever waits for it gets a `RuntimeError`. Not needed at
    exit, where it happens by itself.
    """
    manager.stop()
