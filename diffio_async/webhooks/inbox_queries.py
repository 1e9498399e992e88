"""Schema and queries of the inbox, as plain functions of a connection.

A row is open until it is handled or dead. An open row may be leased when it is due. A lease sets
the due time to its end, so the row of a dead consumer becomes due again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._protocol.codec import encodable
from diffio_async._storage.sqlite_open import Schema
from diffio_async.models.webhooks import InboxEntry, event_rank

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.models.webhooks import WebhookEvent

OPEN, HANDLED, DEAD = 0, 1, 2

SCHEMA = Schema(
    label="webhook inbox",
    application_id=0x44_49_49_42,
    migrations=(
        (),  # the format before the first release, which is refused
        (
            # AUTOINCREMENT: `changes` relies on numbers of deleted rows not being used again.
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
                lease_id TEXT,
                attempts INTEGER NOT NULL DEFAULT 0,
                error TEXT
            )""",
            "CREATE INDEX deliveries_due ON deliveries (state, due_at)",
            "CREATE INDEX deliveries_of ON deliveries (generation_id, rank, created_at)",
        ),
    ),
    oldest_version=2,
    after_restart=(
        # All consumers have ended with the restart, and retries need not wait.
        "UPDATE deliveries SET due_at = min(due_at, steady_now()) WHERE state = 0",
        # The clock may have been set forward. An id that is deleted before the sender gives up
        # would be handled twice, so a gap of more than a day is ignored.
        """UPDATE deliveries SET due_at = due_at + steady_now() - (
            SELECT max(due_at) FROM deliveries WHERE state = 1
        ) WHERE state = 1 AND steady_now() - (
            SELECT max(due_at) FROM deliveries WHERE state = 1
        ) > 100800""",
    ),
)

#: Rows that one insertion deletes at most: more than it adds, and few.
_PRUNE_LIMIT = 2


@frozen(kw_only=True)
class Retention:
    """Seconds for which rows are kept; None keeps unhandled rows."""

    handled: float
    unhandled: float | None


def insert(
    db: sqlite3.Connection, event: WebhookEvent, body: bytes, now: float, retention: Retention
) -> bool:
    """Insert a delivery and delete expired ones; return False if its id is known."""
    new = db.execute(
        "INSERT INTO deliveries (message_id, event_type, generation_id, rank, created_at, body,"
        " received_at, due_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING",
        (
            event.message_id,
            encodable(event.event_type),
            None if event.generation_id is None else encodable(event.generation_id),
            event_rank(event),
            None if event.created_at is None else event.created_at.timestamp(),
            body,
            now,
            now,
        ),
    ).rowcount
    if new:
        _prune(db, HANDLED, now - retention.handled)
        if retention.unhandled is not None:
            _prune(db, OPEN, now - retention.unhandled)
            _prune(db, DEAD, now - retention.unhandled)
    return bool(new)


def _prune(db: sqlite3.Connection, state: int, before: float) -> None:
    db.execute(
        "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries"
        " WHERE state = ? AND due_at < ? ORDER BY due_at LIMIT ?)",
        (state, before, _PRUNE_LIMIT),
    )


def most_advanced(db: sqlite3.Connection, generation_id: str) -> tuple[str, bytes] | None:
    """Return id and body of the most advanced delivery of a generation, in any order of arrival."""
    row: tuple[str, bytes] | None = db.execute(
        "SELECT message_id, body FROM deliveries WHERE generation_id = ?"
        " ORDER BY rank DESC, created_at DESC, number DESC LIMIT 1",
        (encodable(generation_id),),
    ).fetchone()
    return row


def changes(db: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str, bytes]]:
    """Return number, id and body of rows after a number, in the order of arrival."""
    return db.execute(
        "SELECT number, message_id, body FROM deliveries WHERE number > ? ORDER BY number LIMIT ?",
        (after, limit),
    ).fetchall()


def newest(db: sqlite3.Connection) -> tuple[int, float | None]:
    """Return the highest number ever used, and when that row was received if it still exists."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'").fetchone()
    number = row[0] if row else 0
    found = db.execute("SELECT received_at FROM deliveries WHERE number = ?", (number,)).fetchone()
    return number, found[0] if found else None


def entries(db: sqlite3.Connection, state: str | None, limit: int | None) -> list[InboxEntry]:
    """Return rows in a state (None: in any), the newest first."""
    rows = db.execute(
        "SELECT * FROM (SELECT message_id, event_type, generation_id, CASE state WHEN ? THEN"
        " 'handled' WHEN ? THEN 'dead' ELSE iif(lease_id IS NULL, 'waiting', 'leased') END AS name,"
        " attempts, received_at + clock_drift(), due_at + clock_drift(), error FROM deliveries"
        " ORDER BY number DESC)"
        " WHERE name = coalesce(?, name) LIMIT ?",
        (HANDLED, DEAD, state, -1 if limit is None else limit),
    )
    return [
        InboxEntry(
            message_id=message_id,
            event_type=event_type,
            generation_id=generation_id,
            state=name,
            attempts=attempts,
            received_at=datetime.fromtimestamp(times[0], UTC),
            due_at=datetime.fromtimestamp(times[1], UTC),
            error=error,
        )
        for message_id, event_type, generation_id, name, attempts, *times, error in rows
    ]


def data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another connection of any process has committed."""
    number: int = db.execute("PRAGMA data_version").fetchone()[0]
    return number


#: Maximum seconds of a lease and of a pause before a retry. A row that is due later was written
#: before the clock was set back, and is due now.
MAX_DELAY = 3600.0
#: Error of a row whose leases all expired.
CRASH_REASON = "each consumer that leased it ended before it was handled"


@frozen
class LeasedEvent:
    """Row that is leased; `attempt` counts from 1."""

    lease_id: str
    number: int
    message_id: str
    body: bytes
    received_at: float
    attempt: int


def acquire(
    db: sqlite3.Connection,
    lease_id: str,
    now: float,
    seconds: float,
    *,
    limit: int,
    max_attempts: int,
) -> list[LeasedEvent]:
    """Lease up to `limit` due rows for so many seconds, the longest due first.

    A row whose leases expired `max_attempts` times becomes dead: it may crash its consumers.
    """
    rows = db.execute(
        "SELECT number, message_id, body, received_at + clock_drift(), attempts + 1 FROM deliveries"
        " WHERE state = ? AND (due_at <= ? OR due_at > ?) ORDER BY due_at, number LIMIT ?",
        (OPEN, now, now + MAX_DELAY, limit),
    ).fetchall()
    leased = [LeasedEvent(lease_id, *row) for row in rows]
    db.executemany(
        "UPDATE deliveries SET due_at = ?, lease_id = ?, attempts = ? WHERE number = ?",
        [(now + seconds, lease_id, each.attempt, each.number) for each in leased],
    )
    for each in leased:
        if each.attempt > max_attempts:
            fail(db, each, CRASH_REASON, None)
    return [each for each in leased if each.attempt <= max_attempts]


def next_due(db: sqlite3.Connection) -> float | None:
    """Return when the next open row is due, by the clock of the file."""
    row = db.execute("SELECT min(due_at) FROM deliveries WHERE state = ?", (OPEN,)).fetchone()
    due_at: float | None = row[0]
    return due_at


def renew(db: sqlite3.Connection, lease: LeasedEvent, until: float) -> bool:
    """Extend a lease; return False if it has expired and another consumer holds the row."""
    return bool(
        db.execute(
            "UPDATE deliveries SET due_at = ? WHERE number = ? AND lease_id = ? AND state = ?",
            (until, lease.number, lease.lease_id, OPEN),
        ).rowcount
    )


def ack(db: sqlite3.Connection, lease: LeasedEvent, now: float) -> bool:
    """Mark a row as handled, even if its lease was lost; return False if it was handled before."""
    return bool(
        db.execute(
            "UPDATE deliveries SET state = ?, due_at = ?, lease_id = NULL, error = NULL"
            " WHERE number = ? AND state != ?",
            (HANDLED, now, lease.number, HANDLED),
        ).rowcount
    )


def fail(db: sqlite3.Connection, lease: LeasedEvent, error: str, due_at: float | None) -> bool:
    """Release a row with an error, to be retried at `due_at`; it becomes dead if that is None."""
    return bool(
        db.execute(
            "UPDATE deliveries SET state = ?, due_at = coalesce(?, due_at), lease_id = NULL,"
            " error = ? WHERE number = ? AND lease_id = ? AND state = ?",
            (DEAD if due_at is None else OPEN, due_at, error, lease.number, lease.lease_id, OPEN),
        ).rowcount
    )


def release(db: sqlite3.Connection, lease_id: str, now: float, number: int | None = None) -> None:
    """Release a leased row (None: all of a lease) without counting an attempt."""
    db.execute(
        "UPDATE deliveries SET due_at = ?, lease_id = NULL, attempts = attempts - 1"
        " WHERE state = ? AND lease_id = ? AND number = coalesce(?, number)",
        (now, OPEN, lease_id, number),
    )


def requeue(db: sqlite3.Connection, now: float, message_id: str | None) -> int:
    """Requeue a row, or all dead rows if None, with no attempts; return the number requeued.

    A row that is leased is not changed.
    """
    return db.execute(
        "UPDATE deliveries SET state = ?, due_at = ?, attempts = 0, error = NULL"
        " WHERE lease_id IS NULL AND CASE WHEN ? IS NULL THEN state = ? ELSE message_id = ? END",
        (OPEN, now, message_id, DEAD, message_id),
    ).rowcount
