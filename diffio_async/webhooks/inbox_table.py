"""The inbox's table: what one transaction does, as plain functions of a connection and the time.

A row is open until it is handled or dead. An open row may be taken when it is due; taking it puts
its due time to the end of the lease, so a consumer that dies gives it back by doing nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async._engine.database_opening import Schema

if TYPE_CHECKING:
    import sqlite3

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
)

#: Rows that one insertion prunes at most: more than it adds, and next to nothing.
_PRUNED_AT_ONCE = 2
#: Seconds; no lease and no pause before a retry is longer. What is due later than that was written
#: before the clock was set back, and is due now.
FARTHEST = 3600.0
#: Why a row is dead that nobody gave back.
LETHAL = "whoever took it ended before it was handled, each time"


@frozen(kw_only=True)
class Arrival:
    """What is kept of a delivery."""

    message_id: str
    event_type: str
    generation_id: str | None
    rank: int
    created_at: float | None
    body: bytes


@frozen(kw_only=True)
class Claimed:
    """A row that was taken; `attempt` counts from 1."""

    number: int
    message_id: str
    body: bytes
    received_at: float
    attempt: int
    claim: str


@frozen(kw_only=True)
class Keeping:
    """How long rows are kept, in seconds; None keeps what nobody handled."""

    handled: float
    unhandled: float | None


def insert(db: sqlite3.Connection, arrival: Arrival, now: float, keeping: Keeping) -> bool:
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
        (state, before, _PRUNED_AT_ONCE),
    )


def take(
    db: sqlite3.Connection, claim: str, now: float, lease: float, most: int, attempts: int
) -> list[Claimed]:
    """Take up to `most` due rows for `lease` seconds, the longest due first.

    A row that was taken `attempts` times and never given back is dead: it ends whoever takes it.
    """
    rows = db.execute(
        "SELECT number, message_id, body, received_at, attempts + 1 FROM deliveries"
        " WHERE state = ? AND (due_at <= ? OR due_at > ?) ORDER BY due_at, number LIMIT ?",
        (OPEN, now, now + FARTHEST, most),
    ).fetchall()
    taken = [
        Claimed(
            number=number,
            message_id=message_id,
            body=body,
            received_at=received_at,
            attempt=attempt,
            claim=claim,
        )
        for number, message_id, body, received_at, attempt in rows
    ]
    db.executemany(
        "UPDATE deliveries SET due_at = ?, claim = ?, attempts = ? WHERE number = ?",
        [(now + lease, claim, each.attempt, each.number) for each in taken],
    )
    for each in taken:
        if each.attempt > attempts:
            failed(db, each, LETHAL, None)
    return [each for each in taken if each.attempt <= attempts]


def next_due(db: sqlite3.Connection) -> float | None:
    """When the next open row may be taken, in seconds since the epoch."""
    row = db.execute("SELECT min(due_at) FROM deliveries WHERE state = ?", (OPEN,)).fetchone()
    due: float | None = row[0]
    return due


def renew(db: sqlite3.Connection, taken: Claimed, until: float) -> bool:
    """Keep a row until then; False where it is no longer this claim's."""
    return bool(
        db.execute(
            "UPDATE deliveries SET due_at = ? WHERE number = ? AND claim = ? AND state = ?",
            (until, taken.number, taken.claim, OPEN),
        ).rowcount
    )


def handled(db: sqlite3.Connection, taken: Claimed, now: float) -> bool:
    """Settle a row for good, whoever has it by now; False where it was handled before."""
    return bool(
        db.execute(
            "UPDATE deliveries SET state = ?, due_at = ?, claim = NULL, error = NULL"
            " WHERE number = ? AND state != ?",
            (HANDLED, now, taken.number, HANDLED),
        ).rowcount
    )


def failed(db: sqlite3.Connection, taken: Claimed, error: str, due_at: float | None) -> bool:
    """Give a row back, to be taken again at `due_at`, or to the dead where None."""
    return bool(
        db.execute(
            "UPDATE deliveries SET state = ?, due_at = coalesce(?, due_at), claim = NULL, error = ?"
            " WHERE number = ? AND claim = ? AND state = ?",
            (DEAD if due_at is None else OPEN, due_at, error, taken.number, taken.claim, OPEN),
        ).rowcount
    )


def released(db: sqlite3.Connection, claim: str, now: float, number: int | None = None) -> None:
    """Give back what a claim took (None: all of it) as if it had not been taken."""
    db.execute(
        "UPDATE deliveries SET due_at = ?, claim = NULL, attempts = attempts - 1"
        " WHERE state = ? AND claim = ? AND number = coalesce(?, number)",
        (now, OPEN, claim, number),
    )


def retried(db: sqlite3.Connection, now: float, message_id: str | None) -> int:
    """Have a row (None: each dead one) handled anew, its attempts counted from the beginning.

    One that is being handled is left alone.
    """
    return db.execute(
        "UPDATE deliveries SET state = ?, due_at = ?, attempts = 0, error = NULL"
        " WHERE claim IS NULL AND CASE WHEN ? IS NULL THEN state = ? ELSE message_id = ? END",
        (OPEN, now, message_id, DEAD, message_id),
    ).rowcount


def furthest(db: sqlite3.Connection, generation_id: str) -> tuple[str, bytes] | None:
    """Id and body of the delivery that says the most of a generation, however they came."""
    row: tuple[str, bytes] | None = db.execute(
        "SELECT message_id, body FROM deliveries WHERE generation_id = ?"
        " ORDER BY rank DESC, created_at DESC, number DESC LIMIT 1",
        (generation_id,),
    ).fetchone()
    return row


def news(db: sqlite3.Connection, after: int, most: int) -> list[tuple[int, str, bytes]]:
    """Number, id and body of what came after a number, in the order it came."""
    return db.execute(
        "SELECT number, message_id, body FROM deliveries WHERE number > ? ORDER BY number LIMIT ?",
        (after, most),
    ).fetchall()


def last_number(db: sqlite3.Connection) -> int:
    """The number of the newest row ever."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'").fetchone()
    return row[0] if row else 0


def entries(db: sqlite3.Connection, state: str | None, most: int) -> list[tuple[Any, ...]]:
    """Rows in a state (None: in any), the newest first, without their bodies."""
    return db.execute(
        "SELECT * FROM (SELECT message_id, event_type, generation_id, CASE state WHEN ? THEN"
        " 'handled' WHEN ? THEN 'dead' ELSE iif(claim IS NULL, 'waiting', 'taken') END AS name,"
        " attempts, received_at, due_at, error FROM deliveries ORDER BY number DESC)"
        " WHERE name = coalesce(?, name) LIMIT ?",
        (HANDLED, DEAD, state, most),
    ).fetchall()


def foreign_changes(db: sqlite3.Connection) -> int:
    """A number that changes when another connection, of any process, has committed."""
    number: int = db.execute("PRAGMA data_version").fetchone()[0]
    return number
