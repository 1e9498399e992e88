"""A batch on a cluster whose recordings and results are objects of an S3 server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from diffio_async.dask import DaskExecutor
from diffio_async.errors import ConfigurationError
from diffio_async.options import MIB
from tests.batch.scenes import content, generations, restored, states
from tests.cluster.processes import ClusterProcesses
from tests.stores.conftest import SECRET, _only_local_stores, s3, s3_endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.stores.conftest import Bucket

__all__ = ["_only_local_stores", "s3", "s3_endpoint"]
pytestmark = pytest.mark.slow


@pytest.fixture
async def cluster(
    _no_task_left: None, s3: Bucket, tmp_path: Path
) -> AsyncIterator[ClusterProcesses]:
    """A cluster whose workers have the credentials of the store."""
    (tmp_path / "cluster").mkdir()
    async with ClusterProcesses(tmp_path / "cluster", workers=2) as started:
        yield started


async def test_workers_read_from_a_store_once_and_write_to_it(
    s3: Bucket,
    cluster: ClusterProcesses,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A small and a spooled recording, byte for byte; each is read from the store a single time."""
    wanted = {"a.wav": content("a"), "deep/b.wav": content("b", 3 * MIB)}
    for name, data in wanted.items():
        s3.put(f"in/{name}", data)

    outcomes = await restored(
        client,
        s3.url("in/"),
        s3.url("out/"),  # type: ignore[arg-type]
        salt="s",
        journal=tmp_path / "j.sqlite",
        executor=DaskExecutor(cluster.address),
    )

    assert states(outcomes) == {"a.wav": "done", "b.wav": "done"}, outcomes
    for name, data in wanted.items():
        assert s3.get(f"out/{name.removesuffix('.wav')}.restored.mp3") == data
    assert len(s3.all_keys()) == 4
    assert generations(sandbox) == 2
    # Other tests of this process may have started a server of their own.
    logs = tmp_path_factory.getbasetemp().glob("s3[0-9]*/server.log")
    requests = "".join(each.read_text() for each in logs)
    for name in wanted:
        assert requests.count(f"GET /{s3.name}/in/{name} ") == 1
    assert SECRET not in cluster.log


async def test_a_worker_that_cannot_use_the_store_is_named(
    s3: Bucket,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No credentials, or no extra: one error before anything is sent."""
    s3.put("in/a.wav", content("a"))
    preload = tmp_path / "without.py"
    preload.write_text("import sys\ndef dask_setup(worker):\n    sys.modules['obstore'] = None\n")
    key = os.environ["AWS_ACCESS_KEY_ID"]
    async with ClusterProcesses(tmp_path, workers=1, preload=str(preload)) as cluster:
        with pytest.raises(ConfigurationError, match=r"worker tcp://.*extra 'stores'") as caught:
            await _restore(s3, client, tmp_path, cluster)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with ClusterProcesses(tmp_path, workers=1) as cluster:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        with pytest.raises(ConfigurationError, match=r"worker tcp://.*credentials") as caught:
            await _restore(s3, client, tmp_path, cluster)
    assert "in its environment" in str(caught.value)
    assert not [seen for seen in sandbox.requests if "project" in seen.path]


async def _restore(
    s3: Bucket, client: AsyncDiffio, folder: Path, cluster: ClusterProcesses
) -> None:
    executor, journal = DaskExecutor(cluster.address), folder / "j.sqlite"
    await restored(
        client,
        s3.url("in/"),
        s3.url("out/"),  # type: ignore[arg-type]
        salt="s",
        journal=journal,
        executor=executor,
    )
