"""Helpers of the programs: output for the tests, and coroutines to call."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Events in order.
log: list[str] = []


def output(*words: object) -> None:
    """Print one line, and flush."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def act(scenes: dict[str, object]) -> None:
    """Run the function of this program that the command line names."""
    scene = scenes[sys.argv[1]]
    assert callable(scene)
    scene()


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition that another thread makes true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition did not become true; log: {log}"
        time.sleep(0.002)


async def compute(value: int = 42) -> int:
    """Return the value at once."""
    return value


async def sleeper(unwinding: float = 0.0) -> None:
    """Sleep for long; take a while to unwind."""
    log.append("asleep")
    output("ready")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(unwinding)
        log.append("unwound")


@asynccontextmanager
async def resource(entering: float = 0.0) -> AsyncIterator[str]:
    """Context that logs its steps."""
    log.append("entering")
    if entering:
        output("ready")
        try:
            await asyncio.sleep(entering)
        except BaseException:
            log.append("never entered")
            raise
    log.append("entered")
    try:
        yield "resource"
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        await asyncio.sleep(0.01)
        log.append("left")


async def count(to: int, pause: float = 0.0) -> AsyncIterator[int]:
    """Count, and log when the generator is closed."""
    try:
        for number in range(to):
            await asyncio.sleep(pause)
            yield number
    finally:
        await asyncio.sleep(0.01)
        log.append("closed")


def threads() -> list[str]:
    """Return the names of the running threads except the main thread."""
    return [thread.name for thread in threading.enumerate() if thread.name != "MainThread"]


def descriptors() -> list[str]:
    """Return the open descriptors of this process."""
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
