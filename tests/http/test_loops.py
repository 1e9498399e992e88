"""One client on several loops: one after the other, in threads, after a fork; and its end."""

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from diffio_async import AsyncDiffio, ClientClosed, ClientOptions
from diffio_async.sandbox import Delay, Fault, RespondWith, Sandbox

LIST = "*list_projects"


@pytest.fixture
def elsewhere() -> Iterator[Sandbox]:
    """A sandbox on a loop and a thread of its own, so that loops may come and go here."""
    sandbox = Sandbox(engine="echo")
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with sandbox:
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield sandbox
    finally:
        over.set()
        thread.join()


def test_a_client_made_before_any_loop_serves_several_in_turn(elsewhere: Sandbox) -> None:
    """Each gets connections of its own, and nothing warns though nobody closed the client."""
    client = AsyncDiffio(elsewhere.api_key, base_url=elsewhere.base_url)
    for _ in range(3):
        assert asyncio.run(client.projects.list()) == []
    assert client._sender.sessions.open == 0
    del client
    gc.collect()


def test_a_client_serves_two_threads_at_once(elsewhere: Sandbox) -> None:
    client = AsyncDiffio(elsewhere.api_key, base_url=elsewhere.base_url)
    failures: list[BaseException] = []

    async def much() -> None:
        for _ in range(10):
            await asyncio.gather(*(client.projects.list() for _ in range(5)))

    def work() -> None:
        try:
            asyncio.run(much())
        except Exception as failure:  # noqa: BLE001 - it is looked at below
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_closing_in_one_thread_ends_the_calls_of_another(elsewhere: Sandbox) -> None:
    elsewhere.faults.add(Fault(path=LIST, times=None, action=Delay(30)))
    client = AsyncDiffio(elsewhere.api_key, base_url=elsewhere.base_url)
    outcomes: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(client.projects.list())
        except Exception as outcome:  # noqa: BLE001 - it is looked at below
            outcomes.append(outcome)

    thread = threading.Thread(target=work)
    thread.start()
    while not elsewhere.requests:
        time.sleep(0.01)
    asyncio.run(client.aclose())
    thread.join(5)
    assert [type(outcome) for outcome in outcomes] == [ClientClosed]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_the_child_and_the_parent_both_go_on(elsewhere: Sandbox) -> None:
    """The child shares the parent's descriptors: it must neither use nor close them."""
    client = AsyncDiffio(elsewhere.api_key, base_url=elsewhere.base_url)

    async def main() -> int:
        assert await client.projects.list() == []
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.events._set_running_loop(None)
                asyncio.set_event_loop(None)
                gc.collect()
                code = 0 if asyncio.run(client.projects.list()) == [] else 2
                gc.collect()
            finally:
                os._exit(code)
        status = await asyncio.to_thread(lambda: os.waitpid(child, 0)[1])
        for _ in range(3):
            assert await client.projects.list() == []
        await client.aclose()
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(asyncio.wait_for(main(), 20)) == 0


async def test_after_aclose_every_call_says_that_the_client_is_closed(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    await client.projects.list()
    await client.aclose()
    await client.aclose()
    for call in (
        client.projects.list(),
        client.projects.create(b"speech", file_name="a.wav"),
        client.generations.get_progress(generation_id="gen_1"),
        client.restore(b"speech"),
    ):
        with pytest.raises(ClientClosed, match="the client is closed: create another one"):
            await call
    assert len(sandbox.requests) == 1


async def _closed_once_asked(sandbox: Sandbox, client: AsyncDiffio) -> None:
    calls = [asyncio.create_task(client.projects.list()) for _ in range(4)]
    while not sandbox.requests:
        await asyncio.sleep(0.01)
    await client.aclose()
    await asyncio.wait(calls, timeout=5)
    outcomes = [call.exception() for call in calls]
    assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 4
    assert [outcome.__context__ for outcome in outcomes if outcome] == [None] * 4


@pytest.mark.parametrize("connections", [100, 1])
async def test_calls_in_flight_at_the_close_say_so_too(sandbox: Sandbox, connections: int) -> None:
    """Those that wait for a response, and those that wait for a free connection."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=Delay(30)))
    options = ClientOptions(max_connections_per_host=connections)
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options)
    await _closed_once_asked(sandbox, client)


async def test_a_call_that_waits_for_its_next_try_says_so_too(sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault(path=LIST, times=None, action=RespondWith(503, {"Retry-After": "0.1"}))
    )
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
    await _closed_once_asked(sandbox, client)


async def test_a_client_left_open_while_its_loop_runs_is_named(sandbox: Sandbox) -> None:
    """Once, by our name; and its connections are closed all the same."""
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
    await client.projects.list()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "AsyncDiffio(base_url=" in str(caught[0].message)
    assert "was left open" in str(caught[0].message)
