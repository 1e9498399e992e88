"""Rows of the inbox's table in the hands of consumers, as plain functions of a connection.

A row is open until it is handled or dead. An open row may be taken when it is due; taking it puts
its due time to the end of the lease, so a consumer that dies gives it back by doing nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async.webhooks.inbox_table import DEAD, HANDLED, OPEN

if TYPE_CHECKING:
    import sqlite3

#: Seconds; no lease and no pause before a retry is longer. What is due later than that was written
#: before the clock was set back, and is due now.
FARTHEST = 3600.0
#: Why a row is dead that nobody gave back.
LETHAL = "whoever took it ended before it was handled, each time"


@frozen(kw_only=True)
class Claimed:
    """A row that was taken; `attempt` counts from 1."""

    number: int
    message_id: str
    body: bytes
    received_at: float
    attempt: int
    claim: str


def take(
    db: sqlite3.Connection, claim: str, now: float, lease: float, most: int, attempts: int
) -> list[Claimed]:
    """Take up to `most` due rows for `lease` seconds, the longest due first.

    A row that was taken `attempts` times and never given back is dead: it ends whoever takes it.
    """
    rows = db.execute(
        "SELECT number, message_id, body, received_at + clock_drift(), attempts + 1 FROM deliveries"
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
    """When the next open row may be taken, by the file's clock."""
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
