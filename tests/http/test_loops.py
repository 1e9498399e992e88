"""One client on several event loops: in sequence, in threads, after a fork, and when closed."""

import asyncio
import gc
import os
import sys
import threading
import time
import warnings

import pytest

from diffio_async import AsyncDiffio, ClientClosed, ClientOptions
from diffio_async.sandbox import Delay, Fault, RespondWith, Sandbox

LIST = "*list_projects"


@pytest.fixture
def remote(diffio_sandbox: Sandbox) -> Sandbox:
    """A sandbox in another thread, so that this thread can create and close loops."""
    return diffio_sandbox


def test_a_client_created_without_a_loop_works_on_several_in_sequence(remote: Sandbox) -> None:
    """Each loop gets its own connections, and the unclosed client causes no warning."""
    client = AsyncDiffio(remote.api_key, base_url=remote.base_url)
    for _ in range(3):
        assert asyncio.run(client.projects.list()) == []
    assert client._sender.sessions.open == 0
    del client
    gc.collect()


def test_a_client_works_in_two_threads_at_once(remote: Sandbox) -> None:
    client = AsyncDiffio(remote.api_key, base_url=remote.base_url)
    failures: list[BaseException] = []

    async def make_calls() -> None:
        for _ in range(10):
            await asyncio.gather(*(client.projects.list() for _ in range(5)))

    def work() -> None:
        try:
            asyncio.run(make_calls())
        except Exception as failure:  # noqa: BLE001 - checked below
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.slow
def test_what_a_client_keeps_for_each_loop_is_shared_by_threads_that_end_their_loops() -> None:
    """Threads may add entries while another one removes those of closed loops."""
    client = AsyncDiffio("diffio_live_k", base_url="http://127.0.0.1:9/v1")
    failures: list[BaseException] = []

    async def use() -> None:
        client.projects._uploader.limiter()
        client._pacer.scheduler()
        ended = asyncio.create_task(asyncio.sleep(0))
        client._sender.ranges.track(ended)
        await ended

    def work() -> None:
        try:
            for _ in range(60):
                asyncio.run(use())
        except BaseException as failure:  # noqa: BLE001 - checked below
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


def test_closing_in_one_thread_ends_the_calls_of_another(remote: Sandbox) -> None:
    remote.faults.add(Fault(path=LIST, times=None, action=Delay(30)))
    client = AsyncDiffio(remote.api_key, base_url=remote.base_url)
    outcomes: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(client.projects.list())
        except Exception as outcome:  # noqa: BLE001 - checked below
            outcomes.append(outcome)

    thread = threading.Thread(target=work)
    thread.start()
    while not remote.requests:
        time.sleep(0.01)
    asyncio.run(client.aclose())
    thread.join(20)
    assert [type(outcome) for outcome in outcomes] == [ClientClosed]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_child_and_parent_can_both_use_the_client(remote: Sandbox) -> None:
    """The child shares the parent's descriptors: it must neither use nor close them."""
    client = AsyncDiffio(remote.api_key, base_url=remote.base_url)

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

    assert asyncio.run(asyncio.wait_for(main(), 60)) == 0


async def test_after_aclose_every_call_raises_client_closed(
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


async def _check_close_ends_calls(sandbox: Sandbox, client: AsyncDiffio) -> None:
    calls = [asyncio.create_task(client.projects.list()) for _ in range(4)]
    while not sandbox.requests:
        await asyncio.sleep(0.01)
    await client.aclose()
    await asyncio.wait(calls, timeout=20)
    outcomes = [call.exception() for call in calls]
    assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 4
    assert [outcome.__context__ for outcome in outcomes if outcome] == [None] * 4


@pytest.mark.parametrize("connections", [100, 1])
async def test_closing_ends_calls_in_flight_with_client_closed(
    sandbox: Sandbox, connections: int
) -> None:
    """Calls wait for a response, or for a free connection."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=Delay(30)))
    options = ClientOptions(max_connections_per_host=connections)
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options)
    await _check_close_ends_calls(sandbox, client)


async def test_closing_ends_a_call_that_waits_for_its_next_attempt(sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault(path=LIST, times=None, action=RespondWith(503, {"Retry-After": "0.1"}))
    )
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
    await _check_close_ends_calls(sandbox, client)


async def test_a_client_left_open_while_its_loop_runs_causes_a_warning(sandbox: Sandbox) -> None:
    """The warning names the client, and its connections are closed nevertheless."""
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
