"""A SQLite file that several processes may share: a thread of its own, each commit durable."""

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

from diffio_async._storage.local_paths import local_path
from diffio_async._storage.loops import running_loop
from diffio_async._storage.sqlite_open import connect, database_error, translate_error
from diffio_async._storage.system_errors import ThreadShortage, reason_of
from diffio_async._storage.threads import begin_thread, wait_all_uncancelled

if TYPE_CHECKING:
    from diffio_async._storage.database_clock import Clock
    from diffio_async._storage.sqlite_open import Schema

T = TypeVar("T")

#: Seconds that whoever is interrupted while a file is opened waits for it.
GRACE_SECONDS = 0.5

#: Most pieces of work that share one commit.
MAX_BATCH = 256

#: What work came to: returns or raises it.
_Outcome = Callable[[], Any]


@frozen(eq=False)
class _Job:
    """Work for the thread; `answer`, a future of `loop`, is given its outcome."""

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop
    # What is raised travels as a result, so that nobody logs what a cancelled caller left.
    answer: asyncio.Future[_Outcome]
    #: Whether the file is closed with it.
    last: bool = False


class SqliteThread:
    """An open database; `Database.open` makes it. Its methods may be called on any event loop.

    What waits at the same time is committed together: a hundred transitions cost one fsync.
    A process that was forked opens its own.
    """

    def __init__(
        self, path: str, schema: Schema, gathered: float = 0.0, clock: Clock | None = None
    ) -> None:
        self._path, self._schema, self._batch_window = path, schema, gathered
        self._clock = clock
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._turn = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        schema: Schema,
        *,
        create: bool = True,
        gathered: float = 0.0,
        clock: Clock | None = None,
    ) -> Self:
        """Open the file; make it where it is missing and `create` says so, readable by its owner.

        For `gathered` seconds work gathers that is then done, and committed, together: where much
        comes, that saves most of the commits, and of the threads' meetings. `clock` replaces the
        one that the file's processes share, for tests.

        Raises:
            DatabaseError: Its folder is missing, it cannot be written, is damaged, is another
                kind of file, or was made by a newer version; or it is missing.
        """
        running_loop()
        database = cls(local_path(path, "the database"), schema, gathered, clock)

        async def begun() -> None:
            # Connecting comes first in the thread; what stands in the way is raised here.
            answer = database._put(lambda _connection: None, writes=False)
            thread = threading.Thread(
                target=database._thread_main, args=(create,), name="diffio-database", daemon=True
            )
            try:
                begin_thread(thread)
            except ThreadShortage as failure:
                database._closed = True
                raise database_error(database._path, schema, reason_of(failure)) from failure
            (await answer)()

        opening = asyncio.ensure_future(begun())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Another process may keep the file busy for half a minute. The thread closes it when
            # it has opened it, though nobody waits for that.
            ended = database._end()
            await wait_all_uncancelled([opening, *ended], GRACE_SECONDS)
            raise
        return database

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives in a transaction of its own, which is on the disk when this returns.

        `work` runs in the thread. What it raises undoes what it did, and is raised here. A
        caller that is cancelled leaves; the work is done all the same.

        Raises:
            DatabaseError: The disk is full or broken, or another process keeps the file busy.
        """
        return (await self._put(work, writes=True))()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives of one state of the file; it must not write.

        Raises:
            DatabaseError: As for `run`.
        """
        return (await self._put(work, writes=False))()

    async def close(self) -> None:
        """Do what was begun, then close the file; closing twice is closing once."""
        await wait_all_uncancelled(self._end())

    def _end(self) -> list[asyncio.Future[Callable[[], None]]]:
        """Have the thread close the file after what was begun; what it answers then."""
        if self._process != os.getpid():
            return []
        with self._turn:
            if self._closed:
                return []
            self._closed = True
            return [self._queued(lambda _connection: None, writes=False, last=True)]

    def _put(
        self, work: Callable[[sqlite3.Connection], T], *, writes: bool
    ) -> asyncio.Future[Callable[[], T]]:
        if self._process == os.getpid():  # a lock that was held at a fork is held for ever
            with self._turn:
                if not self._closed:
                    return self._queued(work, writes=writes)
        raise database_error(
            self._path, self._schema, "it is closed in this process: open it again"
        )

    def _queued(
        self, work: Callable[[sqlite3.Connection], T], *, writes: bool, last: bool = False
    ) -> asyncio.Future[Callable[[], T]]:
        loop = running_loop()
        answer: asyncio.Future[Callable[[], T]] = loop.create_future()
        self._jobs.put(_Job(work, writes, loop, answer, last))
        return answer

    def _thread_main(self, create: bool) -> None:
        """The thread: connect, do what comes, close."""
        try:
            connection = connect(self._path, self._schema, create=create, clock=self._clock)
        except Exception as failure:  # noqa: BLE001 - raised where `open` waits
            with self._turn:
                self._closed = True
            self._refuse(failure)
            return
        ending = False
        while not ending:
            jobs = self._waiting()
            ending = jobs[-1].last
            self._run_jobs(connection, jobs[:-1] if ending else jobs)
            if ending:
                # The caller of `close` finds the file closed.
                connection.close()
                _deliver([(jobs[-1], lambda: None)])
            del jobs  # and with them what their callers hold

    def _refuse(self, failure: Exception) -> None:
        with contextlib.suppress(Empty):
            while True:
                _deliver([(self._jobs.get_nowait(), _raiser(failure))])

    def _waiting(self) -> list[_Job]:
        """What waits, at least one; nothing comes after the last."""
        jobs = [self._jobs.get()]
        if self._batch_window and not jobs[0].last:
            time.sleep(self._batch_window)
        with contextlib.suppress(Empty):
            while len(jobs) < MAX_BATCH and not jobs[-1].last:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _run_jobs(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """One transaction for all, in which each job that fails is undone alone."""
        if not jobs:
            return
        outcomes: list[_Outcome] = []
        try:
            connection.execute("BEGIN IMMEDIATE" if any(job.writes for job in jobs) else "BEGIN")
            outcomes += [self._run_job(connection, job) for job in jobs]
            connection.execute("COMMIT")
        except Exception as failure:  # noqa: BLE001 - raised where each is waited for
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            said = translate_error(self._path, self._schema, failure)
            outcomes = [_raiser(said) for _ in jobs]
        _deliver(list(zip(jobs, outcomes, strict=True)))

    def _run_job(self, connection: sqlite3.Connection, job: _Job) -> _Outcome:
        connection.execute("SAVEPOINT job")
        try:
            result = job.work(connection)
        except Exception as failure:
            if not connection.in_transaction:
                raise  # a full disk ends the transaction, for all
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return _raiser(translate_error(self._path, self._schema, failure))
        connection.execute("RELEASE job")
        return lambda: result


def _deliver(outcomes: Sequence[tuple[_Job, _Outcome]]) -> None:
    """Give outcomes to those who wait, waking each loop once."""
    for loop in {job.loop for job, _ in outcomes}:
        theirs = [(job.answer, outcome) for job, outcome in outcomes if job.loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(_deliver_all, theirs)


def _deliver_all(outcomes: Sequence[tuple[asyncio.Future[_Outcome], _Outcome]]) -> None:
    for answer, outcome in outcomes:
        if not answer.done():
            answer.set_result(outcome)


def _raiser(failure: Exception) -> _Outcome:
    def fail() -> Any:
        raise failure

    return fail
