"""Connection to a cluster, and checks before a batch: anything that is wrong is found unbilled."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import platform
import re
import secrets
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from attrs import frozen
from distributed import Client

from diffio_async._reporting import log
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._store_url import is_store_url, parse_url
from diffio_async._stores.reading import find_object
from diffio_async._stores.writing import check_writable
from diffio_async._version import __version__
from diffio_async.errors import ConfigurationError, ConnectionFailed, DiffioError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from distributed import Security

    from diffio_async._store_url import StoreUrl
    from diffio_async.batch.executor import RunResources

#: Seconds to wait for the scheduler, and for the first worker of a cluster that has none yet.
_CONNECT_SECONDS, _FIRST_WORKER_SECONDS = 15, 60
_ADDRESS = re.compile(r"(inproc://.+|(tcp|tls|wss?|ucx)://(\[[0-9a-fA-F:.%]+\]|[\w.-]+)(:\d+)?)")
_START = (
    "Start it with `dask scheduler`, or correct the address; one that has certificates is reached "
    "by tls://"
)
_CHECK_TLS = (
    "Check that it runs, and that the certificates are of one authority: DaskExecutor(…, "
    "security=Security(…)), or distributed.comm.tls in Dask's configuration"
)
#: Attempts of a worker to reach a store that does not respond.
_ATTEMPTS = 3
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
    check_address(address, allow_insecure=allow_insecure)
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
            f"the scheduler {address} cannot be reached: {_first_line(failure).rstrip('.')}. "
            + (_CHECK_TLS if address.startswith("tls:") else _START)
        ) from failure
    return client


def check_address(address: str, *, allow_insecure: bool = False) -> None:
    """Check the address of a scheduler; nothing is sent.

    Raises:
        ConfigurationError: It is not an address, or not secure.
    """
    if not _ADDRESS.fullmatch(address):
        raise ConfigurationError(
            f"{address!r} is not the address of a scheduler: write tls://HOST:PORT, or "
            "tcp://127.0.0.1:PORT for one on this machine"
        )
    if not (allow_insecure or _is_safe(address)):
        raise ConfigurationError(
            f"the scheduler {address} is on another machine and does not use TLS: any program that "
            "reaches its port can run code on the cluster. Use tls:// with a distributed.Security, "
            "or accept it with allow_insecure=True"
        )


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


async def inspect_worker(source: str | None, folder: str, marker: str | None) -> WorkerReport:
    """Return the report of the machine that this runs on.

    Args:
        source: A recording of the batch, None without any.
        folder: The folder of the results.
        marker: A file in it that the coordinator created, None for a folder of a store.
    """
    threads = TrackedExecutor()
    if source is None:
        source_problem = ""
    elif is_store_url(source):
        source_problem = await _store_problem(_look_up, parse_url(source, "the source"))
    else:
        source_problem = await threads.run(_file_problem, source)
    if marker is None:
        folder_url = parse_url(folder, "the folder of the results")
        folder_problem = await _store_problem(check_writable, folder_url)
    else:
        folder_problem = await threads.run(_folder_problem, folder, marker)
    return WorkerReport(
        version=__version__,
        python=python_version(),
        source_problem=source_problem,
        folder_problem=folder_problem,
    )


def _file_problem(source: str) -> str:
    try:
        with Path(source).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as failure:
        return reason_of(failure)
    return ""


def _folder_problem(folder: str, marker: str) -> str:
    try:
        if not Path(marker).is_file():
            return "it is another folder there, or is not mounted"
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        return reason_of(failure)
    return ""


async def _look_up(url: StoreUrl) -> None:
    # A link may be signed for reading alone; a missing object is a failure of its file.
    if not url.is_web:
        await find_object(url)


async def _store_problem(check: Callable[[StoreUrl], Awaitable[None]], url: StoreUrl) -> str:
    """Return why a store cannot be used; a lost response is not the reason yet."""
    for attempt in itertools.count(1):
        try:
            await check(url)
        except DiffioError as failure:
            if attempt == _ATTEMPTS or not isinstance(failure.__cause__, ConnectionFailed):
                return str(failure)
            await asyncio.sleep(attempt)
        else:
            break
    return ""


def python_version() -> str:
    """Return the version of Python that decides whether orders unpickle: "3.13"."""
    return ".".join(platform.python_version_tuple()[:2])


def own_versions() -> tuple[str, str]:
    """Return the versions of this package and of Python, in the process that this runs in."""
    return __version__, python_version()


def check_versions(where: str, expected: tuple[str, str]) -> None:
    """Check, on a worker, that its versions are those of the coordinator.

    Raises:
        ConfigurationError: They are not.
    """
    if own_versions() != expected:
        raise ConfigurationError(_other_versions(where, own_versions(), expected))


async def check_cluster(client: Client, run: RunResources) -> None:
    """Check that the scheduler and all workers can take part in a batch.

    Raises:
        ConfigurationError: One of them cannot; the message has the reason and what to do.
    """
    own = own_versions()
    found = await _call(client.run_on_scheduler(own_versions), "the scheduler")
    if tuple(found) != own:
        raise ConfigurationError(_other_versions("the scheduler", found, own))
    root, sample, marker = run.plan.root, run.sample, None
    for place in (sample or "", str(root)):
        if place.startswith("memory:"):
            raise ConfigurationError(
                f"{place!r} exists in this process only: use a store that all machines reach"
            )
    threads = TrackedExecutor()
    if sample and not is_store_url(sample) and await threads.run(_file_problem, sample):
        sample = None  # it fails alone, wherever it is read
    if isinstance(root, Path):
        marker = root / f".diffio-cluster-{secrets.token_hex(8)}"
        try:
            await threads.run(marker.touch)
        except OSError as failure:
            raise ConfigurationError(
                f"nothing can be written in {str(root)!r}: {reason_of(failure)}"
            ) from failure
    try:
        arguments = sample, str(root), None if marker is None else str(marker)
        reports = await _reports(client, *arguments)
    finally:
        if marker is not None:
            await threads.run(partial(marker.unlink, missing_ok=True))
    for address, report in reports.items():
        _check_report(f"the worker {address}".rstrip(), report, sample, str(root))


async def _reports(client: Client, *arguments: object) -> dict[str, WorkerReport]:
    running = client.run(inspect_worker, *arguments, on_error="return")
    reports = {}
    for address, found in (await _call(running, "the cluster")).items():
        if isinstance(found, OSError):
            log.warning("the worker %s left while it was checked: %s", address, found)
        else:
            reports[address] = await _call(_returned(found), f"the worker {address}")
    if reports:
        return reports
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


async def _returned(found: Any) -> Any:
    if isinstance(found, Exception):
        raise found
    return found


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
    found = report.version, report.python
    if found != own_versions():
        raise ConfigurationError(_other_versions(where, found, own_versions()))
    of_store = "Install the extra 'stores' there, and configure the store in its environment"
    if report.source_problem:
        shared = (
            "All machines of the cluster must reach the recordings by the same path, on a shared "
            "file system"
        )
        raise ConfigurationError(
            f"{where} cannot read {source!r}: {report.source_problem.rstrip('.')}. "
            f"{of_store if is_store_url(source) else shared}"
        )
    if report.folder_problem:
        shared = "All machines of the cluster must share it under this path"
        raise ConfigurationError(
            f"{where} cannot write to the folder of the results, {folder!r}: "
            f"{report.folder_problem.rstrip('.')}. {of_store if is_store_url(folder) else shared}"
        )


def _other_versions(where: str, found: tuple[str, str], expected: tuple[str, str]) -> str:
    return (
        f"{where} has diffio_async {found[0]} on Python {found[1]}, and the coordinator "
        f"{expected[0]} on Python {expected[1]}: use the same on all machines "
        f"(pip install 'diffio_async[dask]=={expected[0]}')"
    )


def _first_line(failure: BaseException) -> str:
    return (str(failure) or type(failure).__name__).splitlines()[0]
