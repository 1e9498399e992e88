"""Closing a client ends what is under way, on whatever loop: pauses at once, uploads tidily."""

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
#: Every pause between attempts is so long that no test would wait for it.
LONG = ClientOptions(retry=RetryPolicy(on=lambda _: 30.0, total_timeout=None))


def patient(sandbox: Sandbox) -> AsyncDiffio:
    """A client that pauses for long."""
    return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=LONG)


async def until(true: Callable[[], object]) -> None:
    """Wait until it is."""
    with anyio.fail_after(10):
        while not true():
            await anyio.sleep(0.01)


async def listing(client: AsyncDiffio, sandbox: Sandbox) -> object:
    """A call that is answered 503 and waits for its next try."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=RespondWith(503)))
    return await client.projects.list()


async def waiting(client: AsyncDiffio, sandbox: Sandbox) -> object:
    """A wait that is told "not yet" and waits to ask again."""
    sandbox.faults.add(forever(progress_body("processing")))
    return await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=30)


async def downloading(client: AsyncDiffio, sandbox: Sandbox) -> object:
    """A download whose host is busy, and that waits to continue."""
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, times=None, action=RespondWith(503)))
    return await job.download()


Paused = tuple["Callable[[AsyncDiffio, Sandbox], Awaitable[object]]", str]
PAUSED: list[Paused] = [(listing, LIST), (waiting, PROGRESS), (downloading, RESULT)]


def paused(sandbox: Sandbox, path: str) -> bool:
    """Whether the request that a pause follows was answered."""
    return any(seen.status and fnmatch(seen.path, path) for seen in sandbox.requests)


@pytest.mark.parametrize(("call", "path"), PAUSED)
async def test_a_pause_ends_when_the_client_is_closed(
    sandbox: Sandbox, call: Any, path: str
) -> None:
    """At once, and not with the response to the next attempt."""
    client = patient(sandbox)
    task = asyncio.create_task(call(client, sandbox))
    await until(lambda: paused(sandbox, path))
    await anyio.sleep(0.05)
    began = time.monotonic()
    await client.aclose()
    with pytest.raises(ClientClosed, match="the client is closed"):
        await task
    assert time.monotonic() - began < 1


def elsewhere(work: Coroutine[Any, Any, object], outcomes: list[BaseException]) -> threading.Thread:
    """Run it on a loop in another thread; what it raises is kept."""

    def run() -> None:
        try:
            asyncio.run(work)
        except Exception as outcome:  # noqa: BLE001 - it is looked at
            outcomes.append(outcome)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


async def test_pauses_of_other_threads_end_too(sandbox: Sandbox) -> None:
    client, outcomes = patient(sandbox), list[BaseException]()
    threads = [elsewhere(listing(client, sandbox), outcomes) for _ in range(3)]
    await until(lambda: sum(seen.status == 503 for seen in requests_to(sandbox, LIST)) == 3)
    await anyio.sleep(0.1)
    began = time.monotonic()
    await client.aclose()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert time.monotonic() - began < 1
    assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 3


def aborted(on: Scene) -> bool:
    """Whether every upload was given up at the edge, in a request of its own."""
    return on.sandbox.state.uploads == {} and all(seen.status == 200 for seen in on.seen(ABORT))


async def test_uploads_of_other_threads_are_aborted_before_the_connections_close() -> None:
    """None is left half open at the edge, and `aclose` returns when they are gone."""
    async with scene(faults=[NEVER]) as on:
        outcomes = list[BaseException]()
        threads = [elsewhere(on.client.projects.create(CONTENT), outcomes) for _ in range(3)]
        await until(lambda: len(on.parts()) >= 3 and len(on.seen("/start", status=200)) == 3)
        with anyio.fail_after(4):
            await on.client.aclose()
        assert len(on.seen(ABORT)) == 3
        assert aborted(on)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 3


async def test_uploads_may_come_and_go_in_threads_while_the_client_closes() -> None:
    """Each of them either ends whole or as `ClientClosed`; closing is not disturbed."""
    # Cut in the middle of `complete`, an upload may land after the API said that it had not: the
    # abort that follows is one the sandbox complains of.
    async with Sandbox(engine="echo", uploads=("edge",), part_size=PART) as sandbox:
        client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
        outcomes = list[BaseException]()

        async def many() -> None:
            while True:
                await client.projects.create(CONTENT)

        threads = [elsewhere(many(), outcomes) for _ in range(4)]
        await until(lambda: len(requests_to(sandbox, "*/uploads/complete")) > 4)
        await client.aclose()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 4
        assert sandbox.state.uploads == {}


async def test_an_abort_is_tried_again_while_the_client_closes() -> None:
    """Its pause is no reason to leave the upload half open."""
    twice = Fault(path=f"*{ABORT}", times=2, action=RespondWith(503, {"Retry-After": "0.1"}))
    async with scene(faults=[twice, Fault(path=f"*{ABORT}", action=LoseResponse()), NEVER]) as on:
        upload = asyncio.create_task(on.client.projects.create(CONTENT))
        await until(on.parts)
        await on.client.aclose()
        with pytest.raises(ClientClosed):
            await upload
        assert on.sandbox.state.uploads == {}
        assert [seen.status for seen in on.seen(ABORT)] == [503, 503, None, 404]


async def test_an_upload_that_waits_to_send_a_part_again_is_aborted_at_once() -> None:
    part = Fault(method="PUT", times=None, action=RespondWith(503, {"Retry-After": "30"}))
    async with scene(faults=[part], retry=RetryPolicy()) as on:
        upload = asyncio.create_task(on.client.projects.create(CONTENT))
        await until(on.parts)
        await anyio.sleep(0.05)
        with anyio.fail_after(2):
            await on.client.aclose()
        with pytest.raises(ClientClosed):
            await upload
        assert len(on.seen(ABORT)) == 1
        assert aborted(on)


async def test_a_loop_that_was_left_in_the_middle_does_not_hold_up_the_closing() -> None:
    """An upload on a loop that stands still cannot tidy up, and is not waited for."""
    async with scene(faults=[NEVER]) as on:
        loop = asyncio.new_event_loop()

        def some() -> asyncio.Task[object]:
            upload: asyncio.Task[object] = loop.create_task(on.client.projects.create(CONTENT))
            loop.run_until_complete(asyncio.sleep(0.3))
            return upload

        upload = await asyncio.to_thread(some)
        assert on.parts()
        began = time.monotonic()
        await on.client.aclose()
        assert time.monotonic() - began < 2

        def rest() -> None:
            with pytest.raises(ClientClosed):
                loop.run_until_complete(upload)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

        await asyncio.to_thread(rest)


async def test_closing_ends_the_wait_for_a_transcript_at_once(sandbox: Sandbox) -> None:
    """The pause before a pending transcript is asked for again is no longer than any other."""
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
    began = time.monotonic()
    await client.aclose()
    with pytest.raises(ClientClosed):
        await restoring
    assert time.monotonic() - began < 5


@pytest.mark.slow
async def test_a_time_out_around_the_client_is_not_stretched_by_a_hung_abort(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the client is left by a cancellation, an abort gets the grace time, and a log line."""
    sandbox.faults.add(NEVER)
    sandbox.faults.add(Fault(path=f"*{ABORT}", times=None, action=Delay(60)))
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with (
            asyncio.timeout(0.2),
            AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
        ):
            await client.projects.create(CONTENT)
    assert time.monotonic() - began < 3
    (project,) = sandbox.state.projects
    lines = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert lines == [f"the abort of the upload of {project} was not confirmed"]


def test_a_client_that_was_never_used_closes_without_an_event_loop() -> None:
    """Under trio, say: there is nothing to close."""
    closing = AsyncDiffio("diffio_key_1234567890", base_url="http://127.0.0.1:9").aclose()
    with pytest.raises(StopIteration):
        closing.send(None)


def test_a_sandbox_without_asyncio_says_so() -> None:
    with pytest.raises(SandboxError, match="asyncio is needed"):
        Sandbox().start().send(None)
