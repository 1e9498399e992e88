"""Processes that measure recordings, so that a crash of a decoder costs one row only."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

# The child imports the package from where the parent did, installed or not. Unlike
# multiprocessing, it does not run the main module of the parent.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from diffio_async.report.rows import main; main()"
)
#: A worker has one core: threads of BLAS would only take memory.
_ENVIRONMENT = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_POLL_SECONDS = 0.2


@frozen(kw_only=True)
class Task:
    """A recording to measure, and where the files of its row are put.

    Attributes:
        number: Its position in the listing, from 0.
        before, after, transcript: Paths, or URLs of objects; None if absent.
        folder: The folder for pictures and copies; None if only numbers are needed.
        href: URL of that folder, from the page; None if the page contains everything.
        page: The folder of the page.
        copies: The folder for temporary copies of objects.
    """

    number: int
    before: str | None
    after: str | None
    transcript: str | None
    folder: str | None = None
    href: str | None = None
    page: str = ""
    copies: str | None = None

    @property
    def id(self) -> str:
        """The id of the row."""
        return f"r{self.number + 1}"


#: A task and its result.
Outcome = tuple[Task, "dict[str, Any]"]


class _Worker:
    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            # Ctrl-C is for the parent, which kills the worker.
            start_new_session=True,
        )

    def run(self, task: Task) -> dict[str, Any] | None:
        """Return the result of a task, None if the process died."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def kill(self) -> None:
        """End the process. A pending `run` returns None."""
        self._process.kill()

    def close(self) -> str:
        """Wait for the end of the process; return how it ended."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"exit code {code}"


class _Pool:
    """Threads with a worker each, which take tasks until there are no more."""

    def __init__(self, tasks: Iterable[Task], jobs: int) -> None:
        self._tasks = iter(tasks)
        self._lock = threading.Lock()
        self._stopped = False
        self._workers: set[_Worker] = set()
        self.outcomes: queue.SimpleQueue[Outcome | OSError | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name="report", daemon=True) for _ in range(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def _next(self, worker: _Worker | None) -> tuple[Task, _Worker] | None:
        with self._lock:
            task = None if self._stopped else next(self._tasks, None)
            if task is None:
                return None
            if worker is None:
                worker = _Worker()
                self._workers.add(worker)
            return task, worker

    def _run(self) -> None:
        try:
            self._work()
        except OSError as failure:  # no process can be started
            self.outcomes.put(failure)
        finally:
            self.outcomes.put(None)

    def _work(self) -> None:
        worker = None
        while (taken := self._next(worker)) is not None:
            task, worker = taken
            result = worker.run(task)
            if result is None:
                self._workers.discard(worker)
                result = {"crashed": f"the measuring process died ({worker.close()})"}
                worker = None
            self.outcomes.put((task, result))
        if worker is not None:
            self._workers.discard(worker)
            worker.close()

    def close(self) -> None:
        """Stop all workers."""
        with self._lock:
            self._stopped = True
            for worker in list(self._workers):
                worker.kill()
        for thread in self._threads:
            thread.join()


def run_tasks(tasks: Iterable[Task], jobs: int) -> Generator[Outcome | None, None, None]:
    """Yield each task with its result, in the order in which they end; blocks.

    The result has the key `crashed` if the process died. Workers end with the iteration; so that
    the caller can end it, None is yielded several times a second.

    Raises:
        OSError: No process can be started.
    """
    pool = _Pool(tasks, jobs)
    ended = 0
    try:
        while ended < jobs:
            try:
                outcome = pool.outcomes.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if isinstance(outcome, OSError):
                raise outcome
            if outcome is None:
                ended += 1
            else:
                yield outcome
    finally:
        pool.close()
