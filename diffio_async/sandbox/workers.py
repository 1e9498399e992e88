"""Worker processes that restore recordings, so that a crash does not affect the server.

The server writes requests as JSON lines to the standard input of a worker, and reads messages as
JSON lines from its standard output.
"""

import asyncio
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.system import kill_group, lower_priority

# The child imports the package from where the parent did, installed or not. Unlike
# multiprocessing, it does not run the main module of the parent.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from diffio_async.sandbox.workers import main; main()"
)


class RestorationRefused(Exception):
    """The recording cannot be restored or transcribed; the message is for its owner."""


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
        request = {"source": str(source), "out": str(out), "limits": dict(limits)}

        def on_message(message: Mapping[str, Any]) -> None:
            if "stage" in message:
                on_progress(message["stage"], float(message["percent"]))
            else:
                on_probed(bool(message["hasVideo"]))

        return await self._run(request, on_message)

    async def transcribe(self, audio: Path, out: Path) -> dict[str, Any]:
        """Transcribe a restored sound into the folder `out`; raises like `restore`."""
        return await self._run({"transcribe": str(audio), "out": str(out)}, lambda _: None)

    async def _run(
        self, request: dict[str, Any], on_message: Callable[[Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        """Send a request, and return its result; `on_message` receives what precedes it."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkerFailed("the restoration process has no pipes")
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            await stdin.drain()
        except ConnectionError:
            pass  # the worker died; the empty read below detects it
        while line := await stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if "done" in message:
                result: dict[str, Any] = message["done"]
                return result
            if "refused" in message:
                raise RestorationRefused(message["refused"])
            if "crashed" in message:
                log.warning(
                    "restoring failed unexpectedly: %s", message.get("trace", message["crashed"])
                )
                raise WorkerFailed(message["crashed"])
            on_message(message)
        code = await self._process.wait()
        raise WorkerFailed(f"the restoration process died ({_describe_exit(code)})")

    async def close(self) -> None:
        """Kill the process group of the child, and wait until it has ended."""
        if self._process.returncode is None:
            kill_group(self._process)
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
        if reusable and worker.alive and not self._closed:
            self._idle.append(worker)
        else:
            # If this is cancelled, the worker is still busy, and `close` waits for its end.
            await worker.close()
        self._busy.discard(worker)

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


def main() -> None:
    """Process requests until standard input ends."""
    # Ctrl-C in a terminal reaches the process group; the parent stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    # Output of libraries must not be mixed with the messages.
    os.dup2(2, 1)
    lower_priority()
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(requests,), daemon=True).start()
    _warm_up()
    while True:
        _process(requests.get(), out)


def _serve(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    # The server has exited, so the result of a running restoration is useless.
    os._exit(0)


def _warm_up() -> None:
    with contextlib.suppress(ImportError):
        import av  # noqa: F401
        import numpy as np  # noqa: F401

        import diffio_async.sandbox.audio  # noqa: F401


def _process(request: dict[str, Any], out: TextIO) -> None:
    try:
        from diffio_async.sandbox.audio import CannotRestore
    except ImportError as error:
        reason = f"the worker cannot restore: {error}"
        _send(out, {"crashed": reason})
        return
    try:
        done = _transcribe(request) if "transcribe" in request else _restore(request, out)
    except CannotRestore as error:
        _send(out, {"refused": str(error)})
    except Exception as error:  # noqa: BLE001 - reported to the server
        trace = traceback.format_exc()
        _send(out, {"crashed": f"{type(error).__name__}: {error}", "trace": trace})
    else:
        _send(out, {"done": done})


def _restore(request: dict[str, Any], out: TextIO) -> dict[str, Any]:
    from diffio_async.sandbox.audio import Limits, probe, recogniser_installed, restore

    def report(stage: str, percent: float) -> None:
        _send(out, {"stage": stage, "percent": percent})

    source = Path(request["source"])
    _send(out, {"hasVideo": probe(source).has_video})
    limits = Limits(**request["limits"])
    result = restore(source, Path(request["out"]), report=report, limits=limits)
    return {
        "audio": result.audio.name,
        "video": result.video and result.video.name,
        "hasVideo": result.has_video,
        "canTranscribe": recogniser_installed(),
        "seconds": result.seconds,
        "engine": result.engine,
        "noiseFloorDb": list(result.noise_floor_db),
        "speechToNoiseDb": list(result.speech_to_noise_db),
        "warnings": result.warnings,
    }


def _transcribe(request: dict[str, Any]) -> dict[str, Any]:
    from diffio_async.sandbox.audio import transcribe
    from diffio_async.sandbox.audio.results import RECOGNISER

    transcript = transcribe(Path(request["transcribe"]), Path(request["out"]))
    return {"transcript": transcript.name, "engine": RECOGNISER}


def _send(out: TextIO, message: dict[str, Any]) -> None:
    try:
        out.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
