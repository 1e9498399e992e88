"""Programs that receive Ctrl-C or exit."""
# ruff: noqa: PT017 - programs, which have no pytest.raises

from __future__ import annotations

import gc
import random
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from diffio_async import _bridge as bridge
from diffio_async._bridge.call_channel import manager
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
    from collections.abc import AsyncIterator, Awaitable, Callable


def call() -> None:
    try:
        bridge.run(sleeper, unwinding=0.1)
    except KeyboardInterrupt as error:
        assert error.__context__ is None
        output(*log)
    assert bridge.run(compute) == 42


def uncaught() -> None:
    bridge.run(sleeper)


def unwinding_for_long() -> None:
    started = time.monotonic()
    try:
        bridge.run(sleeper, unwinding=30)
    except KeyboardInterrupt:
        output(log, round(time.monotonic() - started))


def unwinding_cut_short() -> None:
    try:
        bridge.run(_unwinding_with_output)
    except KeyboardInterrupt as error:
        assert error.__context__ is None
        output(*log)


async def _unwinding_with_output() -> None:
    try:
        await sleeper()
    finally:
        output("again")
        await sleeper()


def entering() -> None:
    try:
        with bridge.enter(resource, 30.0):
            log.append("body")
    except KeyboardInterrupt:
        output(*log)


def body() -> None:
    try:
        with bridge.enter(resource) as name:
            log.append(name)
            output("ready")
            time.sleep(30)
    except KeyboardInterrupt as error:
        assert error.__context__ is None
        output(*log)


def leaving() -> None:
    try:
        with bridge.enter(_slow_to_leave):
            pass
    except KeyboardInterrupt:
        output(*log)


@asynccontextmanager
async def _slow_to_leave() -> AsyncIterator[None]:
    try:
        yield
    finally:
        await sleeper()


def waiting_for_an_item() -> None:
    try:
        for number in bridge.iterate(_stuck):
            log.append(str(number))
    except KeyboardInterrupt:
        output(*log)


async def _stuck() -> AsyncIterator[int]:
    yield 1
    await sleeper()


def between_items() -> None:
    try:
        for _ in bridge.iterate(count, 3):
            output("ready")
            time.sleep(30)
    except KeyboardInterrupt:
        output(*log)


async def _call_back(callback: Callable[[int], Awaitable[object]]) -> None:
    try:
        await callback(1)
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        log.append("unwound")


def callback() -> None:
    def block(_: int) -> None:
        output("ready")
        time.sleep(30)

    try:
        bridge.run(_call_back, bridge.hook(block))
    except KeyboardInterrupt as error:
        assert error.__context__ is None
        output(*log)


def callback_while_unwinding() -> None:
    async def job(callback: Callable[[int], Awaitable[object]]) -> None:
        try:
            await sleeper()
        finally:
            await _call_back(callback)

    calls: list[int] = []
    try:
        bridge.run(job, bridge.hook(calls.append))
    except KeyboardInterrupt:
        output(calls, *log)


def exit_inside() -> None:
    for leave in (SystemExit(3), KeyboardInterrupt()):

        async def exit_with(leave: BaseException = leave) -> None:
            raise leave

        try:
            bridge.run(exit_with)
        except BaseException as error:  # noqa: BLE001 - the very object
            assert error is leave
            assert bridge.run(compute) == 42
    output("alive")
    bridge.run(_exit)


async def _exit() -> None:
    raise SystemExit(7)


def exit_in_a_child_task() -> None:
    import asyncio

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_exit())
            await sleeper()

    try:
        bridge.run(parent)
    except SystemExit as error:
        output(error.code, *log)
    assert bridge.run(compute) == 42


def exit_in_a_callback() -> None:
    def leave(_: int) -> None:
        raise SystemExit(5)

    try:
        bridge.run(_call_back, bridge.hook(leave))
    except SystemExit as error:
        output(error.code, *log)


#: Number of interruptions.
ROUNDS = 200


def at_any_moment() -> None:
    """Ctrl-C hundreds of times, at random moments of a call, a context and an iteration."""
    started: list[str] = []
    ended: list[str] = []
    armed = False

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        started.append("context")
        try:
            yield
        finally:
            ended.append("context")

    async def items() -> AsyncIterator[int]:
        started.append("items")
        try:
            for number in range(3):
                yield number
        finally:
            ended.append("items")

    async def once() -> None:
        started.append("once")
        ended.append("once")

    chance = random.Random(4)

    def try_all() -> None:
        nonlocal armed
        armed = True
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 1e-3))
        with bridge.enter(context):
            pass
        for _item in bridge.iterate(items):
            pass
        bridge.run(once)
        until(lambda: not armed)

    interrupted = 0
    for number in range(ROUNDS):
        try:
            try_all()
        except KeyboardInterrupt:
            interrupted += 1
        if number % 2:
            bridge.stop()  # and interrupt while the next loop is being started
    gc.collect()
    until(lambda: sorted(started) == sorted(ended))
    until(lambda: not manager.thread().waiters)
    until(lambda: len(threads()) == 1)
    assert bridge.run(compute) == 42
    output(interrupted, bool(started))


if __name__ == "__main__":
    # As if started from a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scenes: dict[str, Any] = dict(globals())
    act(scenes)
