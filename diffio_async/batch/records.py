"""What a run holds of the journal: a file, a work or a result, as it was when it was taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from diffio_async._storage.system_errors import reason_of
from diffio_async.errors import ConfigurationError, InvalidTarget

if TYPE_CHECKING:
    import sqlite3


def encode_path(path: str) -> str | bytes:
    """The path as SQLite can keep it: text, or its bytes where it is none."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _bytes_of(path)
    return path


def _bytes_of(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # half a character: no file has such a name, and it is told of
        return path.encode("utf-8", "surrogatepass")


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root on; links are kept, `..` is not.

    Raises:
        ConfigurationError: It is relative, and the current folder is gone.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - links are kept
    except OSError as failure:
        raise ConfigurationError(
            f"{os.fspath(path)!r} leads from the current folder, which cannot be used: "
            f"{reason_of(failure)}"
        ) from failure


def decode_path(value: str | bytes) -> str:
    """The path as it was."""
    return os.fsdecode(value)


def check_inside(root: Path, path: Path) -> None:
    """Find out whether a result's path leads out of the folder of the results, by links too.

    Raises:
        InvalidTarget: It does; nothing may be written there.
    """
    if not Path(os.path.normpath(path)).is_relative_to(root):
        raise InvalidTarget(
            f"{str(path)!r} is not in the folder of the results, {str(root)!r}, and is not "
            "written: was the journal changed by something else?"
        )
    real = Path(os.path.realpath(path.parent))
    if not real.is_relative_to(os.path.realpath(root)):
        raise InvalidTarget(
            f"{str(path.parent)!r} leads out of the folder of the results, to {str(real)!r}, and "
            "is not written to: make it a folder, or choose another folder for the results"
        )


class LeaseLost(Exception):
    """Another run has the row now: this one was taken for dead, and drops what it had in hand."""


@frozen
class ResultPath:
    """Where a result of one type goes; `ours` and `bytes` as in `Fetch`."""

    kind: str
    path: str
    ours: bool
    bytes: int | None


@frozen(kw_only=True)
class SourceFile:
    """A file whose turn has come; `problem` is what was wrong when it was listed."""

    id: int
    path: str
    problem: str | None
    tries: int
    result_paths: tuple[ResultPath, ...] = ()


@frozen(kw_only=True)
class RestorationJob:
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
    def of(cls, row: tuple[object, ...]) -> RestorationJob:
        """A row of `JOB_COLUMNS`."""
        return cls(**dict(zip(JOB_COLUMNS.split(", "), row, strict=True)))  # type: ignore[arg-type]

    def at_project(self, project: str) -> RestorationJob:
        """The same, with its recording in a project."""
        return evolve(self, project=project, state="uploaded")


@frozen(kw_only=True)
class ResultDownload:
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


#: The columns of a `RestorationJob`.
JOB_COLUMNS = "id, model, settings, key, state, tries, project, generation, upload"


def change_job(
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
        raise LeaseLost


def job_column(connection: sqlite3.Connection, work: int, column: str) -> object:
    """One value of a work."""
    row = connection.execute(
        f"SELECT {column} FROM work WHERE id = ?",  # noqa: S608 - our own names
        (work,),
    ).fetchone()
    return row[0]
