"""Interrupted and failed uploads are aborted at the edge."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from diffio_async import ClientClosed, UploadFailed
from diffio_async._http.shutdown import ShutdownCoordinator
from diffio_async.sandbox import Delay, Fault, LoseResponse, RespondWith
from tests.uploads.scenes import PART, Scene, cancelled_at, scene, sound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(3 * PART)
NEVER = Fault(method="PUT", times=None, action=Delay(60))
START = "/uploads/start"
ABORT = "/uploads/abort"
DESCRIPTORS = Path("/proc/self/fd")


def aborted(on: Scene) -> bool:
    """Return whether exactly one abort was sent, and succeeded."""
    statuses = [seen.status for seen in on.seen(ABORT)]
    return statuses == [200] and on.sandbox.state.uploads == {}


async def until_seen(on: Scene, end: str) -> None:
    """Wait until a request to a path that ends with `end` has arrived."""
    with anyio.fail_after(60):
        while not on.seen(end):
            await anyio.sleep(0.005)


async def test_a_part_that_is_refused_aborts_the_upload() -> None:
    """The other parts are cancelled, and the error has the id of the project."""
    refused = Fault(path="*/parts/2", action=RespondWith(403, json={"error": {"code": "gone"}}))
    async with scene(faults=[refused, NEVER]) as on:
        with pytest.raises(UploadFailed, match="upload parts/2 returned 403 gone") as caught:
            await on.client.projects.create(CONTENT, file_name="talk.wav")
        assert caught.value.api_project_id == on.only_project()
        assert aborted(on)


async def test_a_failing_abort_does_not_hide_the_original_error() -> None:
    refused = Fault(path="*/parts/2", action=RespondWith(403))
    broken = Fault(path=f"*{ABORT}", times=None, action=RespondWith(500))
    async with scene(faults=[refused, broken]) as on:
        with pytest.raises(UploadFailed, match="upload parts/2 returned 403"):
            await on.client.projects.create(CONTENT)
        assert len(on.seen(ABORT)) > 1


@contextlib.asynccontextmanager
async def when_sending(on: Scene, expire: Callable[[], object]) -> AsyncIterator[None]:
    """Call `expire` when the first part has arrived, however long that takes."""

    async def watch() -> None:
        await until_seen(on, "/parts/1")
        expire()

    watching = asyncio.create_task(watch())
    yield
    await watching


def expire_timeout(limit: asyncio.Timeout) -> None:
    """Let a timeout end now."""
    limit.reschedule(asyncio.get_running_loop().time())


async def by_timeout(work: Callable[[], Coroutine[Any, Any, object]], on: Scene) -> None:
    limit = asyncio.timeout(None)
    async with when_sending(on, lambda: expire_timeout(limit)):
        with pytest.raises(TimeoutError):
            async with limit:
                await work()


async def by_wait_for(work: Callable[[], Coroutine[Any, Any, object]], on: Scene) -> None:
    sending = asyncio.create_task(work())
    await until_seen(on, "/parts/1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sending, 0.01)


async def by_cancelling(work: Callable[[], Coroutine[Any, Any, object]], on: Scene) -> None:
    task = asyncio.create_task(work())
    await until_seen(on, "/parts/1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_cancelling_twice(work: Callable[[], Coroutine[Any, Any, object]], on: Scene) -> None:
    on.fail(Fault(path=f"*{ABORT}", action=Delay(0.1)))
    task = asyncio.create_task(work())
    await until_seen(on, "/parts/1")
    task.cancel()
    await until_seen(on, ABORT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_a_scope(work: Callable[[], Coroutine[Any, Any, object]], on: Scene) -> None:
    scope = anyio.CancelScope()
    async with when_sending(on, scope.cancel):
        with scope:
            await work()
    assert scope.cancelled_caught


async def by_a_scope_within_a_timeout(
    work: Callable[[], Coroutine[Any, Any, object]], on: Scene
) -> None:
    limit = asyncio.timeout(None)
    async with when_sending(on, lambda: expire_timeout(limit)):
        with pytest.raises(TimeoutError), anyio.CancelScope():
            async with limit:
                await work()


async def by_a_sibling(work: Callable[[], Coroutine[Any, Any, object]], on: Scene) -> None:
    async def sibling() -> None:
        await until_seen(on, "/parts/1")
        raise LookupError("the sibling's")

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            group.start_soon(sibling)

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert caught.group_contains(LookupError)


@pytest.mark.parametrize(
    "interrupt",
    [
        by_timeout,
        by_wait_for,
        by_cancelling,
        by_cancelling_twice,
        by_a_scope,
        by_a_scope_within_a_timeout,
        by_a_sibling,
    ],
)
async def test_an_interrupted_upload_is_aborted(interrupt: Any) -> None:
    """The task can continue after any kind of interruption."""
    async with scene(faults=[NEVER]) as on:
        await interrupt(lambda: on.client.projects.create(CONTENT), on)
        assert aborted(on)
        # The task is not left cancelled.
        await anyio.lowlevel.checkpoint()
        await asyncio.sleep(0)


async def test_an_upload_interrupted_while_it_starts_is_aborted() -> None:
    """The response to `start` is awaited, since the abort needs its id."""
    async with scene(faults=[Fault(path=f"*{START}", action=Delay(0.1))]) as on:
        uploading = asyncio.create_task(on.client.projects.create(CONTENT))
        await until_seen(on, START)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert aborted(on)
        assert on.parts() == []


async def test_an_abort_cancelled_before_it_starts_leaves_no_coroutine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its task may be cancelled before its first step, as at the end of `asyncio.run`."""
    refused = Fault(path="*/parts/2", action=RespondWith(403))
    async with scene(faults=[refused, NEVER]) as on:
        begin = ShutdownCoordinator.finish

        async def finish(*arguments: Any, **options: Any) -> None:
            before = asyncio.all_tasks()
            ending = asyncio.ensure_future(begin(*arguments, **options))
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - before - {ending}:
                task.cancel()
            await ending

        monkeypatch.setattr(ShutdownCoordinator, "finish", finish)
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT)
        assert on.seen(ABORT) == []


@pytest.mark.slow
async def test_an_abort_takes_at_most_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption does not wait for a host; the five seconds are shortened here."""
    monkeypatch.setattr("diffio_async._uploads.upload.ABORT_SECONDS", 0.05)
    for stuck in (START, ABORT):
        hanging = Fault(path=f"*{stuck}", times=None, action=Delay(60))
        async with scene(faults=[hanging, NEVER]) as on:
            started_at = time.monotonic()
            arrived = START if stuck == START else "/parts/1"
            await cancelled_at(on, arrived, on.client.projects.create(CONTENT))
            assert time.monotonic() - started_at < 30


@pytest.mark.slow
@pytest.mark.parametrize("stuck", [START, ABORT])
async def test_an_interruption_does_not_wait_for_an_abort_that_hangs(
    stuck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends before the response; the abort continues, and new calls work."""
    monkeypatch.setattr("diffio_async._http.shutdown.GRACE_SECONDS", 0.05)
    faults = [Fault(path=f"*{stuck}", times=1, action=Delay(2))]
    if stuck == ABORT:
        faults.append(Fault(method="PUT", times=1, action=Delay(60)))
    async with scene(faults=faults) as on:
        arrived = START if stuck == START else "/parts/1"
        await cancelled_at(on, arrived, on.client.projects.create(sound(PART)))
        assert not aborted(on)
        assert on.uploaded_bytes(await on.client.projects.create(sound(PART))) == sound(PART)
        # Closing the client waits for the abort.
        await on.client.aclose()
        assert aborted(on)


@pytest.mark.slow
async def test_an_abort_that_never_ends_does_not_keep_the_client_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closing waits five seconds at most; they are shortened here."""
    monkeypatch.setattr("diffio_async._uploads.upload.ABORT_SECONDS", 0.2)
    hanging = Fault(path=f"*{ABORT}", times=None, action=Delay(60))
    async with scene(faults=[hanging, NEVER]) as on:
        await cancelled_at(on, "/parts/1", on.client.projects.create(CONTENT))
        started_at = time.monotonic()
        await on.client.aclose()
        assert time.monotonic() - started_at < 30


async def test_a_lost_abort_is_sent_again() -> None:
    async with scene(faults=[Fault(path=f"*{ABORT}", action=LoseResponse()), NEVER]) as on:
        await cancelled_at(on, "/parts/1", on.client.projects.create(CONTENT))
        assert [seen.status for seen in on.seen(ABORT)] == [None, 404]
        assert on.sandbox.state.uploads == {}


def descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="needs /proc")
async def test_an_interrupted_transfer_closes_its_connection() -> None:
    """The host does not read the buffered megabytes; they and the socket are released."""
    async with scene(uploads=("signed",), faults=[NEVER]) as on:
        uploading = asyncio.create_task(on.client.projects.create(sound(16 * 1024 * 1024)))
        with anyio.fail_after(60):
            while not on.parts():
                await anyio.sleep(0.01)
        await anyio.sleep(0.05)
        during = descriptors()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        with anyio.fail_after(30):
            while descriptors() >= during:
                await anyio.sleep(0.01)
        assert not on.sandbox.state.projects[on.only_project()].received


async def test_an_upload_that_ends_frees_its_slots() -> None:
    """After an interrupted call, all slots of the client are free for the next one."""
    two = Fault(method="PUT", times=2, action=Delay(60))
    async with scene(faults=[two], max_concurrent_parts=2) as on:
        await cancelled_at(on, "/parts/2", on.client.projects.create(sound(4 * PART)))
        project = await on.client.projects.create(CONTENT)
        assert on.uploaded_bytes(project) == CONTENT


async def test_closing_the_client_aborts_its_uploads_first() -> None:
    """During an upload, `aclose` aborts it at the edge, and the call raises `ClientClosed`."""
    async with scene(faults=[NEVER]) as on:
        upload = asyncio.create_task(on.client.projects.create(CONTENT))
        await until_seen(on, "/parts/1")
        await on.client.aclose()
        with pytest.raises(ClientClosed) as caught:
            await upload
        assert caught.value.api_project_id == on.only_project()
        assert aborted(on)
