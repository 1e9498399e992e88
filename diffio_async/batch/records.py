"""Records of the journal: leased files, jobs and results, and how paths are stored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, field, fields, frozen

from diffio_async._storage.system_errors import reason_of
from diffio_async.errors import ConfigurationError, InvalidTarget

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable


def encode_path(path: str) -> str | bytes:
    """Return a path as SQLite stores it: text, or bytes if it is not valid Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _bytes_of(path)
    return path


def _bytes_of(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # a lone surrogate, which no file name contains
        return path.encode("utf-8", "surrogatepass")


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path, with `..` resolved and links kept.

    Raises:
        ConfigurationError: The path is relative and the current folder does not exist.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - links are kept
    except OSError as failure:
        raise ConfigurationError(
            f"{os.fspath(path)!r} is relative to the current folder, which cannot be used: "
            f"{reason_of(failure)}"
        ) from failure


def decode_path(value: str | bytes) -> str:
    """Return a stored path as text."""
    return os.fsdecode(value)


def check_inside(root: Path, path: Path) -> None:
    """Check that a result's path is in the folder of the results, with links resolved.

    Raises:
        InvalidTarget: The path leads out of the folder.
    """
    if not Path(os.path.normpath(path)).is_relative_to(root):
        raise InvalidTarget(
            f"{str(path)!r} is not in the folder of the results, {str(root)!r}, and is not "
            "written. Check whether another program changed the journal"
        )
    real = Path(os.path.realpath(path.parent))
    if not real.is_relative_to(os.path.realpath(root)):
        raise InvalidTarget(
            f"{str(path.parent)!r} leads out of the folder of the results, to {str(real)!r}, and "
            "is not written to. Replace the link by a folder, or choose another folder of results"
        )


class LeaseLost(Exception):
    """The row is leased by another run; this run was considered dead and abandons the step."""


T = TypeVar("T")


def fetch_records(cursor: sqlite3.Cursor, record: Callable[..., T]) -> list[T]:
    """Return the rows of a query, each as a `record` whose fields are the columns' names."""
    names = [column[0] for column in cursor.description]
    return [record(**dict(zip(names, row, strict=True))) for row in cursor]


@frozen
class ResultPath:
    """Path of one result of a file; `owned` and `bytes` as in `ResultDownload`."""

    download_type: str
    path: str = field(converter=decode_path)
    owned: bool = field(converter=bool)
    bytes: int | None


@frozen(kw_only=True)
class SourceFile:
    """A leased source file; `problem` is what was wrong with it when it was listed."""

    id: int
    path: str = field(converter=decode_path)
    problem: str | None
    attempts: int
    result_paths: tuple[ResultPath, ...] = ()


@frozen(kw_only=True)
class RestorationJob:
    """A content that one generation restores: its state and its idempotency key."""

    id: int
    model: str
    settings: str
    key: str
    state: str
    attempts: int
    project: str | None
    generation: str | None
    upload: str | None

    def uploaded_to(self, project: str) -> RestorationJob:
        """Return the job in the state after its upload to `project`."""
        return evolve(self, project=project, state="uploaded")


@frozen(kw_only=True)
class ResultDownload:
    """A leased result that is ready for download.

    Attributes:
        owned: Whether the batch wrote the file that now exists at `path`, if there is one.
        bytes: The size of that file, None if unknown.
        source_size: The size of the recording, in bytes.
    """

    file_id: int
    download_type: str
    path: str = field(converter=decode_path)
    job_id: int
    project: str
    generation: str
    attempts: int
    owned: bool = field(converter=bool)
    bytes: int | None
    source_size: int


#: The columns of a `RestorationJob`.
JOB_COLUMNS = ", ".join(column.name for column in fields(RestorationJob))


def change_job(
    connection: sqlite3.Connection, run_id: int, job: int, change: str, *values: object
) -> None:
    """Update a job's row; `change` is the SET clause.

    Raises:
        LeaseLost: The run does not lease the job.
    """
    written = connection.execute(
        f"UPDATE job SET {change} WHERE id = ? AND run_id = ?",  # noqa: S608 - our own names
        (*values, job, run_id),
    ).rowcount
    if not written:
        raise LeaseLost


def job_column(connection: sqlite3.Connection, job: int, column: str) -> object:
    """Return one column of a job."""
    row = connection.execute(
        f"SELECT {column} FROM job WHERE id = ?",  # noqa: S608 - our own names
        (job,),
    ).fetchone()
    return row[0]
