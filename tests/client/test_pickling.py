"""A client can be given to another process; its connections stay where they are."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from diffio_async import AsyncDiffio, ClientOptions, Diffio, RetryPolicy, _bridge

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox


@pytest.fixture(scope="module", autouse=True)
def _bridge_stands() -> None:
    """Its loop is one for the process: it is there before a test counts what is open."""
    _bridge.run(anyio.sleep, 0)


async def test_a_client_that_was_used_pickles_with_its_options(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The copy is a client like the first, on connections of its own."""
    await client.restore(b"speech")
    async with pickle.loads(pickle.dumps(client)) as copy:
        assert repr(copy) == repr(client)
        assert len(await copy.projects.list()) == 1


@pytest.mark.slow
async def test_a_blocking_client_works_in_a_process_that_was_spawned(sandbox: Sandbox) -> None:
    """`pool.submit(client.projects.list)` does what it says."""
    options = ClientOptions(retry=RetryPolicy(attempts=2))
    client = Diffio(sandbox.api_key, base_url=sandbox.base_url, options=options)
    await anyio.to_thread.run_sync(lambda: client.restore(b"speech"))

    def elsewhere() -> int:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return len(pool.submit(client.projects.list).result(timeout=60))

    assert await anyio.to_thread.run_sync(elsewhere) == 1
    await anyio.to_thread.run_sync(client.close)
