"""Files of a batch that are restored again although they ended: another generation, billed."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._storage.system_errors import reason_of
from diffio_async._validators import local_path
from diffio_async.batch.schema import decode_path
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping

#: Marks of a report that mean "restore it again": bad, and the two worst.
DEFAULT_MARKS = ("b", "1", "2")
MARKS = (*DEFAULT_MARKS, "3", "4", "5", "g")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile("[0-9]{1,18}")
#: More than the marks of 100,000 files take.
_MAX_BYTES = 64 * 1024 * 1024


@frozen(kw_only=True)
class Mark:
    """A mark that a report exported.

    Attributes:
        where: Its location ("marks.csv, line 7").
        path: The recording.
        file_id: Its number in the journal.
        mark: `g` or `b`, or `1` to `5`.
        generation: The generation whose result was marked, "" if unknown.
    """

    where: str
    path: str
    file_id: int | None
    mark: str
    generation: str


def read_marks(path: str, wanted: Collection[str] = DEFAULT_MARKS) -> list[Mark]:
    """Return the wanted marks of a file that a report exported, as CSV or JSON; blocks.

    Raises:
        ConfigurationError: The file cannot be read, or has no such mark.
    """
    try:
        with Path(local_path(path, "the file of marks")).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as failure:
        raise ConfigurationError(
            f"the marks {path!r} cannot be read: {reason_of(failure)}"
        ) from None
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{path!r} is too large to be the marks of a report")
    rows = _json_rows(path, text) if text.lstrip().startswith("{") else _csv_rows(path, text)
    marks = [_mark(where, row) for where, row in rows]
    found = [mark for mark in marks if mark.mark in wanted]
    if not found:
        counts = Counter(mark.mark for mark in marks)
        given = ", ".join(f"{count} marked {mark}" for mark, count in sorted(counts.items()))
        raise ConfigurationError(
            f"{path!r} has no recording marked {', '.join(sorted(wanted))} (it has "
            f"{given or 'no marks'}): choose others with --mark"
        )
    return found


def _csv_rows(path: str, text: str) -> Iterable[tuple[str, Mapping[str, object]]]:
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        for row in reader:
            yield f"{path}, line {reader.line_num}", row
    except csv.Error as failure:
        raise ConfigurationError(f"the marks {path!r} cannot be read: {failure}") from None


def _json_rows(path: str, text: str) -> Iterable[tuple[str, Mapping[str, object]]]:
    try:
        rows = json.loads(text)["marks"]
        for number, row in enumerate(rows, 1):
            yield f"{path}, mark {number}", {**row}
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ConfigurationError(
            f"{path!r} is not the marks of a report: export them again"
        ) from None


def _mark(where: str, row: Mapping[str, object]) -> Mark:
    path, mark = row.get("path"), str(row.get("mark") or "")
    if not isinstance(path, str) or mark not in MARKS:
        raise ConfigurationError(
            f"{where}: expected the columns path, file_id, name and mark (one of "
            f"{', '.join(MARKS)}), as a report exports them"
        )
    number = str(row.get("file_id") or "")
    return Mark(
        where=where,
        # The JSON of a browser has surrogates, unlike its CSV.
        path=_exported(path),
        file_id=int(number) if _NUMBER.fullmatch(number) else None,
        mark=mark,
        generation=str(row.get("generation") or ""),
    )


def restart_marked(connection: sqlite3.Connection, marks: Iterable[Mark]) -> int:
    """Requeue the marked files that have ended, each for another generation.

    A file whose generation is not the marked one has been restarted since, and is left as it is.
    Return the number of files that were requeued.

    Raises:
        ConfigurationError: A mark is not of a file of this batch.
    """
    restarted = 0
    for mark in marks:
        file, generation = _file(connection, mark)
        if mark.generation and generation != mark.generation:
            continue
        restarted += connection.execute(
            "UPDATE file SET state = 'listed', end_seq = NULL, error = NULL, error_type = NULL,"
            " retryable = 1, attempts = 0, run_at = 0, attempt = coalesce((SELECT 1 + job.attempt"
            " FROM job WHERE job.id = file.job_id), attempt)"
            " WHERE id = ? AND state IN ('done', 'failed', 'skipped')",
            (file,),
        ).rowcount
        connection.execute(
            "UPDATE result SET state = 'wanted', attempts = 0, run_at = 0, error = NULL,"
            " error_type = NULL, retryable = 1 WHERE file_id = ? AND (SELECT state FROM file"
            " WHERE id = file_id) = 'listed'",
            (file,),
        )
    return restarted


def _file(connection: sqlite3.Connection, mark: Mark) -> tuple[int, str | None]:
    """Return the number of the marked file and its generation.

    The number identifies it, also if the recordings were moved; its name is compared.
    """
    column, value = ("source", mark.path) if mark.file_id is None else ("file.id", mark.file_id)
    rows = connection.execute(
        "SELECT file.id, source, job.generation FROM file LEFT JOIN job ON job.id = job_id"  # noqa: S608
        f" WHERE {column} = ?",
        (value,),
    ).fetchall()
    for file, source, generation in rows:
        if _exported(PurePath(decode_path(source)).name) == PurePath(mark.path).name:
            return file, generation
    raise ConfigurationError(
        f"{mark.where}: {mark.path!r} is not a file of this batch. Nothing was sent: use the marks "
        "of a report of the same journal"
    )


def _exported(name: str) -> str:
    """Return a name as a browser exports it: bytes that are not UTF-8 are replaced."""
    return _SURROGATE.sub("\ufffd", name)
