"""A run waits for all its generations at once: what is waited for takes little memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from diffio_async import AsyncDiffio
from diffio_async._http.transport import ApiTransport
from diffio_async.batch.scheduler import BatchRun
from diffio_async.events import OperationEnded, OperationStarted
from diffio_async.sandbox import Sandbox
from tests.batch.conftest import QUICK
from tests.batch.scenes import recordings, restored, states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import BatchProgress, ClientOptions


@contextlib.asynccontextmanager
async def waiting_batch(
    folder: Path, files: int, options: ClientOptions = QUICK
) -> AsyncIterator[None]:
    """Run the body while a batch waits for all its generations, and then cancel the batch."""
    source, waiting = (
        recordings(folder / "in", *(f"{n}.wav" for n in range(files))),
        asyncio.Event(),
    )

    def report(progress: BatchProgress) -> None:
        if progress.generating == files:
            waiting.set()

    async with (
        Sandbox(engine="echo", duration=3600) as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
    ):
        running = asyncio.create_task(restored(client, source, folder / "out", on_progress=report))
        await waiting.wait()
        yield
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_generation_that_runs_has_no_task_of_its_own(tmp_path: Path) -> None:
    """Thousands may run at once, and a task with its frames takes tens of kilobytes."""
    async with waiting_batch(tmp_path, 40):
        steps = [task for task in asyncio.all_tasks() if "BatchRun" in repr(task.get_coro())]
        assert 0 < len(steps) < 20


async def test_a_cancelled_run_ends_the_operations_of_its_waits(tmp_path: Path) -> None:
    """Observers are notified, so that spans are exported."""
    events: list[OperationStarted | OperationEnded] = []

    class Operations:
        event_types = (OperationStarted, OperationEnded)

        def __call__(self, event: Any) -> None:
            events.append(event)

    async with waiting_batch(tmp_path, 2, evolve(QUICK, observers=Operations())):
        while [each.name for each in events].count("wait") < 2:
            await asyncio.sleep(0.01)
    started = {each.operation_id for each in events if isinstance(each, OperationStarted)}
    ended = {each.operation_id: each for each in events if isinstance(each, OperationEnded)}
    assert started == ended.keys()
    cancelled = [each.name for each in ended.values() if each.error == "CancelledError"]
    assert sorted(cancelled) == ["batch_file", "batch_file", "wait", "wait"]


async def test_a_run_cancelled_as_a_wait_ends_finishes_its_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tasks are cancelled before one that finishes a job has started, as by two Ctrl-C."""
    source, events = recordings(tmp_path / "in", "a.wav"), list[OperationStarted | OperationEnded]()
    wait_ended = BatchRun._wait_ended

    class Operations:
        event_types = (OperationStarted, OperationEnded)

        def __call__(self, event: Any) -> None:
            events.append(event)

    def end_and_cancel(run: BatchRun, *args: Any) -> None:
        before = asyncio.all_tasks()
        wait_ended(run, *args)
        for task in asyncio.all_tasks() - before:
            task.cancel()
        running.cancel()

    monkeypatch.setattr(BatchRun, "_wait_ended", end_and_cancel)
    options = evolve(QUICK, observers=Operations())
    async with (
        Sandbox(engine="echo", duration=0.05) as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
    ):
        running = asyncio.create_task(restored(client, source, tmp_path / "out"))
        with pytest.raises(asyncio.CancelledError):
            await running
    started = {each.operation_id for each in events if isinstance(each, OperationStarted)}
    assert started == {each.operation_id for each in events if isinstance(each, OperationEnded)}


async def test_a_poll_that_fails_unexpectedly_fails_one_file(
    client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for its generation ends with the error, the others continue."""
    source, struck = recordings(tmp_path / "in", "a.wav", "b.wav", "c.wav"), list[object]()
    whole = ApiTransport.send

    async def once(self: ApiTransport, call: Any, *how: Any, **options: Any) -> Any:
        if call.name == "get_generation_progress" and not struck:
            struck.append(call)
            raise ZeroDivisionError
        return await whole(self, call, *how, **options)

    monkeypatch.setattr(ApiTransport, "send", once)
    outcomes = await restored(client, source, tmp_path / "out")
    assert sorted(states(outcomes).values()) == ["done", "done", "failed"]
    assert {outcome.error_type for outcome in outcomes.values()} == {None, "ZeroDivisionError"}
