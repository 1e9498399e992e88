"""Queries of a journal: outcomes, counts, and the report with a row for each result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from diffio_async._storage.files import suffix_of
from diffio_async._store_url import StoreUrl
from diffio_async.batch.leases import count_live_runs
from diffio_async.batch.schema import decode_path, decode_place
from diffio_async.models.batches import FileOutcome, FileState, LeftOut, LeftOutReason

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Mapping

    from diffio_async.batch.journal import Journal


def outcomes_after(
    connection: sqlite3.Connection, end_seq: int, max_count: int, last_earlier: int
) -> list[tuple[int, FileOutcome]]:
    """Return the outcomes after number `end_seq`; up to `last_earlier` they are of earlier runs."""
    rows = connection.execute(
        "SELECT file.end_seq, file.id, file.source, file.state, file.error, file.error_type,"
        " file.attempts, file.size, file.leased_at, file.ended_at, file.changed,"
        " file.state = 'failed' AND job.state = 'failed' AND NOT file.retryable,"
        " job.project, job.generation, job.key"
        " FROM file LEFT JOIN job ON job.id = file.job_id"
        " WHERE file.end_seq > ? ORDER BY file.end_seq LIMIT ?",
        (end_seq, max_count),
    ).fetchall()
    return [(row[0], _outcome(connection, row[0] <= last_earlier, *row[1:])) for row in rows]


def _outcome(
    connection: sqlite3.Connection,
    from_earlier_run: bool,
    file: int,
    source: str | bytes,
    state: FileState,
    error: str | None,
    error_type: str | None,
    attempts: int,
    size: int,
    leased_at: float | None,
    ended_at: float,
    changed: int,
    retry_is_billed: int | None,
    project: str | None,
    generation: str | None,
    key: str | None,
) -> FileOutcome:
    results = connection.execute(
        "SELECT type, path, bytes FROM result WHERE file_id = ? AND state = 'done'", (file,)
    ).fetchall()
    places = {download_type: decode_place(path) for download_type, path, _ in results}
    return FileOutcome(
        source=decode_place(source),
        state=state,
        paths={kind: place for kind, place in places.items() if isinstance(place, Path)},
        urls={kind: str(place) for kind, place in places.items() if isinstance(place, StoreUrl)},
        api_project_id=project,
        generation_id=generation,
        idempotency_key=key,
        error=error,
        error_type=error_type,
        retry_is_billed=bool(retry_is_billed),
        attempts=attempts,
        size_bytes=size,
        received_bytes=sum(size or 0 for _, _, size in results),
        seconds=max(0.0, ended_at - leased_at) if leased_at is not None else 0.0,
        source_changed=bool(changed),
        from_earlier_run=from_earlier_run,
    )


def last_seq(connection: sqlite3.Connection) -> int:
    """Return the highest `end_seq`, 0 if no file has ended."""
    row = connection.execute("SELECT coalesce(max(end_seq), 0) FROM file").fetchone()
    return int(row[0])


def unfinished(connection: sqlite3.Connection, *, downloads: bool) -> bool:
    """Return whether any run has work left; `downloads` is whether downloads count."""
    if downloads:
        query = "SELECT 1 FROM file WHERE state IN ('listed', 'joined') LIMIT 1"
    else:
        query = (
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM file WHERE state = 'listed') OR EXISTS"
            " (SELECT 1 FROM job WHERE state IN ('new', 'uploaded', 'started')"
            " AND run_id IS NOT NULL)"
        )
    return connection.execute(query).fetchone() is not None


def next_source(connection: sqlite3.Connection) -> str | None:
    """Return the path of a file that has not ended and can be read, None if absent."""
    row = connection.execute(
        "SELECT source FROM file WHERE state = 'listed' AND error IS NULL ORDER BY id LIMIT 1"
    ).fetchone()
    return None if row is None else decode_path(row[0])


def remaining(connection: sqlite3.Connection) -> int:
    """Return the number of files that have not ended."""
    row = connection.execute(
        "SELECT count(*) FROM file WHERE state IN ('listed', 'joined')"
    ).fetchone()
    return int(row[0])


def left_out_counts(connection: sqlite3.Connection) -> LeftOutCounts:
    """Return the numbers of names that the last listing left out."""
    found = LeftOutCounts()
    for path, reason in connection.execute(
        "SELECT path, reason FROM left_out WHERE run_id IS NULL"
    ):
        found.count(LeftOut(path=decode_place(path), reason=reason))
    return found


def left_out_after(
    connection: sqlite3.Connection, last: int, max_count: int
) -> list[tuple[int, LeftOut]]:
    """Return the next names that the last listing left out, after row `last`."""
    rows = connection.execute(
        "SELECT rowid, path, reason FROM left_out WHERE rowid > ? AND run_id IS NULL"
        " ORDER BY rowid LIMIT ?",
        (last, max_count),
    ).fetchall()
    return [
        (number, LeftOut(path=decode_place(path), reason=reason)) for number, path, reason in rows
    ]


#: Singular and plural of each reason.
_WORDS: Mapping[LeftOutReason, tuple[str, str]] = {
    "result": ("result", "results"),
    "hidden": ("hidden name", "hidden names"),
    "ending": ("file of another type", "files of other types"),
    "link": ("link to a folder", "links to folders"),
    "folder": ("folder", "folders"),
    "duplicate": ("source named twice", "sources named twice"),
    "irregular": ("special file", "special files"),
}


def describe_left_out(left_out: Mapping[LeftOutReason, int]) -> str:
    """Describe counts by reason: "2 results, 1 hidden name"."""
    return ", ".join(
        f"{left_out[reason]} {words[left_out[reason] != 1]}"
        for reason, words in _WORDS.items()
        if left_out.get(reason)
    )


#: Number of suffixes that a description names.
_MAX_SUFFIXES = 6


@define
class LeftOutCounts:
    """Counts of the names that a listing left out.

    Attributes:
        reasons: Numbers by reason.
        passed_over: Numbers of files without the suffix of a recording, by their suffix.
    """

    reasons: Counter[LeftOutReason] = field(factory=Counter)
    passed_over: Counter[str] = field(factory=Counter)

    def count(self, name: LeftOut) -> None:
        """Count a name."""
        self.reasons[name.reason] += 1
        if name.reason == "ending":
            self.passed_over[suffix_of(name.path.name).lower()] += 1

    def describe(self) -> str:
        """Describe all: "2 results, 1 hidden name, 12 files passed over (.txt, .cue)"."""
        return ", ".join(filter(None, (self.describe_others(), self.describe_passed_over())))

    def describe_others(self) -> str:
        """Describe those that were not left out for their suffix: "2 results, 1 hidden name"."""
        return describe_left_out({**self.reasons, "ending": 0})

    def describe_passed_over(self) -> str:
        """Describe the other files, the most frequent suffixes first; "" if absent."""
        if not self.passed_over:
            return ""
        total = self.passed_over.total()
        names = [suffix or "no suffix" for suffix, _ in self.passed_over.most_common(_MAX_SUFFIXES)]
        names += ["…"] if len(self.passed_over) > _MAX_SUFFIXES else []
        return f"{total} file{'s' if total != 1 else ''} passed over ({', '.join(names)})"

    def as_fields(self) -> dict[str, Mapping[str, int]]:
        """Return the counts as fields of an event, without empty ones."""
        fields: dict[str, Mapping[str, int]] = {}
        if self.reasons:
            fields["left_out"] = dict[str, int](self.reasons.items())
        if self.passed_over:
            fields["passed_over"] = dict(self.passed_over)
        return fields


def download_types_of(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return the download types of the journal's results."""
    return tuple(
        download_type
        for (download_type,) in connection.execute("SELECT DISTINCT type FROM result ORDER BY type")
    )


@frozen(kw_only=True)
class Status:
    """Counts of a journal.

    Attributes:
        files, jobs, results: Numbers by state.
        errors: Numbers of failed files by class of error.
        workers: Numbers of stored results by worker of a cluster.
        billed_seconds: The minimum that all its generations bill.
        orphans: Projects that were created but not used.
        suspected: Projects that may exist because a response was lost.
        left_out: Names that the last listing did not accept as recordings, by reason.
    """

    files: dict[str, int] = field(factory=dict)
    jobs: dict[str, int] = field(factory=dict)
    results: dict[str, int] = field(factory=dict)
    errors: dict[str, int] = field(factory=dict)
    workers: dict[str, int] = field(factory=dict)
    size_bytes: int = 0
    received_bytes: int = 0
    billed_seconds: float = 0.0
    orphans: int = 0
    suspected: int = 0
    left_out: LeftOutCounts = field(factory=LeftOutCounts)
    runs: int = 0
    to: str = ""
    model: str = ""
    service: str = ""


def status(connection: sqlite3.Connection) -> Status:
    """Return the current counts."""

    def by_state(table: str) -> dict[str, int]:
        return dict(
            connection.execute(
                f"SELECT state, count(*) FROM {table} GROUP BY state"  # noqa: S608 - our own names
            ).fetchall()
        )

    errors = connection.execute(
        "SELECT coalesce(error_type, ''), count(*) FROM file WHERE state = 'failed' GROUP BY 1"
    ).fetchall()
    values = dict(connection.execute("SELECT name, value FROM batch").fetchall())
    known, suspected = connection.execute(
        "SELECT count(project), count(*) - count(project) FROM orphan"
    ).fetchone()
    return Status(
        files={name: count for name, count in by_state("file").items() if name != "draft"},
        jobs=by_state("job"),
        results=by_state("result"),
        errors=dict(errors),
        workers=dict(
            connection.execute(
                "SELECT worker, count(*) FROM result WHERE state = 'done' AND worker IS NOT NULL"
                " GROUP BY worker"
            ).fetchall()
        ),
        size_bytes=connection.execute("SELECT coalesce(sum(size), 0) FROM file").fetchone()[0],
        received_bytes=connection.execute("SELECT coalesce(sum(bytes), 0) FROM result").fetchone()[
            0
        ],
        billed_seconds=float(values.get("spent_seconds", 0)),
        orphans=known,
        suspected=suspected,
        left_out=left_out_counts(connection),
        runs=count_live_runs(connection),
        to=decode_path(values.get("to", "")),
        model=str(values.get("model", "")),
        service=str(values.get("service", "")),
    )


def file_count(connection: sqlite3.Connection) -> int:
    """Return the number of files."""
    row = connection.execute("SELECT count(*) FROM file WHERE state != 'draft'").fetchone()
    return int(row[0])


Row = dict[str, object]

#: All columns except `upload`, which contains a token.
COLUMNS = (
    *("source", "type", "path", "file_state", "job_state", "result_state", "size", "bytes"),
    *("digest", "model", "settings", "attempt", "key", "project", "generation"),
    *("file_attempts", "job_attempts", "result_attempts", "error_type", "error"),
    *("leased_at", "uploaded_at", "started_at", "complete_at", "done_at", "ended_at", "worker"),
)
_PATHS = ("source", "path")
_PAGE = 500


async def report(journal: Journal) -> AsyncGenerator[Row, None]:
    """Yield a row for each result, in the order in which the files were listed."""
    last: tuple[int, str] = (0, "")
    while page := await journal.read(_page, last):
        for file, download_type, row in page:
            last = file, download_type
            yield row


def _page(connection: sqlite3.Connection, after: tuple[int, str]) -> list[tuple[int, str, Row]]:
    rows = connection.execute(
        f"SELECT file_id, type, {', '.join(COLUMNS)} FROM report"  # noqa: S608 - our own names
        " WHERE (file_id, type) > (?, ?) ORDER BY file_id, type LIMIT ?",
        (*after, _PAGE),
    ).fetchall()
    return [(row[0], row[1], _row(row[2:])) for row in rows]


def _row(values: tuple[object, ...]) -> Row:
    row = dict(zip(COLUMNS, values, strict=True))
    for name in _PATHS:
        value = row[name]
        row[name] = str(decode_place(value)) if isinstance(value, (str, bytes)) else None
    return row


def orphans(connection: sqlite3.Connection) -> list[Row]:
    """Return the orphaned projects; a suspected one has no id."""
    rows = connection.execute("SELECT project, reason, at FROM orphan ORDER BY id").fetchall()
    return [{"project": project, "reason": reason, "at": at} for project, reason, at in rows]
