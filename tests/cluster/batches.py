"""Batches of small recordings on a cluster, in which something fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from diffio_async.dask import DaskExecutor
from tests.batch.scenes import below, generations, recordings, restored, states

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.cluster.processes import ClusterProcesses

FILES = 16


def start(
    client: AsyncDiffio, cluster: ClusterProcesses, folder: Path, **how: Any
) -> asyncio.Task[dict[str, Any]]:
    """Start a batch of the recordings in `in` to `out`, unless it is to use others."""
    source = how.pop("source", folder / "in")
    if source == folder / "in" and not source.exists():
        recordings(source, *(f"{number}.wav" for number in range(FILES)))
    how = {"to": folder / "out", "salt": "s", "executor": DaskExecutor(cluster.address), **how}
    return asyncio.create_task(restored(client, source, **how))


async def sent(sandbox: Sandbox, origin: str, running: asyncio.Task[Any], count: int = 1) -> None:
    """Wait until workers have sent requests to "edge" (uploads) or "media" (results)."""
    while sum(seen.origin == origin for seen in sandbox.requests) < count:
        assert not running.done(), running.result()
        await asyncio.sleep(0.01)


def check(outcomes: dict[str, Any], sandbox: Sandbox, folder: Path, to: str = "out") -> None:
    """Check that each file was restored once, and that nothing else is in the folder."""
    assert set(states(outcomes).values()) == {"done"}, outcomes
    assert generations(sandbox) == FILES
    assert below(folder / to) == sorted(f"{n}.restored.mp3" for n in range(FILES))
