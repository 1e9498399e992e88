"""At the beginning of a run: what failed and costs nothing to try again is open again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diffio_async.batch.records import LeaseLost

if TYPE_CHECKING:
    import sqlite3

#: The class and the words of what went wrong.
Problem = tuple[str, str]


def file_failed(connection: sqlite3.Connection, runner: int, file: int, problem: Problem) -> None:
    """A file that cannot be read, or whose result has no place, fails alone."""
    _leased(connection, runner, file)
    finish(connection, file, "failed", problem)


def file_skipped(connection: sqlite3.Connection, runner: int, file: int) -> None:
    """Its results are there, and are to be kept."""
    _leased(connection, runner, file)
    finish(connection, file, "skipped")


def requeue_file(
    connection: sqlite3.Connection, runner: int, file: int, delay: float = 0.0
) -> None:
    """Its turn is yet to come, `delay` seconds from now."""
    _leased(connection, runner, file)
    connection.execute(
        "UPDATE file SET runner = NULL, tries = tries - 1, due = ? WHERE id = ?",
        (time.time() + delay, file),
    )


def _leased(connection: sqlite3.Connection, runner: int, file: int) -> None:
    if not connection.execute(
        "SELECT 1 FROM file WHERE id = ? AND runner = ?", (file, runner)
    ).fetchone():
        raise LeaseLost


def fail_with_job(connection: sqlite3.Connection, file: int, work: int) -> None:
    """The file fails as its work did."""
    kind, text, again = connection.execute(
        "SELECT error_type, error, again FROM work WHERE id = ?", (work,)
    ).fetchone()
    finish(connection, file, "failed", (kind, text), again=bool(again))


def finish_if_complete(connection: sqlite3.Connection, file: int) -> bool:
    """End the file if none of its results is still to come; whether it ended."""
    left, failed = connection.execute(
        "SELECT sum(state NOT IN ('done', 'failed')), sum(state = 'failed') FROM result"
        " WHERE file = ?",
        (file,),
    ).fetchone()
    if left:
        return False
    if not failed:
        finish(connection, file, "done")
        return True
    kind, text, again = connection.execute(
        "SELECT error_type, error, again FROM result WHERE file = ? AND state = 'failed'"
        " ORDER BY again DESC LIMIT 1",
        (file,),
    ).fetchone()
    finish(connection, file, "failed", (kind, text), again=bool(again))
    return True


def finish(
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


def requeue_failed(connection: sqlite3.Connection, *, billed: bool) -> None:
    """Open what failed, where another try bills nothing; `billed`: failed generations too.

    Those start anew, under a new key: the service bills them again.
    """
    connection.execute(
        "UPDATE work SET state = 'new', tries = 0, due = 0 WHERE state = 'failed' AND again = 1"
    )
    if billed:
        connection.execute(
            "UPDATE file SET again = 1, attempt = 1 + (SELECT attempt FROM work"
            " WHERE work.id = file.work) WHERE state = 'failed' AND work IN (SELECT id FROM work"
            " WHERE state = 'failed'"
            " OR (state IN ('started', 'complete') AND error_type = 'NotFound'))"
        )
    connection.execute("UPDATE file SET due = 0 WHERE state = 'listed' AND due > 0")
    connection.execute("UPDATE work SET due = 0 WHERE state IN ('uploaded', 'started') AND due > 0")
    connection.execute("UPDATE result SET due = 0 WHERE state = 'ready' AND due > 0")
    failed = (
        "SELECT file.id FROM file LEFT JOIN work ON work.id = file.work"
        " WHERE file.state = 'failed' AND file.again = 1"
    )
    known = "work.state IN ('uploaded', 'started', 'complete') AND work.attempt >= file.attempt"
    connection.execute(
        "UPDATE result SET state = 'wanted', tries = 0, due = 0"  # noqa: S608 - our own words
        f" WHERE state = 'failed' AND again = 1 AND file IN ({failed})"
    )
    for state, where in (("joined", known), ("listed", f"(work.id IS NULL OR NOT ({known}))")):
        connection.execute(
            f"UPDATE file SET state = '{state}', ended = NULL, error = NULL,"  # noqa: S608
            f" error_type = NULL, tries = 0, due = 0 WHERE id IN ({failed} AND {where})"
        )
    connection.execute(
        "UPDATE result SET state = 'ready' WHERE state = 'wanted' AND file IN"
        " (SELECT file.id FROM file JOIN work ON work.id = file.work"
        " WHERE file.state = 'joined' AND work.state = 'complete')"
    )
