"""One run over a journal: takes what can be done, a bounded number at a time, until nothing is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from diffio_async._engine.system_errors import shortage_of
from diffio_async.batch import claims
from diffio_async.batch.carrying import Carrying
from diffio_async.batch.fetches import taken_fetches
from diffio_async.batch.fetching import Fetching
from diffio_async.batch.intake import Intake
from diffio_async.batch.joining import taken_files
from diffio_async.batch.plan import MOST_FETCHES
from diffio_async.batch.reading import unfinished
from diffio_async.batch.rows import Fetch, File, Lost, Work
from diffio_async.batch.troubles import broken
from diffio_async.batch.works import taken_works
from diffio_async.errors import DiffioError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from diffio_async.batch.plan import Desk

#: Seconds between two looks at what other runs left.
_LOOK = 1.0


class Run:
    """Three stages over one journal, which is the queue between them.

    Each holds a bounded number of rows; the rest waits on the disk, however many files there are.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._journal = desk.journal
        desk.begin_fetch = self._begin_fetch
        self._over = False
        self._more_files = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Work until nothing is left, or what stopped the batch has let the rest end.

        Raises:
            DiffioError: The journal cannot be written, or the client was closed.
        """
        loops = [
            asyncio.create_task(self._guarded(work))
            for work in (self._beat(), self._fetch(), self._take_in())
        ]
        try:
            await asyncio.gather(*loops[1:])
        finally:
            tasks = [*loops, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """Whatever ends a part that nothing should end, ends the run."""
        try:
            await work
        except Lost:
            pass
        except Exception as failure:  # noqa: BLE001 - raised by `run`
            if self._failure is None:
                self._failure = failure
            self._desk.tell_all()

    async def _begun(self, work: Coroutine[None, None, None]) -> None:
        """One step: where the process is short of something, what runs goes on to its end."""
        try:
            await work
        except Exception as failure:
            if isinstance(failure, DiffioError) or shortage_of(failure) is None:
                raise
            self._desk.stop(failure)
            # Its result is the next run's.
            self._desk.unfetched = self._desk.unfetched or failure

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._guarded(self._begun(work)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(claims.BEAT)
            if await self._journal.beat():
                self._desk.look_now()

    async def _take_in(self) -> None:
        """Begin works and files as long as there is room for them."""
        desk = self._desk
        while self._failure is None and desk.stopped is None:
            told = desk.room.told
            if not await self._taken():
                if not desk.in_flight and await self._nothing_left():
                    break
                await desk.room.wait(told, self._pause())
        while desk.in_flight and self._failure is None:
            await desk.room.wait(desk.room.told, _LOOK)
        self._over = True
        desk.ready.tell()

    def _pause(self) -> float:
        """Seconds until there may be something to do, though nobody tells."""
        return min(_LOOK, self._desk.weather.pause or _LOOK)

    async def _nothing_left(self) -> bool:
        fetching = self._desk.unfetched is None
        return not await self._journal.see(unfinished, fetching=fetching)

    async def _taken(self) -> bool:
        """Begin what there is room for; whether there was anything."""
        desk = self._desk
        room = desk.plan.max_in_flight - desk.in_flight
        if room <= 0 or desk.weather.pause:
            return False
        works, files = list[Work](), list[File]()
        now = time.monotonic()
        if now >= desk.look_at:
            # Works without a run are few: those of dead ones, and those put back.
            works = await self._journal.do(taken_works, self._journal.runner, room)
            for work in works:
                desk.in_flight += 1
                self._begin(self._carry(work))
        uploads = min(room - len(works), int(desk.weather.limit) - desk.uploading)
        if uploads > 0 and (self._more_files or now >= desk.look_at):
            files = await self._journal.do(taken_files, self._journal.runner, uploads)
            self._more_files = len(files) == uploads
            for file in files:
                desk.in_flight += 1
                desk.uploading += 1
                self._begin(self._file(file))
        if now >= desk.look_at and len(works) < room:
            desk.look_at = now + _LOOK
        return bool(works or files)

    async def _file(self, file: File) -> None:
        desk, intake = self._desk, Intake(self._desk, file)
        try:
            try:
                work = await intake.run()
            finally:
                desk.uploading -= 1
                desk.room.tell()
            if work is not None:
                await Carrying(desk, work).run()
        except Exception as failure:  # noqa: BLE001 - this file's, whatever it is
            await broken(desk, intake.held, failure)
        finally:
            desk.in_flight -= 1
            desk.room.tell()

    async def _carry(self, work: Work) -> None:
        try:
            await Carrying(self._desk, work).run()
        except Exception as failure:  # noqa: BLE001 - this work's, whatever it is
            await broken(self._desk, work, failure)
        finally:
            self._desk.in_flight -= 1
            self._desk.room.tell()

    async def _fetch(self) -> None:
        """Begin downloads as long as there is room for them and the disk takes them."""
        desk = self._desk
        while self._failure is None and desk.unfetched is None:
            told, over = desk.ready.told, self._over
            room = MOST_FETCHES - desk.fetching
            found = list[Fetch]()
            if room > 0 and not desk.weather.pause:
                found = await self._journal.do(taken_fetches, self._journal.runner, room)
                desk.more_ready = len(found) == room
            for fetch in found:
                self._begin_fetch(fetch)
            if len(found) == room > 0:
                continue
            if over and not desk.fetching and (not desk.weather.pause or desk.weather.hopeless):
                break
            await desk.ready.wait(told, self._pause())
        while desk.fetching and self._failure is None:
            await desk.ready.wait(desk.ready.told, _LOOK)

    def _begin_fetch(self, fetch: Fetch) -> None:
        self._desk.fetching += 1
        self._begin(self._fetched(fetch))

    async def _fetched(self, fetch: Fetch) -> None:
        desk = self._desk
        try:
            await Fetching(desk, fetch).run()
        except Exception as failure:  # noqa: BLE001 - this result's, whatever it is
            await broken(desk, fetch, failure)
        finally:
            desk.fetching -= 1
            if desk.more_ready or self._over:
                desk.ready.tell()
            if not desk.in_flight:
                desk.room.tell()
