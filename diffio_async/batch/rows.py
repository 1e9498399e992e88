"""What a run holds of the journal: a file, a work or a result, as it was when it was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    import sqlite3


class Lost(Exception):
    """Another run has the row now: this one was taken for dead, and drops what it had in hand."""


@frozen
class Place:
    """Where a result of one type goes; `ours` and `bytes` as in `Fetch`."""

    kind: str
    path: str
    ours: bool
    bytes: int | None


@frozen(kw_only=True)
class File:
    """A file whose turn has come; `problem` is what was wrong when it was listed."""

    id: int
    path: str
    problem: str | None
    tries: int
    places: tuple[Place, ...] = ()


@frozen(kw_only=True)
class Work:
    """A content to be restored: how far it is, and under which key it is paid."""

    id: int
    model: str
    settings: str
    key: str
    state: str
    tries: int
    project: str | None
    generation: str | None
    upload: str | None

    @classmethod
    def of(cls, row: tuple[object, ...]) -> Work:
        """A row of `WORK`."""
        return cls(**dict(zip(WORK.split(", "), row, strict=True)))  # type: ignore[arg-type]

    def at_project(self, project: str) -> Work:
        """The same, with its recording in a project."""
        return evolve(self, project=project, state="uploaded")


@frozen(kw_only=True)
class Fetch:
    """A result that can be fetched.

    `ours` where what stands under its name was written by the batch, `bytes` long if that is
    known.
    """

    file: int
    kind: str
    path: str
    work: int
    project: str
    generation: str
    tries: int
    ours: bool
    bytes: int | None
    source_size: int


#: The columns of a `Work`.
WORK = "id, model, settings, key, state, tries, project, generation, upload"


def change_work(
    connection: sqlite3.Connection, runner: int, work: int, change: str, *values: object
) -> None:
    """Change a work's row; `change` is the middle of an UPDATE.

    Raises:
        Lost: The run does not hold it.
    """
    written = connection.execute(
        f"UPDATE work SET {change} WHERE id = ? AND runner = ?",  # noqa: S608 - our own words
        (*values, work, runner),
    ).rowcount
    if not written:
        raise Lost


def work_column(connection: sqlite3.Connection, work: int, column: str) -> object:
    """One value of a work."""
    row = connection.execute(
        f"SELECT {column} FROM work WHERE id = ?",  # noqa: S608 - our own names
        (work,),
    ).fetchone()
    return row[0]
