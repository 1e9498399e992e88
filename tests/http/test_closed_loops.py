"""Loops that are just closed, one after the other, leave nothing: no socket, no memory, no word."""

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
from diffio_async.sandbox import Sandbox
from tests.http.peers import ONCE, peer, responds

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

    from tests.http.conftest import Authority

DESCRIPTORS = Path("/proc/self/fd")
#: What a worker of a task queue does for each task; warnings are errors of its.
WORKER = """
import asyncio, gc, logging, os, sys
from diffio_async import AsyncDiffio

# A slow machine makes asyncio's debug mode talk of slow steps: not what is listened for here.
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

pytestmark = pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="nobody tells the descriptors")


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for entry in DESCRIPTORS.iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


class Elsewhere:
    """A loop in another thread, for servers."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A loop for servers, so that loops may come and go here."""
    made = Elsewhere()
    yield made
    made.close()


@pytest.fixture
def remote(elsewhere: Elsewhere) -> Iterator[Sandbox]:
    """A sandbox on it."""
    sandbox = Sandbox(engine="echo")
    elsewhere.run(sandbox.start())
    yield sandbox
    elsewhere.run(sandbox.close())


def briefly(work: Coroutine[Any, Any, object]) -> weakref.ref[asyncio.AbstractEventLoop]:
    """Run it on a loop that is closed without a clean end."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.close()
    return weakref.ref(loop)


def test_the_sockets_and_the_memory_of_a_closed_loop_go_with_the_next_call(
    remote: Sandbox,
) -> None:
    client = AsyncDiffio(remote.api_key, base_url=remote.base_url)
    briefly(client.projects.list())
    before = sockets()
    # Calls of both kinds, those on kept connections and those that take a fresh one.
    loops = [briefly(call) for _ in range(10) for call in (client.projects.list(), made(client))]
    gc.collect()
    assert sockets() <= before + 2
    assert sum(loop() is not None for loop in loops) <= 2
    asyncio.run(client.aclose())
    del loops[:]
    gc.collect()
    assert client._sender.sessions.open == 0


async def made(client: AsyncDiffio) -> None:
    """A call that is not replayed."""
    await client.projects.create(b"speech")


def test_tls_connections_of_a_closed_loop_go_too(
    elsewhere: Elsewhere, authority: Authority
) -> None:
    serving = peer(responds(200, b'{"projects": []}'), keep=True, tls=authority.server)
    host = elsewhere.run(serving.__aenter__())
    options = ClientOptions(retry=ONCE.retry, ssl=authority.trusting)
    url = f"https://localhost:{host.port}"
    client = AsyncDiffio("diffio_key_1234567890", base_url=url, options=options)
    loops = [briefly(client.projects.list()) for _ in range(5)]
    asyncio.run(client.aclose())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 5
    assert host.connections == 5
    elsewhere.run(serving.__aexit__(None, None, None))


def test_a_call_that_a_closed_loop_left_in_the_middle_leaves_no_socket(
    elsewhere: Elsewhere,
) -> None:
    """Its connection was in use: it is closed all the same."""

    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    serving = peer(never)
    host = elsewhere.run(serving.__aenter__())
    client = AsyncDiffio("diffio_key_1234567890", base_url=host.url("/v1"), options=ONCE)
    before, loop = sockets(), asyncio.new_event_loop()
    task = loop.create_task(client.projects.list())
    loop.run_until_complete(asyncio.sleep(0.2))
    assert host.incoming
    loop.close()
    asyncio.run(client.aclose())
    assert sockets() <= before + 1  # the server's end
    # Nobody can run it any more; without this asyncio logs that it was never run to its end.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, loop
    elsewhere.run(serving.__aexit__(None, None, None))


@pytest.mark.slow
def test_a_worker_that_makes_a_loop_for_each_task_keeps_no_sockets(remote: Sandbox) -> None:
    """And says nothing, with all warnings on."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", WORKER],
        env={**os.environ, **remote.environment},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert int(done.stdout) <= 1
