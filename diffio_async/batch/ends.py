"""How a file ends: with its results, with its work's failure, or alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diffio_async.batch.rows import Lost

if TYPE_CHECKING:
    import sqlite3

#: The class and the words of what went wrong.
Problem = tuple[str, str]


def file_failed(connection: sqlite3.Connection, runner: int, file: int, problem: Problem) -> None:
    """A file that cannot be read, or whose result has no place, fails alone."""
    _held(connection, runner, file)
    end(connection, file, "failed", problem)


def file_skipped(connection: sqlite3.Connection, runner: int, file: int) -> None:
    """Its results are there, and are to be kept."""
    _held(connection, runner, file)
    end(connection, file, "skipped")


def file_put_back(
    connection: sqlite3.Connection, runner: int, file: int, delay: float = 0.0
) -> None:
    """Its turn is yet to come, `delay` seconds from now."""
    _held(connection, runner, file)
    connection.execute(
        "UPDATE file SET runner = NULL, tries = tries - 1, due = ? WHERE id = ?",
        (time.time() + delay, file),
    )


def _held(connection: sqlite3.Connection, runner: int, file: int) -> None:
    if not connection.execute(
        "SELECT 1 FROM file WHERE id = ? AND runner = ?", (file, runner)
    ).fetchone():
        raise Lost


def end_with_work(connection: sqlite3.Connection, file: int, work: int) -> None:
    """The file fails as its work did."""
    kind, text, again = connection.execute(
        "SELECT error_type, error, again FROM work WHERE id = ?", (work,)
    ).fetchone()
    end(connection, file, "failed", (kind, text), again=bool(again))


def end_if_all(connection: sqlite3.Connection, file: int) -> bool:
    """End the file if none of its results is still to come; whether it ended."""
    left, failed = connection.execute(
        "SELECT sum(state NOT IN ('done', 'failed')), sum(state = 'failed') FROM result"
        " WHERE file = ?",
        (file,),
    ).fetchone()
    if left:
        return False
    if not failed:
        end(connection, file, "done")
        return True
    kind, text, again = connection.execute(
        "SELECT error_type, error, again FROM result WHERE file = ? AND state = 'failed'"
        " ORDER BY again DESC LIMIT 1",
        (file,),
    ).fetchone()
    end(connection, file, "failed", (kind, text), again=bool(again))
    return True


def end(
    connection: sqlite3.Connection,
    file: int,
    state: str,
    problem: Problem | None = None,
    *,
    again: bool = True,
) -> None:
    """Write down an end, after all ends so far."""
    kind, text = problem or (None, None)
    connection.execute(
        "UPDATE file SET state = ?, runner = NULL, error_type = ?, error = ?, again = ?,"
        " ended_at = ?, ended = (SELECT coalesce(max(ended), 0) + 1 FROM file) WHERE id = ?",
        (state, kind, text, again, time.time(), file),
    )
