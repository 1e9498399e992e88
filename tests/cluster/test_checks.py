"""What is wrong with a cluster is found before a batch sends anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from distributed import Security

from diffio_async import _version
from diffio_async._store_url import StoreUrl
from diffio_async._stores import connection
from diffio_async._stores.connection import retry_lost
from diffio_async.dask import DaskExecutor
from diffio_async.dask.checks import Requirements, admitted, inspect_worker, own_versions
from diffio_async.dask.connection import connect
from diffio_async.dask.local import executor_for
from diffio_async.errors import ConfigurationError, ConnectionFailed, InvalidTarget
from tests.batch.scenes import recordings, restored
from tests.cluster.processes import ClusterProcesses

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("tcp://10.0.0.1:8786", "does not use TLS"),
        ("tcp://scheduler.example:8786", "does not use TLS"),
        ("", "must be the address of a scheduler"),
        (7, "must be the address of a scheduler"),
        ("tcp://127.0.0.1:9", "cannot be reached"),
    ],
)
async def test_an_address_that_cannot_be_used_is_refused(
    address: object, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler on another machine needs TLS; the message has the next step."""
    monkeypatch.setattr("diffio_async.dask.connection._CONNECT_SECONDS", 0.2)
    with pytest.raises(ConfigurationError, match=problem):
        await connect(address, None, allow_insecure=False)


async def test_certificates_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("absent.pem", "empty.pem"):
        file = str(tmp_path / name)
        security = Security(tls_ca_file=file, tls_client_cert=file, tls_client_key=file)
        with pytest.raises(ConfigurationError, match=r"cannot be read: .* Check the paths"):
            await connect("tls://127.0.0.1:9", security, allow_insecure=False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("local:0", "must be local"),
        ("local:x", "must be local"),
        ("tcp://127.0.0.1:8786/path", "is not the address"),
        ("http://127.0.0.1:8786", "is not the address"),
        ("tcp://127.0.0.1:port", "is not the address"),
        ("tcp://scheduler:8786", "does not use TLS"),
    ],
)
def test_an_option_that_names_no_cluster_is_refused(text: str, problem: str) -> None:
    """It is refused with the options of the command, before a sandbox starts."""
    with pytest.raises(ConfigurationError, match=problem):
        executor_for(text)


def test_addresses_of_clusters_are_accepted() -> None:
    for text in ("local", "local:2", "tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tls://host-1"):
        executor_for(text)


@pytest.mark.slow
async def test_a_store_that_lost_a_response_gets_another_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One broken connection does not end a batch; one at each attempt does, or a slow failure."""
    calls: list[object] = []

    @retry_lost
    async def check(_: StoreUrl) -> None:
        calls.append(1)
        if len(calls) != 2:
            raise InvalidTarget("it cannot be written") from ConnectionFailed("reset")

    url = StoreUrl("s3", "bucket", "out/")
    await check(url)
    monkeypatch.setattr(connection, "_CHECK_ATTEMPTS", 2)
    with pytest.raises(InvalidTarget, match="cannot be written"):
        await check(url)
    assert len(calls) == 4
    # obstore has already repeated a request that fails late.
    monkeypatch.setattr(connection, "_CHECK_SECONDS", 0)
    with pytest.raises(InvalidTarget, match="cannot be written"):
        await check(url)
    assert len(calls) == 5


async def test_a_worker_reports_what_it_cannot_reach(tmp_path: Path) -> None:
    """A recording that is missing there, and a folder that is another one; it is not admitted."""
    marker = tmp_path / "marker"
    required = Requirements(
        run="run-1",
        versions=own_versions(),
        source=str(tmp_path / "gone.wav"),
        folder=str(tmp_path),
        marker=str(marker),
    )
    report = await inspect_worker(required)
    assert "No such file" in report.source_problem
    assert "another folder" in report.folder_problem
    marker.touch()
    assert required.run not in admitted
    report = await inspect_worker(evolve(required, source=str(marker)))
    assert (report.source_problem, report.folder_problem) == ("", "")
    assert required.run in admitted
    assert [each.name for each in tmp_path.iterdir()] == ["marker"]


@pytest.mark.slow
async def test_a_worker_with_another_version_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The message names the worker, both versions, and the command that installs this one."""
    preload = tmp_path / "older.py"
    preload.write_text(
        "from diffio_async.dask import checks\n"
        "def dask_setup(worker):\n"
        "    checks.__version__ = '0.0.1'\n"
    )
    async with ClusterProcesses(tmp_path, workers=1, preload=str(preload)) as cluster:
        with pytest.raises(ConfigurationError, match=r"worker tcp://.* has diffio_async 0\.0\.1"):
            await restored(
                client,
                recordings(tmp_path / "in", "a.wav"),
                tmp_path / "out",
                salt="s",
                executor=DaskExecutor(cluster.address),
            )
    assert _version.__version__ != "0.0.1"
    assert not [seen for seen in sandbox.requests if "project" in seen.path]


@pytest.mark.slow
async def test_a_folder_that_is_not_shared_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A worker that sees another folder under the path of the results takes no part."""
    preload = tmp_path / "elsewhere.py"
    # The worker's view of the file system lacks what this process creates.
    preload.write_text(
        "import pathlib\n"
        "def dask_setup(worker):\n"
        "    is_file = pathlib.Path.is_file\n"
        "    pathlib.Path.is_file = lambda path: path.suffix and is_file(path)\n"
    )
    async with ClusterProcesses(tmp_path, workers=1, preload=str(preload)) as cluster:
        with pytest.raises(ConfigurationError, match="must share it under this path"):
            await restored(
                client,
                recordings(tmp_path / "in", "a.wav"),
                tmp_path / "out",
                salt="s",
                executor=DaskExecutor(cluster.address),
            )
    assert not [seen for seen in sandbox.requests if "project" in seen.path]
