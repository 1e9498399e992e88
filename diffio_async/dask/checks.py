"""Connection to a cluster, and checks before a batch: anything that is wrong is found unbilled."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import platform
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from attrs import frozen
from distributed import Client

from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._version import __version__
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed import Security

    from diffio_async.batch.executor import RunResources

#: Seconds to wait for the scheduler, and for the first worker of a cluster that has none yet.
_CONNECT_SECONDS, _FIRST_WORKER_SECONDS = 15, 60
_INSTALL = f"pip install 'diffio_async[dask]=={__version__}'"


async def connect(cluster: object, security: Security | None, *, allow_insecure: bool) -> Client:
    """Return a client of its own for a cluster, on the running event loop.

    Raises:
        ConfigurationError: It is not a cluster, cannot be reached, or is not secure.
    """
    if isinstance(cluster, Client):
        scheduler = cluster.scheduler
        address, security = getattr(scheduler, "address", None), security or cluster.security
    elif isinstance(cluster, str):
        address = cluster
    else:
        address = getattr(cluster, "scheduler_address", None)
        security = security or getattr(cluster, "security", None)
    if not isinstance(address, str) or not urlsplit(address).hostname:
        raise ConfigurationError(
            "the cluster must be the address of a scheduler, such as tcp://127.0.0.1:8786, a "
            f"cluster object or a distributed.Client, not {cluster!r}"
        )
    if not (allow_insecure or _is_safe(address)):
        raise ConfigurationError(
            f"the scheduler {address} is on another machine and does not use TLS: any program that "
            "reaches its port can run code on the cluster. Use tls:// with a distributed.Security, "
            "or accept it with allow_insecure=True"
        )
    client = Client(
        address,
        security=security,
        asynchronous=True,
        set_as_default=False,
        timeout=_CONNECT_SECONDS,
        name="diffio_async",
    )
    try:
        await client
    except (OSError, TimeoutError, ValueError, TypeError) as failure:
        await cast("Any", client.close())  # it is a coroutine on this loop
        raise ConfigurationError(
            f"the scheduler {address} cannot be reached: {_first_line(failure)}. Start it with "
            "`dask scheduler`, or correct the address"
        ) from failure
    return client


def _is_safe(address: str) -> bool:
    """Whether only this machine can reach an address, or its connections are encrypted."""
    parts = urlsplit(address)
    if parts.scheme in {"tls", "wss", "inproc"} or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


@frozen(kw_only=True)
class WorkerReport:
    """What a worker finds when it is checked; a text is empty if nothing is wrong."""

    version: str
    python: str
    source_problem: str
    folder_problem: str


def inspect_worker(source: str | None, folder: str, marker: str) -> WorkerReport:
    """Return the report of the machine that this runs on.

    Args:
        source: A recording of the batch, None without any.
        folder: The folder of the results.
        marker: A file in it that the coordinator created.
    """
    source_problem = folder_problem = ""
    if source is not None:
        try:
            with Path(source).open("rb") as file:
                file.read(1)
        except (OSError, ValueError) as failure:
            source_problem = reason_of(failure)
    try:
        if not Path(marker).is_file():
            folder_problem = "it is another folder there, or is not mounted"
        else:
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as failure:
        folder_problem = reason_of(failure)
    return WorkerReport(
        version=__version__,
        python=python_version(),
        source_problem=source_problem,
        folder_problem=folder_problem,
    )


def python_version() -> str:
    """Return the version of Python that decides whether orders unpickle: "3.13"."""
    return ".".join(platform.python_version_tuple()[:2])


def scheduler_versions() -> tuple[str, str]:
    """Return the versions of this package and of Python, for the scheduler."""
    return __version__, python_version()


async def check_cluster(client: Client, run: RunResources) -> None:
    """Check that the scheduler and all workers can take part in a batch.

    Raises:
        ConfigurationError: One of them cannot; the message has the reason and what to do.
    """
    own = scheduler_versions()
    found = await _call(client.run_on_scheduler(scheduler_versions), "the scheduler")
    if tuple(found) != own:
        raise ConfigurationError(_other_versions("the scheduler", *found))
    folder = str(run.plan.root)
    marker = Path(folder, f".diffio-cluster-{secrets.token_hex(8)}")
    threads = TrackedExecutor()
    await threads.run(marker.touch)
    try:
        reports = await _reports(client, run.sample, folder, str(marker))
    finally:
        await threads.run(os.unlink, marker)
    for address, report in reports.items():
        _check_report(f"the worker {address}", report, run.sample, folder)


async def _reports(client: Client, *arguments: object) -> dict[str, WorkerReport]:
    reports = await _call(client.run(inspect_worker, *arguments), "a worker")
    if reports:
        return dict(reports)
    # A cluster that adapts starts its first worker for a task.
    future = client.submit(inspect_worker, *arguments, pure=False)
    try:
        async with asyncio.timeout(_FIRST_WORKER_SECONDS):
            return {"": await _call(future, "a worker")}
    except TimeoutError:
        raise ConfigurationError(
            f"the cluster had no worker for {_FIRST_WORKER_SECONDS} seconds: start some, with "
            "`dask worker ADDRESS`"
        ) from None
    finally:
        future.release()


async def _call(call: Any, where: str) -> Any:
    """Await a call of `distributed`, which has no types.

    Raises:
        ConfigurationError: This package, or a module that it needs, is not installed there.
    """
    try:
        return await call
    except ImportError as failure:
        raise ConfigurationError(
            f"{where} lacks the module {failure.name}: install the same there as here, with "
            f"{_INSTALL}"
        ) from failure
    except (AttributeError, TypeError) as failure:
        # Another version of the package lacks the function, or its arguments.
        raise ConfigurationError(
            f"{where} cannot run this version of the package ({_first_line(failure)}): {_INSTALL}"
        ) from failure
    except OSError as failure:
        raise ConfigurationError(
            f"{where} cannot be reached: {_first_line(failure)}. Check the cluster, and try again"
        ) from failure


def _check_report(where: str, report: WorkerReport, source: str | None, folder: str) -> None:
    if (report.version, report.python) != scheduler_versions():
        raise ConfigurationError(_other_versions(where, report.version, report.python))
    if report.source_problem:
        raise ConfigurationError(
            f"{where} cannot read {source!r}: {report.source_problem}. All machines of the cluster "
            "must reach the recordings by the same path, on a shared file system"
        )
    if report.folder_problem:
        raise ConfigurationError(
            f"{where} cannot write to the folder of the results, {folder!r}: "
            f"{report.folder_problem}. All machines of the cluster must share it under this path"
        )


def _other_versions(where: str, version: str, python: str) -> str:
    own_version, own_python = scheduler_versions()
    return (
        f"{where} has diffio_async {version} on Python {python}, and this process {own_version} on "
        f"Python {own_python}: use the same on all machines ({_INSTALL})"
    )


def _first_line(failure: BaseException) -> str:
    return (str(failure) or type(failure).__name__).splitlines()[0]
