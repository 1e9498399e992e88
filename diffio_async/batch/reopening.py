"""At the beginning of a run: what failed and costs nothing to try again is open again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def reopened(connection: sqlite3.Connection, *, billed: bool) -> None:
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
