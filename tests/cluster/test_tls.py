"""A cluster whose members have certificates."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from distributed import Client, Security

from diffio_async.dask import DaskExecutor
from diffio_async.dask.connection import connect
from diffio_async.errors import ConfigurationError
from tests.batch.scenes import generations, recordings, restored, states
from tests.cluster.processes import ClusterProcesses
from tests.conftest import SAMPLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.slow
trustme = pytest.importorskip("trustme")


def certificates(folder: Path) -> tuple[str, str, str]:
    """Write a new authority, and a certificate and a key of it; return their paths."""
    folder.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem")


def security(folder: Path) -> Security:
    """Return the settings for the certificates in a folder."""
    files = {"tls_client_cert": folder / "cert.pem", "tls_client_key": folder / "key.pem"}
    return Security(
        require_encryption=True,
        tls_ca_file=str(folder / "ca.pem"),
        **{name: str(path) for name, path in files.items()},
    )


@pytest.fixture
async def cluster(_no_task_left: None, tmp_path: Path) -> AsyncIterator[ClusterProcesses]:
    """A cluster with certificates."""
    (tmp_path / "cluster").mkdir()
    ca, certificate, key = certificates(tmp_path / "tls")
    options = (
        "--protocol",
        "tls",
        "--tls-ca-file",
        ca,
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    )
    async with ClusterProcesses(tmp_path / "cluster", workers=1, options=options) as started:
        assert started.address.startswith("tls://")
        yield started


async def test_a_batch_runs_over_tls(
    cluster: ClusterProcesses,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `Security`, or with a client of Dask, which stays open."""
    own = security(tmp_path / "tls")
    async with Client(
        cluster.address, security=own, asynchronous=True, set_as_default=False
    ) as other:
        for name, executor in (
            ("a", DaskExecutor(cluster.address, security=own)),
            ("b", DaskExecutor(other)),
        ):
            source = recordings(tmp_path / name, f"{name}.wav")
            outcomes = await restored(client, source, tmp_path / "out", salt="s", executor=executor)
            assert states(outcomes)[f"{name}.wav"] == "done", outcomes
        assert other.status == "running"
    assert generations(sandbox) == 2
    private = (tmp_path / "tls/key.pem").read_text().splitlines()[1]
    assert private not in cluster.log


async def test_the_command_finds_certificates_in_the_configuration_of_dask(
    cluster: ClusterProcesses, tmp_path: Path
) -> None:
    """As variables of the environment here, or as a file in ~/.config/dask."""
    recordings(tmp_path / "in", "a.wav")
    shutil.copy(SAMPLE, tmp_path / "in" / "a.wav")
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "diffio_async", "batch", "--sandbox", str(tmp_path / "in")),
        *("-o", str(tmp_path / "out"), "--dask", cluster.address, "--salt", "s"),
        env={
            **os.environ,
            f"{tls}CA_FILE": str(tmp_path / "tls/ca.pem"),
            f"{tls}CLIENT__CERT": str(tmp_path / "tls/cert.pem"),
            f"{tls}CLIENT__KEY": str(tmp_path / "tls/key.pem"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert (tmp_path / "out" / "a.restored.mp3").stat().st_size


async def test_other_certificates_are_one_clear_error(
    cluster: ClusterProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown authority, no certificate, or a connection without TLS."""
    monkeypatch.setattr("diffio_async.dask.connection._CONNECT_SECONDS", 2)
    certificates(tmp_path / "other")
    plain = cluster.address.replace("tls", "tcp")
    for address, own, problem in (
        (cluster.address, security(tmp_path / "other"), "certificates are of one authority"),
        (cluster.address, None, "TLS.*certificates are of one authority"),
        (plain, None, "reached by tls://"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            await connect(address, own, allow_insecure=False)
