"""Rows of the inbox's table in the hands of consumers, as plain functions of a connection.

A row is open until it is handled or dead. An open row may be taken when it is due; taking it puts
its due time to the end of the lease, so a consumer that dies gives it back by doing nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async._protocol.api_errors import encodable
from diffio_async._storage.sqlite_open import Schema
from diffio_async.models.webhooks import InboxEntry
from diffio_async.webhooks.events import event_rank

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.models.webhooks import WebhookEvent

OPEN, HANDLED, DEAD = 0, 1, 2

SCHEMA = Schema(
    what="webhook inbox",
    application_id=0x44_49_49_42,
    migrations=(
        (
            # Numbers of pruned rows are not given again: whoever follows the news counts on them.
            """CREATE TABLE deliveries (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                message_id TEXT NOT NULL UNIQUE,
                event_type TEXT NOT NULL,
                generation_id TEXT,
                rank INTEGER NOT NULL,
                created_at REAL,
                body BLOB NOT NULL,
                received_at REAL NOT NULL,
                state INTEGER NOT NULL DEFAULT 0,
                due_at REAL NOT NULL,
                claim TEXT,
                attempts INTEGER NOT NULL DEFAULT 0,
                error TEXT
            )""",
            "CREATE INDEX deliveries_due ON deliveries (state, due_at)",
            "CREATE INDEX deliveries_of ON deliveries (generation_id, rank, created_at)",
        ),
    ),
    after_restart=(
        # Whoever had taken a row is dead, and retries need not wait for longer.
        "UPDATE deliveries SET due_at = min(due_at, steady_now()) WHERE state = 0",
        # The clock may have been set forward. An id that is forgotten before the sender gives up
        # would be handled twice, so a gap of more than a day counts as none.
        """UPDATE deliveries SET due_at = due_at + steady_now() - (
            SELECT max(due_at) FROM deliveries WHERE state = 1
        ) WHERE state = 1 AND steady_now() - (
            SELECT max(due_at) FROM deliveries WHERE state = 1
        ) > 100800""",
    ),
)

#: Rows that one insertion prunes at most: more than it adds, and next to nothing.
_PRUNE_LIMIT = 2


@frozen(kw_only=True)
class NewEvent:
    """What is kept of a delivery."""

    message_id: str
    event_type: str
    generation_id: str | None
    rank: int
    created_at: float | None
    body: bytes


@frozen(kw_only=True)
class Retention:
    """How long rows are kept, in seconds; None keeps what nobody handled."""

    handled: float
    unhandled: float | None


def new_event(event: WebhookEvent, message_id: str, body: bytes) -> NewEvent:
    """What is kept of an event."""
    return NewEvent(
        message_id=message_id,
        event_type=encodable(event.event_type),
        generation_id=None if event.generation_id is None else encodable(event.generation_id),
        rank=event_rank(event),
        created_at=None if event.created_at is None else event.created_at.timestamp(),
        body=body,
    )


def insert(db: sqlite3.Connection, arrival: NewEvent, now: float, keeping: Retention) -> bool:
    """Keep a delivery; False where its id was known."""
    new = db.execute(
        "INSERT INTO deliveries (message_id, event_type, generation_id, rank, created_at, body,"
        " received_at, due_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING",
        (
            arrival.message_id,
            arrival.event_type,
            arrival.generation_id,
            arrival.rank,
            arrival.created_at,
            arrival.body,
            now,
            now,
        ),
    ).rowcount
    if new:
        _prune(db, HANDLED, now - keeping.handled)
        if keeping.unhandled is not None:
            _prune(db, OPEN, now - keeping.unhandled)
            _prune(db, DEAD, now - keeping.unhandled)
    return bool(new)


def _prune(db: sqlite3.Connection, state: int, before: float) -> None:
    db.execute(
        "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries"
        " WHERE state = ? AND due_at < ? ORDER BY due_at LIMIT ?)",
        (state, before, _PRUNE_LIMIT),
    )


def most_advanced(db: sqlite3.Connection, generation_id: str) -> tuple[str, bytes] | None:
    """Id and body of the delivery that says the most of a generation, however they came."""
    row: tuple[str, bytes] | None = db.execute(
        "SELECT message_id, body FROM deliveries WHERE generation_id = ?"
        " ORDER BY rank DESC, created_at DESC, number DESC LIMIT 1",
        (encodable(generation_id),),
    ).fetchone()
    return row


def changes(db: sqlite3.Connection, after: int, most: int) -> list[tuple[int, str, bytes]]:
    """Number, id and body of what came after a number, in the order it came."""
    return db.execute(
        "SELECT number, message_id, body FROM deliveries WHERE number > ? ORDER BY number LIMIT ?",
        (after, most),
    ).fetchall()


def newest(db: sqlite3.Connection) -> tuple[int, float | None]:
    """The number of the newest row ever, and when it was received if it is there yet."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'").fetchone()
    number = row[0] if row else 0
    kept = db.execute("SELECT received_at FROM deliveries WHERE number = ?", (number,)).fetchone()
    return number, kept[0] if kept else None


def entries(db: sqlite3.Connection, state: str | None, most: int | None) -> list[tuple[Any, ...]]:
    """Rows in a state (None: in any), the newest first, without their bodies."""
    return db.execute(
        "SELECT * FROM (SELECT message_id, event_type, generation_id, CASE state WHEN ? THEN"
        " 'handled' WHEN ? THEN 'dead' ELSE iif(claim IS NULL, 'waiting', 'taken') END AS name,"
        " attempts, received_at + clock_drift(), due_at + clock_drift(), error FROM deliveries"
        " ORDER BY number DESC)"
        " WHERE name = coalesce(?, name) LIMIT ?",
        (HANDLED, DEAD, state, -1 if most is None else most),
    ).fetchall()


def entry(row: tuple[Any, ...]) -> InboxEntry:
    """A row as `entries` gives it, for who asks."""
    message_id, event_type, generation_id, state, attempts, received_at, due_at, error = row
    return InboxEntry(
        message_id=message_id,
        event_type=event_type,
        generation_id=generation_id,
        state=state,
        attempts=attempts,
        received_at=datetime.fromtimestamp(received_at, UTC),
        due_at=datetime.fromtimestamp(due_at, UTC),
        error=error,
    )


def data_version(db: sqlite3.Connection) -> int:
    """A number that changes when another connection, of any process, has committed."""
    number: int = db.execute("PRAGMA data_version").fetchone()[0]
    return number


#: Seconds; no lease and no pause before a retry is longer. What is due later than that was written
#: before the clock was set back, and is due now.
MAX_DELAY = 3600.0
#: Why a row is dead that nobody gave back.
CRASH_REASON = "whoever took it ended before it was handled, each time"


@frozen(kw_only=True)
class LeasedEvent:
    """A row that was taken; `attempt` counts from 1."""

    number: int
    message_id: str
    body: bytes
    received_at: float
    attempt: int
    lease_id: str


def acquire(
    db: sqlite3.Connection, claim: str, now: float, lease: float, most: int, attempts: int
) -> list[LeasedEvent]:
    """Take up to `most` due rows for `lease` seconds, the longest due first.

    A row that was taken `attempts` times and never given back is dead: it ends whoever takes it.
    """
    rows = db.execute(
        "SELECT number, message_id, body, received_at + clock_drift(), attempts + 1 FROM deliveries"
        " WHERE state = ? AND (due_at <= ? OR due_at > ?) ORDER BY due_at, number LIMIT ?",
        (OPEN, now, now + MAX_DELAY, most),
    ).fetchall()
    taken = [
        LeasedEvent(
            number=number,
            message_id=message_id,
            body=body,
            received_at=received_at,
            attempt=attempt,
            lease_id=claim,
        )
        for number, message_id, body, received_at, attempt in rows
    ]
    db.executemany(
        "UPDATE deliveries SET due_at = ?, claim = ?, attempts = ? WHERE number = ?",
        [(now + lease, claim, each.attempt, each.number) for each in taken],
    )
    for each in taken:
        if each.attempt > attempts:
            failed(db, each, CRASH_REASON, None)
    return [each for each in taken if each.attempt <= attempts]


def next_due(db: sqlite3.Connection) -> float | None:
    """When the next open row may be taken, by the file's clock."""
    row = db.execute("SELECT min(due_at) FROM deliveries WHERE state = ?", (OPEN,)).fetchone()
    due: float | None = row[0]
    return due


def renew(db: sqlite3.Connection, taken: LeasedEvent, until: float) -> bool:
    """Keep a row until then; False where it is no longer this claim's."""
    return bool(
        db.execute(
            "UPDATE deliveries SET due_at = ? WHERE number = ? AND claim = ? AND state = ?",
            (until, taken.number, taken.lease_id, OPEN),
        ).rowcount
    )


def ack(db: sqlite3.Connection, taken: LeasedEvent, now: float) -> bool:
    """Settle a row for good, whoever has it by now; False where it was handled before."""
    return bool(
        db.execute(
            "UPDATE deliveries SET state = ?, due_at = ?, claim = NULL, error = NULL"
            " WHERE number = ? AND state != ?",
            (HANDLED, now, taken.number, HANDLED),
        ).rowcount
    )


def failed(db: sqlite3.Connection, taken: LeasedEvent, error: str, due_at: float | None) -> bool:
    """Give a row back, to be taken again at `due_at`, or to the dead where None."""
    return bool(
        db.execute(
            "UPDATE deliveries SET state = ?, due_at = coalesce(?, due_at), claim = NULL, error = ?"
            " WHERE number = ? AND claim = ? AND state = ?",
            (DEAD if due_at is None else OPEN, due_at, error, taken.number, taken.lease_id, OPEN),
        ).rowcount
    )


def release(db: sqlite3.Connection, claim: str, now: float, number: int | None = None) -> None:
    """Give back what a claim took (None: all of it) as if it had not been taken."""
    db.execute(
        "UPDATE deliveries SET due_at = ?, claim = NULL, attempts = attempts - 1"
        " WHERE state = ? AND claim = ? AND number = coalesce(?, number)",
        (now, OPEN, claim, number),
    )


def requeue(db: sqlite3.Connection, now: float, message_id: str | None) -> int:
    """Have a row (None: each dead one) handled anew, its attempts counted from the beginning.

    One that is being handled is left alone.
    """
    return db.execute(
        "UPDATE deliveries SET state = ?, due_at = ?, attempts = 0, error = NULL"
        " WHERE claim IS NULL AND CASE WHEN ? IS NULL THEN state = ? ELSE message_id = ? END",
        (OPEN, now, message_id, DEAD, message_id),
    ).rowcount
