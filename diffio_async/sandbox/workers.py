"""Worker processes seen from the server: started when needed, killed when done with."""

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

# The child finds the package wherever the parent found it, installed or not, and never runs
# the parent's main module again, as multiprocessing would.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from diffio_async.sandbox.worker import main; main()"
)


class RestorationRefused(Exception):
    """The recording is at fault; the message is for its owner."""


class WorkerFailed(Exception):
    """The worker is at fault: it died, or restoring broke down."""


class Worker:
    """One child process; one order at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> "Worker":
        """Start a child; its imports go on while the caller does."""
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
        """The process has not ended as far as we know."""
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
        probed: Callable[[bool], None],
        report: Callable[[str, float], None],
    ) -> dict[str, Any]:
        """Restore one file; tells whether there is video, then how far it is on the way.

        Raises:
            RestorationRefused: The recording has nothing to restore.
            WorkerFailed: The child crashed; `alive` tells whether it can go on.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkerFailed("the restoration process has no pipes")
        order = {"source": str(source), "out": str(out), "limits": dict(limits)}
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            await stdin.drain()
        except ConnectionError:
            pass  # it died before the order; the empty read below says so
        while line := await stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if "stage" in message:
                report(message["stage"], float(message["percent"]))
            elif "hasVideo" in message:
                probed(bool(message["hasVideo"]))
            elif "done" in message:
                done: dict[str, Any] = message["done"]
                return done
            elif "refused" in message:
                raise RestorationRefused(message["refused"])
            else:
                log.warning("restoring broke down: %s", message.get("trace", message["crashed"]))
                raise WorkerFailed(message["crashed"])
        code = await self._process.wait()
        raise WorkerFailed(f"the restoration process died ({_describe_exit(code)})")

    async def close(self) -> None:
        """Kill the child and whatever it started, and wait until it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        # At the end of the output the pipes are closed too, and nothing is left to collect.
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


class Workers:
    """As many workers as are needed at once, up to a limit."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._warming: asyncio.Task[None] | None = None
        self._closed = False

    def warm_up(self) -> None:
        """Have a first worker started, so that its imports are over when work comes."""
        if not (self._idle or self._busy or self._warming or self._closed):
            self._warming = asyncio.create_task(self._start_idle())

    async def acquire(self) -> Worker:
        """Take an idle worker, or a new one; the caller sees to the limit."""
        if self._warming is not None:
            await asyncio.wait([self._warming])
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                self._busy.add(worker)
                return worker
            await worker.close()
        worker = await Worker.start()
        self._busy.add(worker)
        return worker

    async def release(self, worker: Worker, *, fit: bool) -> None:
        """Return a worker; one that is not fit is killed."""
        self._busy.discard(worker)
        if fit and worker.alive and not self._closed:
            self._idle.append(worker)
        else:
            await worker.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of all workers."""
        return [worker.pid for worker in (*self._idle, *self._busy) if worker.alive]

    async def close(self) -> None:
        """Kill them all."""
        self._closed = True
        if self._warming is not None:
            await asyncio.wait([self._warming])
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
            self._warming = None
