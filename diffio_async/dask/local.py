"""Cluster of worker processes on this machine, for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from attrs import frozen
from distributed import LocalCluster

from diffio_async._storage.system_errors import causes_of
from diffio_async.dask.connection import check_address, first_line
from diffio_async.dask.executor import DaskExecutor
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.batch.executor import RunResources
    from diffio_async.dask.executor import RunningExecutor
    from diffio_async.types import BatchExecutor

#: Variables of this process that no worker gets.
_SECRET_VARIABLES = ("DIFFIO_API_KEY", "DIFFIO_WEBHOOK_SECRET")
#: Program of the process that starts the scheduler and the workers.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from diffio_async.dask.local import main; main()"
)
#: How that process reports the address of its scheduler, in what it and the workers print.
_STARTED = re.compile(rb"\nscheduler of the command: (tcp://[\w.:]+)\s")
#: Line that ends the traceback of an exception.
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: .+", re.MULTILINE)
#: Bytes that are kept of what the processes have printed.
_KEPT_BYTES = 65_536
#: Orders that a worker carries out concurrently.
_THREADS = 16


def executor_for(text: str) -> BatchExecutor:
    """Return the executor that an option names: `local`, `local:4`, or a scheduler's address.

    Raises:
        ConfigurationError: The number of workers is not a number from 1, or the address is invalid
            or not secure.
    """
    _silence()
    name, colon, count = text.partition(":")
    if name != "local":
        check_address(text)
        return DaskExecutor(text)
    if colon and not re.fullmatch("[1-9][0-9]{0,3}", count):
        raise ConfigurationError(f"{text!r} must be local, or local:4 for four workers")
    return LocalExecutorProcesses(int(count) if colon else os.cpu_count() or 1)


@frozen
class LocalExecutorProcesses:
    """Executor whose workers are processes of this machine, which end with the run."""

    workers: int

    @contextlib.asynccontextmanager
    async def start_run(self, run: RunResources) -> AsyncIterator[RunningExecutor]:
        """See `DaskExecutor.start_run`."""
        async with (
            _local_cluster(self.workers) as address,
            DaskExecutor(address).start_run(run) as running,
        ):
            yield running


@contextlib.asynccontextmanager
async def _local_cluster(workers: int) -> AsyncIterator[str]:
    """Start a cluster, and yield the address of its scheduler. No process of it has the secrets.

    Raises:
        ConfigurationError: It cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        # No process imports modules from the current folder: workers inherit the option.
        *(sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(workers)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name not in _SECRET_VARIABLES},
        # Ctrl-C is for this process, also while the others import what they need.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
    )
    assert process.stdin is not None  # noqa: S101 - a pipe
    assert process.stdout is not None  # noqa: S101 - a pipe
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process.stdout, started))
    try:
        if not (address := await started):
            raise ConfigurationError(
                f"{workers} workers could not be started on this machine ({await reading}): "
                "remove the cause, try fewer workers, or run without --dask"
            )
        yield address
    finally:
        process.stdin.close()
        if started.cancelled():
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # the workers end as well, and have done nothing yet
        await reading
        await process.wait()


async def _read(output: asyncio.StreamReader, started: asyncio.Future[str]) -> str:
    """Read what the processes print until the last has ended: they wait while the pipe is full.

    `started` gets the address of the scheduler, or "" if they have ended without one. Returns the
    last exception that was printed.
    """
    printed = b""
    while block := await output.read(_KEPT_BYTES):
        printed = printed[-_KEPT_BYTES:] + block
        if not started.done() and (found := _STARTED.search(printed)):
            started.set_result(found[1].decode())
    if not started.done():
        started.set_result("")
    exceptions = _EXCEPTION.findall(printed.decode(errors="replace"))
    return exceptions[-1].strip() if exceptions else "their process ended"


def main() -> None:
    """Run a cluster until standard input ends: the command has finished, or was killed."""
    _silence()
    try:
        cluster = LocalCluster(
            n_workers=int(sys.argv[2]),
            threads_per_worker=_THREADS,
            host="127.0.0.1",
            # Any free port: there is a warning if that of the default is in use.
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    except Exception as failure:  # noqa: BLE001 - any, of Dask or of a module that it preloads
        *_, cause = causes_of(failure)
        sys.exit(f"{type(cause).__name__}: {first_line(cause)}")
    with cluster:
        # In one piece, also where Python has no buffer.
        sys.stdout.write(f"\nscheduler of the command: {cluster.scheduler_address}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


def _silence() -> None:
    """Hide what distributed logs: tracebacks. What matters is in the errors of the batch."""
    for logger in ("distributed", "distributed.client"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
