"""One delivery in the hands of a consumer: its lease, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import uuid
from datetime import UTC, datetime
from types import TracebackType

from attrs import frozen

from diffio_async._engine.database_clock import now
from diffio_async._logging import log
from diffio_async._wire.contents import encodable
from diffio_async._wire.redaction import scrubbed
from diffio_async.errors import DatabaseUnusable
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks import inbox_claims, inbox_table
from diffio_async.webhooks.inbox_file import InboxFile, readable

#: The share of a lease after which it is renewed, so that two failures to do so are survived.
_RENEWED_AT = 0.3
#: Letters of a failure that are kept.
_MOST_SAID = 500


@frozen(kw_only=True)
class Terms:
    """How consumers take deliveries.

    Attributes:
        lease: Seconds a consumer that says nothing keeps one.
        attempts: How often one is tried before it is dead.
        retry_after: Seconds before the second attempt, doubled for each after that.
    """

    lease: float
    attempts: int
    retry_after: float

    def pause(self, attempt: int, jitter: float) -> float | None:
        """Seconds until the attempt after this one; None where there is none."""
        if attempt >= self.attempts:
            return None
        longest = min(inbox_claims.FARTHEST, self.retry_after * 2.0 ** min(attempt - 1, 64))
        return longest * (0.8 + 0.2 * jitter)


class Delivery:
    """An event that this consumer has taken: handle it inside `async with delivery as event:`.

    The end of the block acknowledges it, on the disk when the block is left. An exception gives it
    back, to be tried again later, and is raised; a cancellation gives it back as if it had not been
    taken. Within the block the lease is renewed for as long as it takes.

    Attributes:
        event: What was delivered.
        body: The raw body.
        attempt: Which try this is, from 1.
        received_at: When it was first received.
    """

    def __init__(
        self, file: InboxFile, terms: Terms, taken: inbox_claims.Claimed, event: WebhookEvent
    ) -> None:
        self._file, self._terms, self._taken = file, terms, taken
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self.event: WebhookEvent = event
        self.body: bytes = taken.body
        self.attempt: int = taken.attempt
        self.received_at: datetime = datetime.fromtimestamp(taken.received_at, UTC)

    def __repr__(self) -> str:
        return f"Delivery({self.event.message_id!r}, {self.event.event_type!r}, {self.attempt})"

    async def __aenter__(self) -> WebhookEvent:
        self._wind()
        return self.event

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.acknowledge()
            elif isinstance(error, GeneratorExit):
                await self.fail("the loop was left before the next event was asked for")
            elif isinstance(error, Exception):
                await self.fail(_text_of(error))
            else:
                await self.release()
        except DatabaseUnusable:
            if error is None:
                raise
            # The lease gives it back as well; what is raised already says more.
            log.exception("%r could not be given back before its lease ends", self)

    async def acknowledge(self) -> None:
        """It was handled: it is not given to anybody again.

        Raises:
            DatabaseUnusable: That could not be written; it will be handled again.
        """
        self._stop()
        taken = self._taken
        await self._file.run(lambda db: inbox_claims.handled(db, taken, now(db)))

    async def fail(self, reason: str) -> None:
        """It was not handled: it is tried again after a pause, or is dead after the last attempt.

        Raises:
            DatabaseUnusable: That could not be written; it is tried again when the lease ends.
        """
        self._stop()
        taken, said = self._taken, encodable(scrubbed(reason, limit=_MOST_SAID))
        pause = self._terms.pause(self.attempt, random.random())  # noqa: S311 - jitter needs no secrecy
        if pause is None:
            log.error("%r is dead after %d attempts: %s", self, self.attempt, said)
        else:
            log.info("%r was not handled; again in %.0f s: %s", self, pause, said)

        def failed(db: sqlite3.Connection) -> None:
            due = None if pause is None else now(db) + pause
            inbox_claims.failed(db, taken, said, due)

        await self._file.run(failed, ring=True)

    async def release(self) -> None:
        """It was not tried: it may be taken again at once, and no attempt is counted.

        Raises:
            DatabaseUnusable: That could not be written; it is tried again when the lease ends.
        """
        self._stop()
        claim, number = self._taken.claim, self._taken.number
        await self._file.run(
            lambda db: inbox_claims.released(db, claim, now(db), number), ring=True
        )

    def _wind(self) -> None:
        """Have the lease renewed later; most are handled before, and cost a timer."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._terms.lease * _RENEWED_AT, self._renew)

    def _renew(self) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renewed())

    async def _renewed(self) -> None:
        taken, lease = self._taken, self._terms.lease
        try:
            ours = await self._file.run(lambda db: inbox_claims.renew(db, taken, now(db) + lease))
        except DatabaseUnusable as failure:
            log.warning("the lease of %r could not be renewed: %s", self, failure)
            ours = True
        if ours:
            self._wind()
        else:
            log.warning("the lease of %r had ended: another consumer may have taken it", self)

    def _stop(self) -> None:
        for each in (self._timer, self._renewing):
            if each is not None:
                each.cancel()


def _text_of(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - it is a handler's, and may be of any class
        return f"{type(error).__name__} (its text cannot be read)"


async def taken(file: InboxFile, terms: Terms, most: int) -> list[Delivery]:
    """Take up to `most` deliveries; wait until there is one. None at all: the inbox was closed.

    Raises:
        DatabaseUnusable: The inbox's file cannot be used.
    """
    await file.opened()
    closings = file.closings
    while file.closings == closings:
        try:
            rung, foreign = file.bell.rung, await file.read(inbox_table.foreign_changes)
            rows, seconds = await _taken(file, terms, most)
            if rows:
                found = [await _delivery(file, terms, row) for row in rows]
                if readables := [each for each in found if each is not None]:
                    return readables
                continue
            await file.stirred(rung, foreign, seconds)
        except DatabaseUnusable:
            if file.closings == closings:
                raise
    return []


async def _delivery(file: InboxFile, terms: Terms, row: inbox_claims.Claimed) -> Delivery | None:
    """The row as a delivery; one that cannot be read is put to the dead."""
    event = readable(row.message_id, row.body)
    if event is None:
        await file.run(lambda db: inbox_claims.failed(db, row, "its body is no event", None))
        return None
    return Delivery(file, terms, row, event)


async def _taken(
    file: InboxFile, terms: Terms, most: int
) -> tuple[list[inbox_claims.Claimed], float | None]:
    """What can be taken now, and in how many seconds the next may be."""
    claim = uuid.uuid4().hex

    def work(db: sqlite3.Connection) -> tuple[list[inbox_claims.Claimed], float | None]:
        at = now(db)
        rows = inbox_claims.take(db, claim, at, terms.lease, most, terms.attempts)
        due = inbox_claims.next_due(db)
        return rows, None if due is None else max(0.0, due - at)

    try:
        return await file.run(work)
    except asyncio.CancelledError:
        # The thread takes them all the same, for nobody: this comes after it in the thread, whether
        # or not there is time to wait for it.
        with contextlib.suppress(asyncio.CancelledError, DatabaseUnusable):
            await file.run(lambda db: inbox_claims.released(db, claim, now(db)))
        raise
