"""Programs without interruptions."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import threading
import time
import traceback
import weakref
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffio_async import _bridge as bridge
from diffio_async._bridge import call_channel
from tests.bridge.programs.stage import (
    act,
    compute,
    count,
    descriptors,
    log,
    output,
    resource,
    sleeper,
    threads,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Callback = Callable[[int], Awaitable[object]]


class Thing:
    """Object whose deallocation is observed by weak references."""


def raised(function: Callable[[], object]) -> BaseException:
    """Return the exception that a function raises."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def inside_a_running_loop() -> None:
    async def main() -> list[int]:
        with bridge.enter(resource) as name:
            assert name == "resource"
            return [bridge.run(compute), *bridge.iterate(count, 2)]

    output(*asyncio.run(main()), *asyncio.run(main()))


def many_threads() -> None:
    sums: list[int] = []

    def work(number: int) -> None:
        total = sum(bridge.run(compute, number) for _ in range(50))
        with bridge.enter(resource):
            total += sum(bridge.iterate(count, 5))
        sums.append(total)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    output(sorted(sums) == [50 * number + 10 for number in range(32)], len(threads()))


def first_calls_at_once() -> None:
    gate = threading.Barrier(16)
    loops: set[int] = set()

    async def here() -> None:
        loops.add(id(asyncio.get_running_loop()))

    def work() -> None:
        gate.wait()
        bridge.run(here)

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    output(len(loops), len(threads()))


def own_thread() -> None:
    def enter() -> None:
        with bridge.enter(resource):
            pass

    begun = bridge.iterate(count, 3)
    next(begun)
    entered = bridge.enter(resource)
    entered.__enter__()

    async def misuse() -> None:
        for wrong in (
            lambda: bridge.run(compute),
            lambda: next(bridge.iterate(count, 1)),
            lambda: next(begun),
            enter,
            bridge.stop,
        ):
            error = raised(wrong)
            output(type(error).__name__, "use the async client" in str(error))

    bridge.run(misuse)
    output(bridge.run(compute))


def collected_in_the_loops_thread() -> None:
    """The loop's own thread collects a generator, which is closed without waiting."""
    items = [bridge.iterate(count, 3)]
    next(items[0])

    async def drop() -> None:
        items.clear()

    started = time.monotonic()
    bridge.run(drop)
    until(lambda: log == ["closed"])
    output(time.monotonic() - started < 4)


def collected_in_a_thread_that_the_task_waits_for() -> None:
    """A thread with work of the loop collects a generator, whose end waits for that work."""
    setattr(call_channel, "UNWIND_SECONDS", 0.2)  # noqa: B010 - it is Final
    iterated = threading.Event()

    def work() -> None:
        iterated.wait(10)
        items.clear()

    async def waiting() -> AsyncIterator[int]:
        running = asyncio.create_task(asyncio.to_thread(work))
        try:
            yield 1
        finally:
            await running
            log.append("closed")

    items = [bridge.iterate(waiting)]
    next(items[0])
    iterated.set()
    until(lambda: log == ["closed"])
    output("closed")


def exit_in_one_of_two_callbacks() -> None:
    async def both(callback: Callable[[int], Awaitable[object]]) -> None:
        await asyncio.gather(callback(1), callback(2))

    def leave(number: int) -> None:
        time.sleep(0.05)  # the other callback is requested meanwhile
        raise SystemExit(number)

    try:
        bridge.run(both, bridge.hook(leave))
    except SystemExit as error:
        output(error.code)


def callbacks() -> None:
    async def job(callback: Callback | None) -> list[object]:
        return [] if callback is None else [await callback(number) for number in range(3)]

    def call_back(number: int) -> tuple[bool, int]:
        return threading.current_thread() is threading.main_thread(), bridge.run(compute, number)

    output(bridge.run(job, bridge.hook(call_back)), bridge.run(job, bridge.hook(None)))

    async def coroutine_callback(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    output(bridge.run(job, bridge.hook(coroutine_callback)))

    async def many(callback: Callback) -> int:
        await asyncio.gather(*(callback(number) for number in range(10)))
        return len(seen)

    seen: list[int] = []
    output(bridge.run(many, bridge.hook(seen.append)), sorted(seen) == list(range(10)))

    async def steps(callback: Callback) -> AsyncIterator[object]:
        for number in range(2):
            yield await callback(number)

    output(*bridge.iterate(steps, bridge.hook(call_back)))


def callback_errors() -> None:
    async def job(callback: Callback) -> str:
        try:
            await callback(1)
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    async def uncaught(callback: Callback) -> None:
        await callback(1)

    def refuse(_: int) -> None:
        raise ValueError("no")

    def stop_here(_: int) -> None:
        raise StopIteration

    output(bridge.run(job, bridge.hook(refuse)))
    error = raised(lambda: bridge.run(uncaught, bridge.hook(refuse)))
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    output(type(error).__name__, error.__context__, names[-1], names[2:4])
    output(repr(raised(lambda: bridge.run(uncaught, bridge.hook(stop_here)))))


async def _groups() -> AsyncIterator[int]:
    import anyio

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 60)
            for number in range(3):
                await anyio.sleep(0.001)
                yield number
            group.cancel_scope.cancel()


async def _timeouts() -> AsyncIterator[int]:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(60))
        me = asyncio.current_task()
        for number in range(3):
            await asyncio.sleep(0.001)
            yield number
            assert asyncio.current_task() is me
        task.cancel()


def scopes_around_a_yield() -> None:
    import anyio

    output(*bridge.iterate(_groups), *bridge.iterate(_timeouts))
    for generator in (_groups, _timeouts):
        items = bridge.iterate(generator)
        next(items)
        items.close()
    for _ in bridge.iterate(_groups):
        break

    async def hurried() -> AsyncIterator[int]:
        with anyio.fail_after(0.01):
            yield 1
            await anyio.sleep(60)

    output(repr(raised(lambda: list(bridge.iterate(hurried)))))


def partial_iteration() -> None:
    for _ in bridge.iterate(count, 10):
        break
    output(*log)
    log.clear()
    items = bridge.iterate(count, 10)
    next(items)
    items.close()
    items.close()
    output(list(items), *log)


def thrown_into() -> None:
    async def stubborn() -> AsyncIterator[str]:
        while True:
            try:
                yield "item"
            except ValueError as error:
                yield f"caught {error}"

    items = bridge.iterate(stubborn)
    next(items)
    output(items.throw(ValueError("it")), next(items))
    error = KeyError("through")
    output(raised(lambda: items.throw(error)) is error, list(items))


def bare_iterator() -> None:
    """An asynchronous iterator that is not a generator has neither `aclose` nor `athrow`."""

    class Bare:
        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> int:
            log.append("next")
            if len(log) > 3:
                raise StopAsyncIteration
            return len(log)

    output(*bridge.iterate(Bare))
    log.clear()
    items = bridge.iterate(Bare)
    next(items)
    error = ValueError()
    output(raised(lambda: items.throw(error)) is error)


def contexts() -> None:
    with bridge.enter(resource) as name:
        output(name)
    output(*log)
    for error in (ValueError("body"), StopIteration("body"), StopAsyncIteration("body")):
        log.clear()

        def fail(error: Exception = error) -> None:
            with bridge.enter(resource):
                raise error

        output(
            raised(fail) is error, [f.name for f in traceback.extract_tb(error.__traceback__)][-1]
        )
        output(*log)

    @asynccontextmanager
    async def forgiving() -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            log.append("forgiven")

    def be_forgiven() -> None:
        with bridge.enter(forgiving):
            raise ValueError

    be_forgiven()
    output(log[-1])

    @asynccontextmanager
    async def closed() -> AsyncIterator[None]:
        if log:
            raise LookupError("shut")
        yield

    def fail_to_enter() -> None:
        with bridge.enter(closed):
            log.append("body")

    output(repr(raised(fail_to_enter)), log[-1])


def any_names() -> None:
    async def names(self: int, job: int, func: int, talk: int) -> int:
        return self + job + func + talk

    output(
        bridge.run(names, self=1, job=2, func=3, talk=4), bridge.run(names, 1, 2, func=3, talk=4)
    )


def context_variables() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")

    async def who() -> str:
        before = tenant.get()
        tenant.set("changed inside")
        return before

    async def each() -> AsyncIterator[str]:
        for _ in range(2):
            yield tenant.get()

    tenant.set("me")
    output(bridge.run(who), *bridge.iterate(each), tenant.get())


def no_references_kept() -> None:
    """Results, arguments and errors are freed without the garbage collector."""
    gc.disable()
    references: list[weakref.ref[Any]] = []

    def observed() -> Thing:
        thing = Thing()
        references.append(weakref.ref(thing))
        return thing

    async def give(_: Thing) -> Thing:
        return observed()

    async def fail(thing: Thing) -> None:
        raise LookupError(thing)

    async def items() -> AsyncIterator[Thing]:
        for _ in range(2):
            yield observed()

    @asynccontextmanager
    async def context() -> AsyncIterator[Thing]:
        yield observed()

    async def callback(call_back: Callable[[Thing], Awaitable[object]]) -> None:
        await call_back(observed())

    def refuse(thing: Thing) -> None:
        raise LookupError(thing)

    def fail_in_body() -> None:
        with bridge.enter(context) as thing:
            raise LookupError(thing)

    bridge.run(give, observed())
    list(bridge.iterate(items))
    with bridge.enter(context) as thing:
        pass
    del thing
    for failing in (
        lambda: bridge.run(fail, observed()),
        lambda: bridge.run(callback, bridge.hook(refuse)),
        lambda: bridge.run(fail, observed(), 1),  # type: ignore[call-arg]
        fail_in_body,
    ):
        raised(failing)
    until(lambda: not [end for end in references if end() is not None])
    output(len(references))


def nothing_left_after_stop() -> None:
    import anyio.to_thread

    before = threads(), descriptors()

    async def session() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            log.append("finalised")

    kept = session()

    async def use() -> asyncio.AbstractEventLoop:
        await anext(kept)
        await asyncio.to_thread(time.sleep, 0)
        await anyio.to_thread.run_sync(time.sleep, 0)
        return asyncio.get_running_loop()

    loop = bridge.run(use)
    bridge.stop()
    until(lambda: threads() == before[0])
    output(loop.is_closed(), descriptors() == before[1], *log)
    bridge.stop()
    for _ in range(20):
        bridge.run(compute)
        bridge.stop()
    output(threads() == before[0], descriptors() == before[1])


def stop_during_calls() -> None:
    errors: list[BaseException] = []
    caller = threading.Thread(
        target=lambda: errors.append(raised(lambda: bridge.run(sleeper))), daemon=True
    )
    caller.start()
    items = bridge.iterate(count, 3)
    next(items)
    until(lambda: "asleep" in log)
    with bridge.enter(resource):
        bridge.stop()
    caller.join()
    output(repr(errors[0]), *sorted(log))
    output(repr(raised(lambda: next(items))), bridge.run(compute))


def signal_handler_calls() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: log.append(str(bridge.run(compute))))
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    bridge.run(asyncio.sleep, 0.2)
    output(*log)


def no_descriptors_for_a_loop() -> None:
    """The system has no free descriptors: the error is raised, and the next call works."""
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    error = raised(lambda: bridge.run(compute))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    output(type(error).__name__, bridge.run(compute), len(threads()))


def tracebacks() -> None:
    async def cause() -> None:
        Path("/nowhere").read_text(encoding="utf-8")

    async def items() -> AsyncIterator[int]:
        yield 1
        await cause()

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        await cause()
        yield

    def enter() -> None:
        with bridge.enter(context):
            pass

    for call in (
        lambda: bridge.run(cause),
        lambda: list(bridge.iterate(items)),
        enter,
        lambda: bridge.run(compute, nonsense=1),  # type: ignore[call-arg]
    ):
        error = raised(call)
        assert error.__context__ is None
        assert error.__cause__ is None
        frames = traceback.extract_tb(error.__traceback__)
        output(
            type(error).__name__,
            sum("_bridge" in frame.filename and "tests" not in frame.filename for frame in frames),
            *[frame.name for frame in frames if "everyday" in frame.filename][1:],
        )


if __name__ == "__main__":
    scenes: dict[str, Any] = dict(globals())
    act(scenes)
