"""Waiting for threads despite cancellation, inside and outside anyio's cancel scopes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import anyio
import pytest

from diffio_async._storage.threads import (
    MAX_THREADS,
    TrackedExecutor,
    run_workers,
    wait_all_uncancelled,
    wait_uncancelled,
)

pytestmark = pytest.mark.usefixtures("_no_task_left")


class Work:
    """Blocking work of some seconds, or until `may_end`, with an event for its end."""

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds, self.may_end, self.ended = seconds, threading.Event(), threading.Event()

    def __call__(self) -> str:
        """Block, then set the event."""
        self.may_end.wait(self.seconds)
        self.ended.set()
        return "done"


async def run_and_drain(threads: TrackedExecutor, *works: Work) -> None:
    """Start work, cancel the tasks, and wait for the threads, like a cancelled upload."""
    running = [asyncio.create_task(threads.run(work)) for work in works]
    await asyncio.sleep(0)
    for task in running:
        task.cancel()
    try:
        await asyncio.gather(*running, return_exceptions=True)
    finally:
        await threads.drain()


async def test_a_cancelled_caller_returns_at_once_and_drain_waits() -> None:
    threads, work = TrackedExecutor(), Work(60)
    with anyio.move_on_after(0.02):
        await threads.run(work)
    assert not work.ended.is_set()
    asyncio.get_running_loop().call_later(0.05, work.may_end.set)
    await threads.drain()
    assert work.ended.is_set()


async def test_more_jobs_than_threads_are_all_done() -> None:
    threads = TrackedExecutor()
    assert await asyncio.gather(*(threads.run(str, n) for n in range(200))) == [
        str(n) for n in range(200)
    ]


async def test_a_job_that_was_cancelled_before_it_started_does_not_run() -> None:
    threads, first, cancelled = TrackedExecutor(), threading.Event(), Work()
    blocking = [threads.start(first.wait) for _ in range(MAX_THREADS)]
    threads.start(cancelled).cancel()
    first.set()
    await wait_all_uncancelled(blocking)
    # When each thread has come to a later job, none has the cancelled one.
    met = threading.Barrier(MAX_THREADS)
    await asyncio.gather(*(threads.run(met.wait) for _ in range(MAX_THREADS)))
    assert not cancelled.ended.is_set()


@pytest.mark.slow
def test_work_is_finished_before_the_process_ends() -> None:
    """Even if the event loop has ended already."""
    program = (
        "import asyncio, os, time\n"
        "from diffio_async._storage.threads import TrackedExecutor\n"
        "def work(): time.sleep(0.3); os.write(1, b'.')\n"
        "async def main():\n"
        "    for _ in range(20): TrackedExecutor().start(work)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("." * 20, "")


async def test_drain_waits_despite_repeated_cancellation() -> None:
    threads, works = TrackedExecutor(), [Work(0.05), Work(0.15), Work(0.1)]
    task = asyncio.create_task(run_and_drain(threads, *works))
    for _ in range(3):
        await asyncio.sleep(0.02)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(work.ended.is_set() for work in works)


async def test_drain_waits_in_a_cancelled_scope() -> None:
    threads, works = TrackedExecutor(), [Work(0.05), Work(0.1)]
    with anyio.move_on_after(0.02) as scope:
        await run_and_drain(threads, *works)
        await anyio.sleep(1)
    assert scope.cancelled_caught
    assert all(work.ended.is_set() for work in works)


async def test_drain_waits_if_scope_and_task_are_both_cancelled() -> None:
    threads, work = TrackedExecutor(), Work(60)

    async def within() -> None:
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.02, scope.cancel)
            await run_and_drain(threads, work)

    task = asyncio.create_task(within())
    await asyncio.sleep(0.04)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, work.may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()


async def test_a_waiter_can_continue_after_its_timeout() -> None:
    """After the timeout, the task is no longer being cancelled."""
    threads, work = TrackedExecutor(), Work()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run_and_drain(threads, work)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert work.ended.is_set()


async def test_waiting_accepts_failed_and_cancelled_futures() -> None:
    """Its error is not logged as never retrieved."""
    loop = asyncio.get_running_loop()
    failed, cancelled = loop.create_future(), loop.create_future()
    failed.set_exception(LookupError())
    cancelled.cancel()
    await wait_uncancelled(failed)
    await wait_uncancelled(cancelled)
    await wait_all_uncancelled([])


async def test_waiting_ends_with_its_timeout() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    started_at = time.monotonic()
    await wait_all_uncancelled([never], timeout=0.05)
    assert time.monotonic() - started_at < 20
    never.cancel()


async def test_run_workers_raises_the_first_failure_unchanged() -> None:
    """It is not wrapped in a group, and failures of the cancelled workers do not hide it."""
    stopped = 0
    numbers = iter(range(3))

    async def work() -> None:
        nonlocal stopped
        if next(numbers) == 1:
            await anyio.sleep(0.01)
            raise LookupError("the first")
        try:
            await anyio.sleep(60)
        finally:
            stopped += 1
            raise ValueError("later")

    with pytest.raises(LookupError, match="the first"):
        await run_workers(work, 3)
    assert stopped == 2
