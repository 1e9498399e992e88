"""Cluster of worker processes on this machine, for the command line."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
from typing import TYPE_CHECKING

from attrs import frozen
from distributed import LocalCluster

from diffio_async.dask.connection import check_address
from diffio_async.dask.executor import DaskExecutor
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from diffio_async.batch.executor import RunResources
    from diffio_async.dask.executor import RunningExecutor
    from diffio_async.types import BatchExecutor

#: Variables of this process that no worker gets.
_SECRET_VARIABLES = ("DIFFIO_API_KEY", "DIFFIO_WEBHOOK_SECRET")
#: Orders that a worker carries out concurrently.
_THREADS = 16


def executor_for(text: str) -> BatchExecutor:
    """Return the executor that an option names: `local`, `local:4`, or a scheduler's address.

    Raises:
        ConfigurationError: The number of workers is not a number from 1, or the address is invalid
            or not secure.
    """
    # What matters to the user is in the errors of the batch; distributed logs tracebacks.
    for logger in ("distributed", "distributed.client"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
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
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_hidden_secrets())
            cluster = LocalCluster(
                n_workers=self.workers,
                threads_per_worker=_THREADS,
                host="127.0.0.1",
                # Any free port: there is a warning if that of the default is in use.
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                asynchronous=True,
                silence_logs=logging.CRITICAL,
                preload=__name__,
            )
            await stack.enter_async_context(cluster)
            yield await stack.enter_async_context(DaskExecutor(cluster).start_run(run))


def dask_setup(_: object) -> None:
    """Ignore Ctrl-C in a worker, which Dask calls this in: the process that started it ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _hidden_secrets() -> Iterator[None]:
    """Remove the secrets from the environment, which workers inherit, also those started later."""
    hidden = {name: os.environ.pop(name) for name in _SECRET_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
