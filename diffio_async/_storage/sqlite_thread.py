"""SQLite database in a dedicated thread; several processes may share the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import frozen

from diffio_async._storage.loops import running_loop
from diffio_async._storage.sqlite_open import (
    connect,
    database_error,
    sync_commits,
    translate_error,
)
from diffio_async._storage.system_errors import ThreadShortage, reason_of
from diffio_async._storage.threads import start_thread, wait_all_uncancelled
from diffio_async._validators import local_path

if TYPE_CHECKING:
    from diffio_async._storage.sqlite_open import Clock, Schema

T = TypeVar("T")

#: Seconds that a cancelled `open` waits for the file to be opened or closed.
GRACE_SECONDS = 0.5

#: Maximum number of jobs in one commit.
MAX_BATCH = 256

#: Returns the result of a job, or raises its exception.
_Outcome = Callable[[], Any]


@frozen(eq=False)
class _Job:
    """Work for the thread; `future`, which belongs to `loop`, receives its outcome."""

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    syncs: bool
    loop: asyncio.AbstractEventLoop
    # An exception is delivered as a result: asyncio would log it if the caller was cancelled.
    future: asyncio.Future[_Outcome]
    #: Whether this job closes the file.
    closes: bool = False


class SqliteThread:
    """Open database; create it with `SqliteThread.open`. Methods may be called on any event loop.

    Jobs that wait at the same time share one commit: a hundred transitions cost one fsync.
    A forked process has to open its own.
    """

    #: Seconds for which a job waits for others that share its commit, if many are expected. That
    #: saves most commits and thread switches.
    batch_window: float = 0.0

    def __init__(self, path: str, schema: Schema, clock: Clock | None = None) -> None:
        self._path, self._schema, self._clock = path, schema, clock
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        #: Whether the connection syncs its commits; `connect` does not.
        self._syncs = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        schema: Schema,
        *,
        create: bool = True,
        clock: Clock | None = None,
    ) -> Self:
        """Open the file, creating it if missing and `create` is true, readable by its owner only.

        `clock` replaces the shared clock, for tests.

        Raises:
            DatabaseError: The file or its folder is missing, it cannot be written, is damaged, is
                another type of file, or was written by a newer version.
        """
        running_loop()
        database = cls(local_path(path, "the database"), schema, clock)

        async def start() -> None:
            # The thread connects before it runs this job; an error of that is raised here.
            connected = database._submit(lambda _connection: None, writes=False)
            thread = threading.Thread(
                target=database._thread_main, args=(create,), name="diffio-database", daemon=True
            )
            try:
                start_thread(thread)
            except ThreadShortage as failure:
                database._closed = True
                raise database_error(database._path, schema, reason_of(failure)) from failure
            (await connected)()

        opening = asyncio.ensure_future(start())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Another process may keep the file busy for half a minute. The thread closes the file
            # once it is open, also after this method has returned.
            closing = database._request_close()
            await wait_all_uncancelled([opening, *closing], GRACE_SECONDS)
            raise
        return database

    async def run(self, work: Callable[[sqlite3.Connection], T], *, sync: bool = True) -> T:
        """Run `work` in a transaction; return its result once the commit is on the disk.

        `work` runs in the thread. An exception rolls its changes back and is raised here. If a job
        that shares the commit fails, `work` is rolled back and runs again. If the caller is
        cancelled, the work is done nevertheless. Without `sync`, the next commit with it
        brings this one to the disk too; only a power cut in between reverts it.

        Raises:
            DatabaseError: The disk is full or failed, or another process keeps the file busy.
        """
        return (await self._submit(work, writes=True, syncs=sync))()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one snapshot of the file and return its result; `work` must not write.

        Raises:
            DatabaseError: As in `run`.
        """
        return (await self._submit(work, writes=False))()

    async def close(self) -> None:
        """Finish the jobs that were submitted, then close the file. Idempotent."""
        await wait_all_uncancelled(self._request_close())

    def _request_close(self) -> list[asyncio.Future[Callable[[], None]]]:
        """Let the thread close the file after pending jobs; return the future to wait for."""
        if self._process != os.getpid():
            return []
        with self._lock:
            if self._closed:
                return []
            self._closed = True
            return [self._enqueue(lambda _connection: None, writes=False, closes=True)]

    def _submit(
        self, work: Callable[[sqlite3.Connection], T], *, writes: bool, syncs: bool = False
    ) -> asyncio.Future[Callable[[], T]]:
        if self._process == os.getpid():  # a lock held at a fork is never released in the child
            with self._lock:
                if not self._closed:
                    return self._enqueue(work, writes=writes, syncs=syncs)
        raise database_error(
            self._path, self._schema, "it is closed in this process: open it again"
        )

    def _enqueue(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        writes: bool,
        syncs: bool = False,
        closes: bool = False,
    ) -> asyncio.Future[Callable[[], T]]:
        loop = running_loop()
        future: asyncio.Future[Callable[[], T]] = loop.create_future()
        self._jobs.put(_Job(work, writes, syncs, loop, future, closes))
        return future

    def _thread_main(self, create: bool) -> None:
        """Connect, run jobs until the closing one, then close the connection."""
        try:
            connection = connect(self._path, self._schema, create=create, clock=self._clock)
        except Exception as failure:  # noqa: BLE001 - raised in `open`
            with self._lock:
                self._closed = True
            self._fail_pending(failure)
            return
        closing = False
        while not closing:
            jobs = self._next_jobs()
            closing = jobs[-1].closes
            self._run_jobs(connection, jobs[:-1] if closing else jobs)
            if closing:
                # Close before the caller of `close` resumes.
                connection.close()
                _deliver([(jobs[-1], lambda: None)])
            del jobs  # release what their closures reference

    def _fail_pending(self, failure: Exception) -> None:
        with contextlib.suppress(Empty):
            while True:
                _deliver([(self._jobs.get_nowait(), _raiser(failure))])

    def _next_jobs(self) -> list[_Job]:
        """Return the jobs of the next window, at least one; a closing job is the last."""
        jobs = [self._jobs.get()]
        if self.batch_window and not jobs[0].closes:
            time.sleep(self.batch_window)
        with contextlib.suppress(Empty):
            while len(jobs) < MAX_BATCH and not jobs[-1].closes:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _run_jobs(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run all jobs in one transaction; a failed job is rolled back alone."""
        if not jobs:
            return
        writes, syncs = any(job.writes for job in jobs), any(job.syncs for job in jobs)
        begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        try:
            if writes and syncs != self._syncs:
                sync_commits(connection, sync=syncs)
                self._syncs = syncs
            connection.execute(begin)
            try:
                outcomes = [_returner(job.work(connection)) for job in jobs]
            except Exception:
                if len(jobs) == 1 or not connection.in_transaction:
                    raise  # a full disk aborts the whole transaction
                # Savepoints cost as much as the jobs: they are used only where a job fails.
                connection.execute("ROLLBACK")
                connection.execute(begin)
                outcomes = [self._run_separately(connection, job) for job in jobs]
            connection.execute("COMMIT")
        except Exception as failure:  # noqa: BLE001 - raised to the callers
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            error = translate_error(self._path, self._schema, failure)
            outcomes = [_raiser(error) for _ in jobs]
        _deliver(list(zip(jobs, outcomes, strict=True)))

    def _run_separately(self, connection: sqlite3.Connection, job: _Job) -> _Outcome:
        connection.execute("SAVEPOINT job")
        try:
            result = job.work(connection)
        except Exception as failure:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return _raiser(translate_error(self._path, self._schema, failure))
        connection.execute("RELEASE job")
        return _returner(result)


def _deliver(outcomes: Sequence[tuple[_Job, _Outcome]]) -> None:
    """Deliver outcomes to the waiting callers, waking each loop once."""
    for loop in {job.loop for job, _ in outcomes}:
        of_loop = [(job.future, outcome) for job, outcome in outcomes if job.loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_deliver_all, of_loop)


def _deliver_all(outcomes: Sequence[tuple[asyncio.Future[_Outcome], _Outcome]]) -> None:
    for future, outcome in outcomes:
        if not future.done():
            future.set_result(outcome)


def _returner(result: Any) -> _Outcome:
    return lambda: result


def _raiser(failure: Exception) -> _Outcome:
    def fail() -> Any:
        raise failure

    return fail
