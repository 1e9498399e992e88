"""Closing a client, on any loop: pauses end at once, and uploads are aborted."""

from __future__ import annotations

import asyncio
import threading
import time
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async import AsyncDiffio, ClientClosed, ClientOptions, RetryPolicy, WaitPolicy
from diffio_async.sandbox import Delay, Fault, LoseResponse, RespondWith, Sandbox, SandboxError
from tests.downloads.scenes import RESULT, finished
from tests.scripts import PROGRESS, forever, progress_body, requests_to
from tests.uploads.scenes import PART, Scene, scene, sound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

pytestmark = pytest.mark.usefixtures("_no_task_left")

LIST = "/v1/list_projects"
ABORT = "/uploads/abort"
CONTENT = sound(3 * PART)
NEVER = Fault(method="PUT", times=None, action=Delay(60))
#: Pauses between attempts are longer than any test.
LONG = ClientOptions(retry=RetryPolicy(on=lambda _: 30.0, total_timeout=None))


def client_with_long_pauses(sandbox: Sandbox) -> AsyncDiffio:
    """Return a client with long pauses between attempts."""
    return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=LONG)


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.01)


async def listing(client: AsyncDiffio, sandbox: Sandbox) -> object:
    """Make a call that receives 503 and waits for its next attempt."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=RespondWith(503)))
    return await client.projects.list()


async def waiting(client: AsyncDiffio, sandbox: Sandbox) -> object:
    """Wait for a running generation; it pauses between polls."""
    sandbox.faults.add(forever(progress_body("processing")))
    return await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=30)


async def downloading(client: AsyncDiffio, sandbox: Sandbox) -> object:
    """Start a download whose host responds with 503; it waits for its next attempt."""
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, times=None, action=RespondWith(503)))
    return await job.download()


Paused = tuple["Callable[[AsyncDiffio, Sandbox], Awaitable[object]]", str]
PAUSED: list[Paused] = [(listing, LIST), (waiting, PROGRESS), (downloading, RESULT)]


def paused(sandbox: Sandbox, path: str) -> bool:
    """Return whether the request before the pause has its response."""
    return any(seen.status and fnmatch(seen.path, path) for seen in sandbox.requests)


@pytest.mark.parametrize(("call", "path"), PAUSED)
async def test_closing_ends_a_pause(sandbox: Sandbox, call: Any, path: str) -> None:
    """The pause ends at once, not with the next attempt."""
    client = client_with_long_pauses(sandbox)
    task = asyncio.create_task(call(client, sandbox))
    await until(lambda: paused(sandbox, path))
    await anyio.sleep(0.05)
    started_at = time.monotonic()
    await client.aclose()
    with pytest.raises(ClientClosed, match="the client is closed"):
        await task
    assert time.monotonic() - started_at < 20


def run_in_thread(
    work: Coroutine[Any, Any, object], outcomes: list[BaseException]
) -> threading.Thread:
    """Run a coroutine on a loop in another thread; append its exception to `outcomes`."""

    def run() -> None:
        try:
            asyncio.run(work)
        except Exception as outcome:  # noqa: BLE001 - checked by the tests
            outcomes.append(outcome)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


async def test_closing_ends_pauses_in_other_threads(sandbox: Sandbox) -> None:
    client, outcomes = client_with_long_pauses(sandbox), list[BaseException]()
    threads = [run_in_thread(listing(client, sandbox), outcomes) for _ in range(3)]
    await until(lambda: sum(seen.status == 503 for seen in requests_to(sandbox, LIST)) == 3)
    await anyio.sleep(0.1)
    started_at = time.monotonic()
    await client.aclose()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert time.monotonic() - started_at < 20
    assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 3


def aborted(on: Scene) -> bool:
    """Return whether every upload was aborted at the edge."""
    return on.sandbox.state.uploads == {} and all(seen.status == 200 for seen in on.seen(ABORT))


async def test_uploads_in_other_threads_are_aborted_before_connections_are_closed() -> None:
    """No upload is left open at the edge when `aclose` returns."""
    async with scene(faults=[NEVER]) as on:
        outcomes = list[BaseException]()
        threads = [run_in_thread(on.client.projects.create(CONTENT), outcomes) for _ in range(3)]
        await until(lambda: len(on.parts()) >= 3 and len(on.seen("/start", status=200)) == 3)
        with anyio.fail_after(60):
            await on.client.aclose()
        assert len(on.seen(ABORT)) == 3
        assert aborted(on)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 3


async def test_the_client_can_be_closed_while_threads_start_uploads() -> None:
    """Each upload either succeeds or raises `ClientClosed`."""
    # An upload interrupted during `complete` may finish after the API reported that it had not. The
    # sandbox records the following abort as a violation, so violations are not checked here.
    async with Sandbox(engine="echo", uploads=("edge",), part_size=PART) as sandbox:
        client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
        outcomes = list[BaseException]()

        async def upload_repeatedly() -> None:
            while True:
                await client.projects.create(CONTENT)

        threads = [run_in_thread(upload_repeatedly(), outcomes) for _ in range(4)]
        await until(lambda: len(requests_to(sandbox, "*/uploads/complete")) > 4)
        await client.aclose()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 4
        assert sandbox.state.uploads == {}


async def test_an_abort_is_retried_while_the_client_closes() -> None:
    """Closing does not end the pause between its attempts."""
    busy = Fault(path=f"*{ABORT}", times=2, action=RespondWith(503, {"Retry-After": "0.1"}))
    async with scene(faults=[busy, Fault(path=f"*{ABORT}", action=LoseResponse()), NEVER]) as on:
        upload = asyncio.create_task(on.client.projects.create(CONTENT))
        await until(on.parts)
        await on.client.aclose()
        with pytest.raises(ClientClosed):
            await upload
        assert on.sandbox.state.uploads == {}
        assert [seen.status for seen in on.seen(ABORT)] == [503, 503, None, 404]


async def test_an_upload_waiting_to_retry_a_part_is_aborted_at_once() -> None:
    part = Fault(method="PUT", times=None, action=RespondWith(503, {"Retry-After": "30"}))
    async with scene(faults=[part], retry=RetryPolicy()) as on:
        upload = asyncio.create_task(on.client.projects.create(CONTENT))
        await until(on.parts)
        await anyio.sleep(0.05)
        with anyio.fail_after(20):
            await on.client.aclose()
        with pytest.raises(ClientClosed):
            await upload
        assert len(on.seen(ABORT)) == 1
        assert aborted(on)


@pytest.mark.slow
async def test_a_stopped_loop_does_not_delay_closing() -> None:
    """An upload on a stopped loop cannot be aborted, and is not waited for."""
    async with scene(faults=[NEVER]) as on:
        loop = asyncio.new_event_loop()

        def start_upload() -> asyncio.Task[object]:
            upload: asyncio.Task[object] = loop.create_task(on.client.projects.create(CONTENT))
            loop.run_until_complete(until(on.parts))
            return upload

        upload = await asyncio.to_thread(start_upload)
        assert on.parts()
        started_at = time.monotonic()
        await on.client.aclose()
        assert time.monotonic() - started_at < 4  # less than for an abort

        def finish() -> None:
            with pytest.raises(ClientClosed):
                loop.run_until_complete(upload)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

        await asyncio.to_thread(finish)


async def test_closing_ends_the_wait_for_a_transcript_at_once(sandbox: Sandbox) -> None:
    """The pause before the next request for a pending transcript ends at once."""
    pending = RespondWith(409, json={"error": "pending", "code": "TRANSCRIPT_PENDING"})
    link = "/v1/get_generation_download"
    sandbox.faults.add(Fault(path=link, times=None, action=pending))
    options = ClientOptions(wait=WaitPolicy(min_interval=30, max_interval=30))
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options)
    restoring = asyncio.create_task(
        client.restore(b"speech", download_type="transcript", poll_interval=0.02)
    )
    await until(lambda: requests_to(sandbox, link))
    await asyncio.sleep(0.05)
    started_at = time.monotonic()
    await client.aclose()
    with pytest.raises(ClientClosed):
        await restoring
    assert time.monotonic() - started_at < 20


@pytest.mark.slow
async def test_a_timeout_around_the_client_is_not_delayed_by_a_hanging_abort(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """After a cancellation, an abort gets a grace period, and a log line if it fails."""
    sandbox.faults.add(NEVER)
    sandbox.faults.add(Fault(path=f"*{ABORT}", times=None, action=Delay(60)))
    limit, started_at = asyncio.timeout(None), 0.0

    async def expire() -> None:
        nonlocal started_at
        await until(lambda: any(seen.method == "PUT" for seen in sandbox.requests))
        started_at = time.monotonic()
        limit.reschedule(0)

    expiring = asyncio.create_task(expire())
    with pytest.raises(TimeoutError):
        async with limit, AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
            await client.projects.create(CONTENT)
    await expiring
    assert time.monotonic() - started_at < 4  # less than for an abort
    (project,) = sandbox.state.projects
    lines = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert lines == [f"the abort of the upload of {project} was not confirmed"]


def test_a_client_that_was_never_used_closes_without_an_event_loop() -> None:
    """This may be under trio; there is nothing to close."""
    closing = AsyncDiffio("diffio_key_1234567890", base_url="http://127.0.0.1:9").aclose()
    with pytest.raises(StopIteration):
        closing.send(None)


def test_a_sandbox_requires_asyncio() -> None:
    with pytest.raises(SandboxError, match="asyncio is needed"):
        Sandbox().start().send(None)
