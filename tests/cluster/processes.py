"""A Dask cluster of processes on loopback, whose members can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

from tests.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds until a member of the cluster has started on a busy machine.
_START_SECONDS = 120.0
#: Variables that a worker does not get, and settings that slow down its imports.
_REMOVED = ("DIFFIO_API_KEY", "PYTHONDONTWRITEBYTECODE", "PYTEST_CURRENT_TEST")


@define(eq=False)
class ClusterProcesses:
    """A scheduler and its workers. `folder` contains their log."""

    folder: Path
    workers: int = 3
    threads: int = 8
    #: A module that each worker loads when it starts.
    preload: str | None = None
    #: Further options of all members.
    options: tuple[str, ...] = ()
    address: str = ""
    scheduler: asyncio.subprocess.Process | None = None
    members: list[asyncio.subprocess.Process] = field(factory=list)
    _readers: list[asyncio.Task[None]] = field(factory=list)

    async def __aenter__(self) -> Self:
        await self.start_scheduler()
        await asyncio.gather(*(self.start_worker() for _ in range(self.workers)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in [*self.members, *([self.scheduler] if self.scheduler else [])]:
            await kill(process)
        await asyncio.gather(*self._readers)

    @property
    def log(self) -> str:
        """What all members have logged."""
        return (self.folder / "cluster.log").read_text()

    async def start_scheduler(self) -> None:
        """Start a scheduler, at the address of the one before it."""
        port = self.address.rpartition(":")[2] or str(free_port())
        self.scheduler, self.address = await self._start(
            "Scheduler at: ", "scheduler", "--port", port, "--no-show"
        )

    async def start_worker(self) -> None:
        """Start one more worker."""
        preload = ("--preload", self.preload) if self.preload else ()
        process, _ = await self._start(
            "Registered to: ",
            *("worker", self.address, "--nthreads", str(self.threads), "--no-nanny"),
            *("--local-directory", str(self.folder), "--memory-limit", "0", *preload),
        )
        self.members.append(process)

    async def kill_worker(self, number: int) -> None:
        """Kill a worker, and start another one in its place."""
        await kill(self.members.pop(number))
        await self.start_worker()

    async def _start(self, started: str, *command: str) -> tuple[asyncio.subprocess.Process, str]:
        """Start a member; return it with the address that follows the text `started`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dask", *command, "--host", "127.0.0.1", "--no-dashboard"),
            *self.options,
            env={name: value for name, value in os.environ.items() if name not in _REMOVED},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reader = asyncio.create_task(self._copy_log(process, started, found))
        self._readers.append(reader)
        try:
            return process, await asyncio.wait_for(found, _START_SECONDS)
        except TimeoutError:
            await kill(process)
            raise RuntimeError(f"{command} did not start:\n{self.log}") from None

    async def _copy_log(
        self, process: asyncio.subprocess.Process, started: str, found: asyncio.Future[str]
    ) -> None:
        if process.stderr is None:
            raise RuntimeError("the process has no output")
        with (self.folder / "cluster.log").open("a") as log:
            async for line in process.stderr:
                text = line.decode()
                log.write(text)
                log.flush()
                if started in text and not found.done():
                    found.set_result(text.partition(started)[2].strip())


async def kill(process: asyncio.subprocess.Process) -> None:
    """Kill a process as the system does when memory is short."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


async def remove_worker(address: str, dask_scheduler: Any) -> None:
    """Give the orders of a worker to others; runs in the scheduler."""
    await dask_scheduler.remove_worker(address, stimulus_id="test")
