"""Event loops that are closed without `aclose` leave neither sockets nor memory behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio, ClientOptions
from tests.http.peers import ONCE, peer, responds

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

    from diffio_async.sandbox import Sandbox
    from tests.http.conftest import Authority

DESCRIPTORS = Path("/proc/self/fd")
#: A worker of a task queue, with a new loop for each task; warnings are errors.
WORKER = """
import asyncio, gc, logging, os, sys
from diffio_async import AsyncDiffio

# Ignore the warnings about slow steps of asyncio's debug mode.
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))

client = AsyncDiffio()
for _ in range(30):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.projects.list())
    loop.close()
gc.collect()
print(sum(os.readlink(f"/proc/self/fd/{n}").startswith("socket:")
          for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")))
asyncio.run(client.aclose())
"""

pytestmark = pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="needs /proc/self/fd")


def sockets() -> int:
    """Return the number of open sockets of this process."""
    found = 0
    for entry in DESCRIPTORS.iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


class LoopThread:
    """An event loop in another thread, for servers."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        """Stop the thread and close the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """A loop thread for servers, so that this thread can create and close loops."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def remote(diffio_sandbox: Sandbox) -> Sandbox:
    """A sandbox in another thread."""
    return diffio_sandbox


def run_and_close(work: Coroutine[Any, Any, object]) -> weakref.ref[asyncio.AbstractEventLoop]:
    """Run a coroutine on a loop that is closed without shutting down."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.close()
    return weakref.ref(loop)


def test_sockets_and_memory_of_a_closed_loop_are_released_by_the_next_call(
    remote: Sandbox,
) -> None:
    client = AsyncDiffio(remote.api_key, base_url=remote.base_url)
    run_and_close(client.projects.list())
    before = sockets()
    # Requests on kept-alive connections, and requests that open a new one.
    loops = [
        run_and_close(call)
        for _ in range(10)
        for call in (client.projects.list(), create_project(client))
    ]
    gc.collect()
    assert sockets() <= before + 2
    assert sum(loop() is not None for loop in loops) <= 2
    asyncio.run(client.aclose())
    del loops[:]
    gc.collect()
    assert client._sender.sessions.open == 0


async def create_project(client: AsyncDiffio) -> None:
    """Make a request that is not retried."""
    await client.projects.create(b"speech")


def test_tls_connections_of_a_closed_loop_are_released(
    loop_thread: LoopThread, authority: Authority
) -> None:
    serving = peer(responds(200, b'{"projects": []}'), keep=True, tls=authority.server)
    host = loop_thread.run(serving.__aenter__())
    options = ClientOptions(retry=ONCE.retry, ssl=authority.trusting)
    url = f"https://localhost:{host.port}"
    client = AsyncDiffio("diffio_key_1234567890", base_url=url, options=options)
    loops = [run_and_close(client.projects.list()) for _ in range(5)]
    asyncio.run(client.aclose())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 5
    assert host.connections == 5
    loop_thread.run(serving.__aexit__(None, None, None))


def test_a_call_interrupted_by_closing_its_loop_leaves_no_socket(
    loop_thread: LoopThread,
) -> None:
    """Its connection is closed although it was in use."""

    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    serving = peer(never)
    host = loop_thread.run(serving.__aenter__())
    client = AsyncDiffio("diffio_key_1234567890", base_url=host.url("/v1"), options=ONCE)
    before, loop = sockets(), asyncio.new_event_loop()
    task = loop.create_task(client.projects.list())
    while not host.requests:
        loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()
    asyncio.run(client.aclose())
    assert sockets() <= before + 1  # the server's end
    # The task can never finish; without this, asyncio logs that it is pending.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, loop
    loop_thread.run(serving.__aexit__(None, None, None))


@pytest.mark.slow
def test_a_worker_with_a_loop_per_task_keeps_no_sockets(remote: Sandbox) -> None:
    """It prints no warnings, although all are enabled."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", WORKER],
        env={**os.environ, **remote.environment},
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert int(done.stdout) <= 1
