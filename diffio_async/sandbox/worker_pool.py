"""Pool of worker processes, as the server uses them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffio_async.sandbox.request_log import log

# The child imports the package from where the parent did, installed or not. Unlike
# multiprocessing, it does not run the main module of the parent.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from diffio_async.sandbox.worker import main; main()"
)


class RestorationRefused(Exception):
    """The recording cannot be restored; the message is for its owner."""


class WorkerFailed(Exception):
    """The worker died, or failed unexpectedly."""


class Worker:
    """A child process that restores one recording at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> "Worker":
        """Start a child process, without waiting for its imports."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _BOOT,
            json.dumps(sys.path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=2**20,
            start_new_session=True,
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        """Whether the process is running, as far as is known."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def restore(
        self,
        source: Path,
        out: Path,
        *,
        limits: Mapping[str, float],
        on_probed: Callable[[bool], None],
        on_progress: Callable[[str, float], None],
    ) -> dict[str, Any]:
        """Restore one file; report first whether it has video, then its progress.

        Raises:
            RestorationRefused: The recording cannot be restored.
            WorkerFailed: The worker crashed; check `alive` before it is used again.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkerFailed("the restoration process has no pipes")
        request = {"source": str(source), "out": str(out), "limits": dict(limits)}
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            await stdin.drain()
        except ConnectionError:
            pass  # the worker died; the empty read below detects it
        while line := await stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if "stage" in message:
                on_progress(message["stage"], float(message["percent"]))
            elif "hasVideo" in message:
                on_probed(bool(message["hasVideo"]))
            elif "done" in message:
                result: dict[str, Any] = message["done"]
                return result
            elif "refused" in message:
                raise RestorationRefused(message["refused"])
            else:
                log.warning(
                    "restoring failed unexpectedly: %s", message.get("trace", message["crashed"])
                )
                raise WorkerFailed(message["crashed"])
        code = await self._process.wait()
        raise WorkerFailed(f"the restoration process died ({_describe_exit(code)})")

    async def close(self) -> None:
        """Kill the process group of the child, and wait until it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        # Reading to the end closes the pipes.
        if self._process.stdout is not None:
            await self._process.stdout.read()
        await self._process.wait()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class WorkerPool:
    """Worker processes, started on demand."""

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._warm_up_task: asyncio.Task[None] | None = None
        self._closed = False

    def warm_up(self) -> None:
        """Start a first worker, so that its imports are done before the first restoration."""
        if not (self._idle or self._busy or self._warm_up_task or self._closed):
            self._warm_up_task = asyncio.create_task(self._start_idle())

    async def acquire(self) -> Worker:
        """Return an idle worker, or a new one; the caller enforces `max_workers`."""
        if self._warm_up_task is not None:
            await asyncio.wait([self._warm_up_task])
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                self._busy.add(worker)
                return worker
            await worker.close()
        worker = await Worker.start()
        self._busy.add(worker)
        return worker

    async def release(self, worker: Worker, *, reusable: bool) -> None:
        """Put a worker back, or kill it if it is not reusable."""
        self._busy.discard(worker)
        if reusable and worker.alive and not self._closed:
            self._idle.append(worker)
        else:
            await worker.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of the live workers."""
        return [worker.pid for worker in (*self._idle, *self._busy) if worker.alive]

    async def close(self) -> None:
        """Kill all workers."""
        self._closed = True
        if self._warm_up_task is not None:
            await asyncio.wait([self._warm_up_task])
        for worker in (*self._idle, *self._busy):
            await worker.close()
        self._idle.clear()
        self._busy.clear()

    async def _start_idle(self) -> None:
        try:
            self._idle.append(await Worker.start())
        except OSError as error:
            log.warning("no worker process could be started: %s", error)
        finally:
            self._warm_up_task = None
