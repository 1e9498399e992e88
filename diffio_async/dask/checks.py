"""Checks of a cluster: a worker that cannot take part in a batch gets no orders of it.

All workers are checked before a batch sends anything, and those that join later before their first
order.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import secrets
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from diffio_async._reporting import log
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._store_url import is_store_url, parse_url
from diffio_async._stores.reading import find_object
from diffio_async._stores.writing import check_writable
from diffio_async._version import __version__
from diffio_async.dask.connection import first_line
from diffio_async.errors import ConfigurationError, ConnectionFailed, DiffioError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from distributed import Client

    from diffio_async._store_url import StoreUrl
    from diffio_async.batch.executor import RunResources

#: Seconds to wait for a check, and for the first worker of a cluster that has none yet: a cluster
#: that adapts may have to wait for machines.
_CHECK_SECONDS, _FIRST_WORKER_SECONDS = 60, 600
INSTALL = f"pip install 'diffio_async[dask]=={__version__}'"


@frozen(kw_only=True)
class Requirements:
    """What a worker needs to take part in a run.

    Attributes:
        run: Name of the run.
        versions: Versions of this package and of Python.
        source: A recording of the batch, None without any.
        folder: The folder of the results.
        marker: A file in it that the coordinator created, None for a folder of a store.
    """

    run: str
    versions: tuple[str, str]
    source: str | None
    folder: str
    marker: str | None = None


@frozen(kw_only=True)
class WorkerReport:
    """What a worker finds when it is checked; a text is empty if nothing is wrong."""

    versions: tuple[str, str]
    source_problem: str
    folder_problem: str


#: Names of the runs that this worker takes part in.
admitted = set[str]()


async def inspect_worker(required: Requirements) -> WorkerReport:
    """Return the report of the machine that this runs on; if all is well, it is admitted."""
    # Together, as a store that does not respond takes most of the time of a check.
    source_problem, folder_problem = await asyncio.gather(
        _source_problem(required.source), _results_problem(required.folder, required.marker)
    )
    if required.versions == own_versions() and not source_problem and not folder_problem:
        admitted.add(required.run)
    return WorkerReport(
        versions=own_versions(), source_problem=source_problem, folder_problem=folder_problem
    )


async def _source_problem(source: str | None) -> str:
    if source is None:
        return ""
    if is_store_url(source):
        return await _store_problem(_look_up, parse_url(source, "the source"))
    return await TrackedExecutor().run(_file_problem, source)


async def _results_problem(folder: str, marker: str | None) -> str:
    if marker is None:
        return await _store_problem(check_writable, parse_url(folder, "the folder of the results"))
    return await TrackedExecutor().run(_folder_problem, folder, marker)


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
    try:
        await check(url)
    except DiffioError as failure:
        return str(failure)
    return ""


def python_version() -> str:
    """Return the version of Python that decides whether orders unpickle: "3.13"."""
    return ".".join(platform.python_version_tuple()[:2])


def own_versions() -> tuple[str, str]:
    """Return the versions of this package and of Python, in the process that this runs in."""
    return __version__, python_version()


async def check_cluster(client: Client, run: RunResources) -> Requirements:
    """Check that the scheduler and all workers can take part in a run.

    Returns:
        What workers that join later need.

    Raises:
        ConfigurationError: One of them cannot; the message has the reason and what to do.
    """
    own = own_versions()
    call = asyncio.wait_for(client.run_on_scheduler(own_versions), _CHECK_SECONDS)
    found = await _call(call, "the scheduler")
    if tuple(found) != own:
        raise ConfigurationError(_other_versions("the scheduler", found, own))
    root, sample = run.plan.root, run.sample
    for place in (sample or "", str(root)):
        if place.startswith("memory:"):
            raise ConfigurationError(
                f"{place!r} exists in this process only: use a store that all machines reach"
            )
    if sample and not is_store_url(sample):
        missing = await TrackedExecutor().run(_file_problem, sample)
        sample = None if missing else sample  # it fails alone, wherever it is read
    name = f"diffio-{secrets.token_hex(4)}"
    required = Requirements(run=name, versions=own, source=sample, folder=str(root))
    workers = await _call(client.nthreads(), "the scheduler")
    if not await check_workers(client, required, workers):
        async with _marked(required) as marked:
            await _check_first_worker(client, marked)
    return required


async def check_workers(client: Client, required: Requirements, workers: Iterable[str]) -> int:
    """Check workers; return the number of those that can take part.

    Raises:
        ConfigurationError: One of them cannot. One that has left, or does not respond, is left out.
    """
    async with _marked(required) as marked:
        checks = [_check_worker(client, marked, each) for each in workers]
        failures = await asyncio.gather(*checks, return_exceptions=True)
    for failure in failures:
        if isinstance(failure, ConnectionFailed):
            log.warning("%s", failure)
        elif failure is not None:
            raise failure
    return failures.count(None)


async def check_late_worker(client: Client, required: Requirements, worker: str) -> None:
    """Check a worker that joined after the start.

    Raises:
        ConfigurationError: It cannot take part.
        ConnectionFailed: It has left, or does not respond.
    """
    async with _marked(required) as marked:
        await _check_worker(client, marked, worker)


@contextlib.asynccontextmanager
async def _marked(required: Requirements) -> AsyncIterator[Requirements]:
    """Create a file in the folder of the results during the body, unless that is in a store."""
    if is_store_url(required.folder):
        yield required
        return
    threads = TrackedExecutor()
    marker = Path(required.folder) / f".diffio-cluster-{secrets.token_hex(8)}"
    try:
        await threads.run(marker.touch)
    except OSError as failure:
        raise ConfigurationError(
            f"nothing can be written in {required.folder!r}: {reason_of(failure)}"
        ) from failure
    try:
        yield evolve(required, marker=str(marker))
    finally:
        await threads.run(partial(marker.unlink, missing_ok=True))


async def _check_worker(client: Client, required: Requirements, worker: str) -> None:
    call = client.run(inspect_worker, required, workers=[worker], on_error="return")
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            found = (await _call(call, "the cluster"))[worker]
    except TimeoutError as failure:
        found = failure
    if isinstance(found, OSError):
        raise ConnectionFailed(f"the worker {worker} cannot be checked: {first_line(found)}")
    where = f"the worker {worker}"
    if isinstance(found, Exception):
        raise _explained(found, where) from found
    _check_report(where, found, required)


async def _check_first_worker(client: Client, required: Requirements) -> None:
    # A cluster that adapts starts its first worker for a task.
    future = client.submit(inspect_worker, required, pure=False)
    log.warning(
        "the cluster has no worker yet: waiting up to %d minutes", _FIRST_WORKER_SECONDS // 60
    )
    try:
        async with asyncio.timeout(_FIRST_WORKER_SECONDS):
            report = await _call(future, "a worker")
    except TimeoutError:
        raise ConfigurationError(
            f"the cluster had no worker for {_FIRST_WORKER_SECONDS} seconds: start some, with "
            "`dask worker ADDRESS`"
        ) from None
    finally:
        future.release()
    _check_report("a worker", report, required)


async def _call(call: Any, where: str) -> Any:
    """Await a call of `distributed`, which has no types.

    Raises:
        ConfigurationError: This package, or a module that it needs, is not installed there.
    """
    try:
        return await call
    except Exception as failure:
        raise _explained(failure, where) from failure


def _explained(failure: Exception, where: str) -> ConfigurationError:
    """Return the error for a call that failed there."""
    if isinstance(failure, ImportError):
        return ConfigurationError(missing_module(where, failure.name or str(failure)))
    if isinstance(failure, OSError):
        return ConfigurationError(
            f"{where} cannot be reached: {first_line(failure)}. Check the cluster, and try again"
        )
    # Another version of the package lacks the function, or its arguments.
    return ConfigurationError(
        f"{where} cannot run this version of the package ({first_line(failure)}): {INSTALL}"
    )


def missing_module(where: str, module: str) -> str:
    """Return the message about a process that lacks a module."""
    return f"{where} lacks the module {module}: install the same there as here, with {INSTALL}"


def _check_report(where: str, report: WorkerReport, required: Requirements) -> None:
    source, folder = required.source, required.folder
    if report.versions != required.versions:
        raise ConfigurationError(_other_versions(where, report.versions, required.versions))
    of_store = "Install the extra 'stores' there, and configure the store in its environment"
    if source is not None and report.source_problem:
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
