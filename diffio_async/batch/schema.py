"""Schema of the batch journal (one SQLite file), and the records that its rows become.

A `file` is a source recording. A `job` is a content with a model and settings; one generation is
billed for it, however many files have that content. A `result` is one download type of one file.
The view `report` has a row for each result.

Times are seconds since 1970. `run_at` and `lease_expires_at` are on the monotonic clock of
`_storage.sqlite_open`. Paths are text, or bytes where they are not valid Unicode; objects are URLs.
A row with a `run_id` is leased by that run until the run releases it or is found dead.

- `file.state`: `draft` (its listing is not finished), `listed` (queued), `joined` (assigned to its
  job), `done`, `failed`, `skipped`. `end_seq` numbers the files in the order in which they ended.
- `job.state`: `new` (to be uploaded), `uploaded`, `started` (its generation is known), `complete`,
  `failed`. `upload` is the state of a resumable upload; it contains the edge's token.
- `job.attempt`: the number of the generation; each retry that is billed increments it.
- `job.create_pending`: a project was requested and the response has not been recorded.
- `job.cost_reserved`: the minimum cost of the job is counted in `spent_seconds`.
- `result.state`: `wanted`, `ready` (it can be downloaded), `done`, `failed`. `owned`: the batch
  wrote the file at `path`. `worker`: the address of the worker of a cluster that stored it.
- `retryable`, of a failed row: 1 if another run may retry it without cost, 0 if a retry is billed.
- `left_out`: what the last listing found and did not accept as a recording; `run_id` is set until
  that listing is finished.
- `orphan`: projects that were created but not used; `project` is null where a response was lost, so
  that a project may exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, field, fields, frozen

from diffio_async._storage.sqlite_open import Schema
from diffio_async._storage.system_errors import reason_of
from diffio_async._store_url import Place, place_of
from diffio_async.errors import ConfigurationError, InvalidTarget

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

#: Default file name of the journal, in the folder of the results.
DEFAULT_JOURNAL = ".diffio-batch.sqlite"
#: `run_at` of a job that this run does not lease again.
FAR_FUTURE = 1e12

_FIRST = (
    "CREATE TABLE batch (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        process_start TEXT NOT NULL,
        lease_expires_at REAL NOT NULL
    )
    """,
    """
    CREATE TABLE job (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL,
        model TEXT NOT NULL,
        settings TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        key TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'new',
        run_id INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        run_at REAL NOT NULL DEFAULT 0,
        create_pending INTEGER NOT NULL DEFAULT 0,
        cost_reserved INTEGER NOT NULL DEFAULT 0,
        project TEXT,
        upload TEXT,
        generation TEXT,
        error TEXT,
        error_type TEXT,
        retryable INTEGER NOT NULL DEFAULT 1,
        uploaded_at REAL,
        started_at REAL,
        complete_at REAL,
        UNIQUE (digest, model, settings, attempt)
    )
    """,
    "CREATE INDEX job_due ON job (run_at, id)"
    " WHERE state IN ('uploaded', 'started') AND run_id IS NULL",
    "CREATE INDEX job_leased ON job (run_id) WHERE run_id IS NOT NULL",
    "CREATE INDEX job_active ON job (state) WHERE state IN ('new', 'uploaded', 'started')",
    """
    CREATE TABLE file (
        id INTEGER PRIMARY KEY,
        source NOT NULL,
        model TEXT NOT NULL,
        settings TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'listed',
        job_id INTEGER REFERENCES job,
        attempt INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        run_id INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        run_at REAL NOT NULL DEFAULT 0,
        error TEXT,
        error_type TEXT,
        retryable INTEGER NOT NULL DEFAULT 1,
        leased_at REAL,
        ended_at REAL,
        end_seq INTEGER UNIQUE,
        UNIQUE (source, model, settings)
    )
    """,
    "CREATE INDEX file_due ON file (run_at, id) WHERE state = 'listed' AND run_id IS NULL",
    "CREATE INDEX file_draft ON file (id) WHERE state = 'draft'",
    "CREATE INDEX file_leased ON file (run_id) WHERE run_id IS NOT NULL",
    "CREATE INDEX file_state ON file (state)",
    "CREATE INDEX file_job ON file (job_id) WHERE job_id IS NOT NULL",
    """
    CREATE TABLE result (
        file_id INTEGER NOT NULL REFERENCES file,
        type TEXT NOT NULL,
        path NOT NULL,
        path_key NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'wanted',
        run_id INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        run_at REAL NOT NULL DEFAULT 0,
        owned INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER,
        error TEXT,
        error_type TEXT,
        retryable INTEGER NOT NULL DEFAULT 1,
        done_at REAL,
        PRIMARY KEY (file_id, type)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX result_due ON result (run_at) WHERE state = 'ready' AND run_id IS NULL",
    "CREATE INDEX result_leased ON result (run_id) WHERE run_id IS NOT NULL",
    """
    CREATE TABLE orphan (
        id INTEGER PRIMARY KEY,
        job_id INTEGER REFERENCES job,
        project TEXT,
        reason TEXT NOT NULL,
        at REAL NOT NULL
    )
    """,
)

_SECOND = (
    "CREATE TABLE left_out (path NOT NULL, reason TEXT NOT NULL, run_id INTEGER)",
    "CREATE INDEX left_out_draft ON left_out (run_id) WHERE run_id IS NOT NULL",
)

#: The version of an object; NULL for a file, whose size and modification time identify it.
_THIRD = ("ALTER TABLE file ADD COLUMN version TEXT",)

#: The worker of a cluster that stored a result.
_FOURTH = (
    "ALTER TABLE result ADD COLUMN worker TEXT",
    "DROP VIEW IF EXISTS report",
    """
    CREATE VIEW report AS SELECT
        file.id AS file_id, file.source, result.type, result.path, file.state AS file_state,
        job.state AS job_state, result.state AS result_state,
        file.size, file.mtime_ns, result.bytes, job.digest, file.model, file.settings,
        job.attempt, job.key, job.project, job.upload, job.generation,
        file.attempts AS file_attempts, job.attempts AS job_attempts,
        result.attempts AS result_attempts,
        coalesce(result.error, file.error, job.error) AS error,
        coalesce(result.error_type, file.error_type, job.error_type) AS error_type,
        file.leased_at, job.uploaded_at, job.started_at, job.complete_at, result.done_at,
        file.ended_at, result.worker
    FROM file JOIN result ON result.file_id = file.id LEFT JOIN job ON job.id = file.job_id
    """,
)

#: "DFba" in ASCII marks the file as owned.
SCHEMA = Schema(
    label="batch journal",
    application_id=0x44466261,
    migrations=(_FIRST, _SECOND, _THIRD, _FOURTH),
    # The system clock may have been set back: no delay becomes longer than it was.
    after_restart=tuple(
        f"UPDATE {table} SET run_at = min(run_at, steady_now()) WHERE run_at < {FAR_FUTURE}"  # noqa: S608
        for table in ("file", "job", "result")
    ),
)


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


def decode_place(value: str | bytes) -> Place:
    """Return a stored path or URL."""
    return place_of(decode_path(value))


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
    if path.parent == root:
        return  # no link below the folder is followed
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
JOB_FIELDS = tuple(column.name for column in fields(RestorationJob))
JOB_COLUMNS = ", ".join(JOB_FIELDS)


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
