"""Pickling of clients for other processes; connections are not shared."""

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
def _bridge_is_started() -> None:
    """Start the loop of the process before a test counts open descriptors."""
    _bridge.run(anyio.sleep, 0)


async def test_a_used_client_can_be_pickled_with_its_options(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The copy is an equal client with its own connections."""
    await client.restore(b"speech")
    async with pickle.loads(pickle.dumps(client)) as copy:
        assert repr(copy) == repr(client)
        assert len(await copy.projects.list()) == 1


@pytest.mark.slow
async def test_a_blocking_client_works_in_a_spawned_process(sandbox: Sandbox) -> None:
    """`pool.submit(client.projects.list)` works."""
    options = ClientOptions(retry=RetryPolicy(attempts=2))
    client = Diffio(sandbox.api_key, base_url=sandbox.base_url, options=options)
    await anyio.to_thread.run_sync(lambda: client.restore(b"speech"))

    def list_in_process() -> int:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return len(pool.submit(client.projects.list).result(timeout=60))

    assert await anyio.to_thread.run_sync(list_in_process) == 1
    await anyio.to_thread.run_sync(client.close)
