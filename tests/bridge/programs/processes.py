"""Programs that fork, spawn and exit."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import pickle
import signal
import socket
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from diffio_async import _bridge as bridge
from tests.bridge.programs.stage import (
    act,
    compute,
    count,
    log,
    output,
    resource,
    sleeper,
    threads,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def forked(child: Callable[[], object], *, run_handlers: bool = False) -> int:
    """Run a function in a forked process for at most five seconds; return its status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        code = 1
        try:
            child()
            code = 0
        finally:
            if not run_handlers or code:
                os._exit(code)
        sys.exit(0)
    return os.waitpid(pid, 0)[1]


def fork() -> None:
    assert bridge.run(compute) == 42
    output(forked(lambda: output("child", bridge.run(compute, 1))))
    output("parent", bridge.run(compute, 2))


def fork_before_the_first_call() -> None:
    output(forked(lambda: output("child", bridge.run(compute, 1))))
    output("parent", bridge.run(compute, 2))


def fork_and_exit_with_handlers() -> None:
    """The parent has calls and iterations in progress; the child runs its exit handlers."""
    caller = threading.Thread(target=bridge.run, args=(sleeper,), daemon=True)
    caller.start()
    until(lambda: log)
    items = bridge.iterate(count, 3)
    next(items)
    output(forked(lambda: output("child", bridge.run(compute, 1)), run_handlers=True))
    output("parent", *items)


def fork_while_another_thread_calls() -> None:
    results: list[int] = []

    async def slowly() -> int:
        log.append("asleep")
        await asyncio.sleep(0.2)
        return 5

    caller = threading.Thread(target=lambda: results.append(bridge.run(slowly)))
    caller.start()
    until(lambda: log)
    output(forked(lambda: output("child", bridge.run(compute, 1))))
    caller.join()
    output("parent", *results)


def fork_twice() -> None:
    bridge.run(compute)

    def child() -> None:
        bridge.run(compute)
        output(forked(lambda: output("grandchild", bridge.run(compute, 1))))

    output(forked(child))


def fork_inside() -> None:
    """Inside a context and an iteration that the parent began."""
    items = bridge.iterate(count, 2)
    next(items)

    def child() -> None:
        try:
            next(items)
        except RuntimeError as error:
            output("fork" in str(error))
        items.close()

    with bridge.enter(resource):
        output(forked(child))
    output(*items, *log)

    log.clear()
    with bridge.enter(resource):
        pid = os.fork()
    if pid == 0:  # the `with` was left, but not the resource of the parent
        os._exit(len(log) - 2)
    output(os.waitpid(pid, 0)[1], *log)


def fork_in_a_callback() -> None:
    async def job(callback: Callable[[int], Any]) -> str:
        await callback(1)
        return "done"

    def fork_here(_: int) -> None:
        output(forked(lambda: output("child", bridge.run(compute, 1))))

    output(bridge.run(job, bridge.hook(fork_here)))


def fork_with_a_connection() -> None:
    """What the child finalises is not unregistered from the epoll that the parent waits on."""
    here, there = socket.socketpair()
    there.setblocking(False)

    async def listen() -> socket.socket:
        reader = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(there, reader.set)
        events.append(reader)
        return there

    async def wait() -> bool:
        async with asyncio.timeout(30):
            await events[0].wait()
        return True

    events: list[asyncio.Event] = []
    bridge.run(listen)

    def child() -> None:
        from diffio_async._bridge.call_channel import manager

        (disowned,) = manager._abandoned
        disowned.loop.remove_reader(there)  # like the finaliser of a connection
        gc.collect()

    output(forked(child))
    here.send(b"x")
    output("parent", bridge.run(wait))
    bridge.run(_remove_reader, there)
    here.close()
    there.close()


async def _remove_reader(end: socket.socket) -> None:
    asyncio.get_running_loop().remove_reader(end)


class Broken(Exception):
    """An error that crosses processes."""


async def broken() -> None:
    raise Broken("here")


def _in_a_worker(number: int) -> int:
    with bridge.enter(resource):
        assert list(bridge.iterate(count, 2)) == [0, 1]
        return bridge.run(compute, number)


def pools() -> None:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    assert bridge.run(compute) == 42
    for method in ("spawn", "fork", "forkserver"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            output(method, *pool.map(_in_a_worker, range(3)))
            output(pool.submit(bridge.run, compute, 7).result())
            try:
                pool.submit(bridge.run, broken).result()
            except Broken as error:
                output(type(pickle.loads(pickle.dumps(error))).__name__, error)
    output(bridge.run(compute))


def spawn() -> None:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        output(pool.submit(bridge.run, compute, 7).result())


def idle() -> None:
    output(bridge.run(compute))


def busy() -> None:
    threading.Thread(target=bridge.run, args=(_unwinding_with_output,), daemon=True).start()
    until(lambda: log)


async def _unwinding_with_output() -> None:
    try:
        await sleeper()
    finally:
        await asyncio.sleep(0.01)
        output("unwound")


def busy_in_a_thread_that_is_waited_for() -> None:
    async def finish_soon() -> None:
        await asyncio.sleep(0.1)
        output("done")

    # Python 3.12.1 starts no threads after the main one has ended, so start the loop first.
    bridge.run(compute)
    threading.Thread(target=bridge.run, args=(finish_soon,)).start()


def unfinished() -> None:
    """An iteration, a context and a session that are never closed."""

    @asynccontextmanager
    async def lasting() -> AsyncIterator[str]:
        try:
            async with resource() as name:
                yield name
        finally:
            output("resource left")

    async def items() -> AsyncIterator[int]:
        try:
            yield 0
        finally:
            await asyncio.sleep(0.01)
            output("items closed")

    async def session() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            output("session closed")

    async def use() -> None:
        await anext(kept[0])

    kept = [session()]
    bridge.run(use)
    started_items = bridge.iterate(items)
    context = bridge.enter(lasting)
    output(next(started_items), context.__enter__())
    globals().update(kept=kept, started_items=started_items, context=context)
    atexit.register(lambda: output(*log))
    # It runs before handlers that were registered earlier.
    atexit.register(lambda: output("a handler still calls", bridge.run(compute)))


def at_exit_too_late() -> None:
    """A handler that was registered before the bridge was imported runs after it has stopped."""
    raise SystemExit(_late())


def _late() -> int:
    bridge.run(compute)
    started: list[str] = []
    start = threading.Thread.start

    def record_start(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    setattr(threading.Thread, "start", record_start)  # noqa: B010 - type checkers reject an assignment

    def late() -> None:
        # It runs first, and stops the bridge like its own handler.
        from diffio_async._bridge.call_channel import manager

        manager._exit()
        try:
            bridge.run(compute)
        except RuntimeError as error:
            output("exiting" in str(error), started, threads())

    atexit.register(late)
    return 0


def raising() -> None:
    bridge.run(broken)


def stuck() -> None:
    """A coroutine that blocks the loop forever does not keep the process."""

    async def block() -> None:
        log.append("blocking")
        time.sleep(60)  # noqa: ASYNC251 - blocks the loop on purpose

    threading.Thread(target=bridge.run, args=(block,), daemon=True).start()
    until(lambda: log)


if __name__ == "__main__":
    scenes: dict[str, Any] = dict(globals())
    act(scenes)
