"""List what is to be restored, all of it before the first upload: collisions are found here."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, evolve

from diffio_async._protocol.containers import check_video_possible
from diffio_async._storage.threads import TrackedExecutor, iterate
from diffio_async.batch.clashes import Clashes
from diffio_async.batch.records import encode_path
from diffio_async.batch.results import is_known_result
from diffio_async.batch.settings import JobSettings, load_settings
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.models.batches import BatchItem, LeftOut

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from diffio_async.batch.journal import Journal
    from diffio_async.batch.naming import Naming
    from diffio_async.batch.sources import FoundSource, Scan
    from diffio_async.types import SourceName, Sources

#: Files that are looked at and written down at once.
_CHUNK = 500

#: A file to be restored, its settings, and the path of each result.
_Row = tuple["FoundSource", JobSettings, list[tuple[str, Path]]]


@define
class Listing:
    """One pass over the sources, into the journal; `download_types` are the download types."""

    scan: Scan
    naming: Naming
    settings: JobSettings
    download_types: tuple[str, ...]

    async def run(self, sources: Sources, journal: Journal) -> None:
        """Write down every recording, or none.

        Raises:
            ConfigurationError: Two results would have one name, a result would replace a
                recording, a source names nothing, or a manifest is wrong.
        """
        threads = TrackedExecutor()
        await journal.write(_begin)
        try:
            async with aclosing(iterate(_several(sources))) as names:
                async for name in names:
                    found = self.scan.each(name)
                    while chunk := await threads.run(self._rows, found):
                        await journal.write(self._write, journal.run_id, chunk)
        finally:
            await threads.drain()
        await journal.write(self._publish, journal.run_id)

    def _rows(self, found: Iterator[FoundSource | LeftOut]) -> list[_Row | LeftOut]:
        """The next files, each with its settings and its results; reads the disk."""
        return [
            each
            if isinstance(each, LeftOut)
            else (self._looked_at(each), self._settings(each), self._results(each))
            for each in itertools.islice(found, _CHUNK)
        ]

    def _looked_at(self, found: FoundSource) -> FoundSource:
        """The file with what is wrong with it already."""
        try:
            check_video_possible(self.download_types, Path(found.path).name)
        except InvalidSource as failure:
            return evolve(found, problem=found.problem or str(failure))
        return found

    def _settings(self, found: FoundSource) -> JobSettings:
        item = found.item
        if item is None or (item.model is None and item.sampling is None and item.params is None):
            return self.settings
        sampling, params = load_settings(self.settings.text)
        try:
            return JobSettings.validated(
                item.model or self.settings.model,
                sampling if item.sampling is None else item.sampling,
                params if item.params is None else item.params,
            )
        except ConfigurationError as failure:
            raise ConfigurationError(f"{found.where or repr(found.path)}: {failure}") from failure

    def _results(self, found: FoundSource) -> list[tuple[str, Path]]:
        named = found.item.to if found.item is not None else None
        parent = Path(found.path).parent.name
        try:
            return [
                (kind, self.naming.result(found.below, kind, named, parent=parent))
                for kind in self.download_types
            ]
        except ConfigurationError as failure:
            if not found.where:
                raise
            raise ConfigurationError(f"{found.where}: {failure}") from failure

    def _write(
        self, connection: sqlite3.Connection, runner: int, rows: list[_Row | LeftOut]
    ) -> None:
        for row in rows:
            if isinstance(row, LeftOut):
                _leave_out(connection, runner, row.path, row.reason)
                continue
            found, settings, results = row
            if is_known_result(connection, self.naming, found.path):
                _leave_out(connection, runner, Path(found.path), "result")
                continue
            number = _file(connection, runner, found, settings)
            named = found.item.to if found.item is not None else None
            if not connection.execute(
                "INSERT OR IGNORE INTO temp.seen VALUES (?, ?, ?)",
                (number, encode_path(str(found.below)), named),
            ).rowcount:
                _leave_out(connection, runner, Path(found.path), "duplicate")
                continue
            for kind, path in results:
                self._result(connection, number, kind, path)

    def _result(self, connection: sqlite3.Connection, number: int, kind: str, path: Path) -> None:
        place = encode_path(self.naming.path_key(path, kind))
        written = connection.execute(
            "INSERT INTO result (file, type, path, place) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (number, kind, encode_path(str(path)), place),
        ).rowcount
        if not written:
            connection.execute(
                "INSERT INTO temp.clash SELECT ?, file, ? FROM result"
                " WHERE place = ? AND file != ?",
                (number, encode_path(str(path)), place, number),
            )

    def _publish(self, connection: sqlite3.Connection, runner: int) -> None:
        """The drafts become files of the batch, if each result has a place of its own.

        Raises:
            ConfigurationError: Some have none.
        """
        Clashes(connection, self.naming, self.download_types).refuse()
        connection.execute(
            "UPDATE file SET state = 'listed', runner = NULL WHERE state = 'draft' AND runner = ?",
            (runner,),
        )
        # A type that was asked for later is fetched of what is complete already.
        connection.execute(
            "UPDATE file SET state = 'joined', ended = NULL WHERE state = 'done' AND id IN"
            " (SELECT file FROM result WHERE state = 'wanted')"
        )
        connection.execute("DELETE FROM left_out WHERE runner IS NULL")
        connection.execute("UPDATE left_out SET runner = NULL WHERE runner = ?", (runner,))


def _begin(connection: sqlite3.Connection) -> None:
    """Make room for what one listing knows: the files it named, and whose results clash."""
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS seen (file INTEGER PRIMARY KEY, below NOT NULL, named)"
    )
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS clash (file INTEGER, other INTEGER, path NOT NULL)"
    )
    connection.execute("DELETE FROM temp.seen")
    connection.execute("DELETE FROM temp.clash")


def _leave_out(connection: sqlite3.Connection, runner: int, path: Path, reason: str) -> None:
    connection.execute(
        "INSERT INTO left_out (path, reason, runner) VALUES (?, ?, ?)",
        (encode_path(str(path)), reason, runner),
    )


def _file(
    connection: sqlite3.Connection, runner: int, found: FoundSource, settings: JobSettings
) -> int:
    """The file's row: a new draft, or the one that is there."""
    what = (encode_path(found.path), settings.model, settings.text)
    cursor = connection.execute(
        "INSERT INTO file (source, model, settings, size, mtime_ns, error, state, runner)"
        " VALUES (?, ?, ?, ?, ?, ?, 'draft', ?) ON CONFLICT DO NOTHING",
        (*what, found.size, found.mtime_ns, found.problem, runner),
    )
    if cursor.rowcount and cursor.lastrowid is not None:
        return cursor.lastrowid
    number, size, mtime_ns, state = connection.execute(
        "SELECT id, size, mtime_ns, state FROM file"
        " WHERE source = ? AND model = ? AND settings = ?",
        what,
    ).fetchone()
    if found.problem is None and (size, mtime_ns) != (found.size, found.mtime_ns):
        # It changed since; its content decides whether that means anything.
        connection.execute(
            "UPDATE file SET size = ?, mtime_ns = ? WHERE id = ?",
            (found.size, found.mtime_ns, number),
        )
        if state in {"joined", "done", "failed", "skipped"}:
            connection.execute(
                "UPDATE file SET state = 'listed', ended = NULL, tries = 0, due = 0 WHERE id = ?",
                (number,),
            )
    known: int = number
    return known


def _several(sources: Sources) -> Iterable[SourceName] | AsyncIterable[SourceName]:
    """The names as an iterable, whether one was given or many.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(sources, (str, bytes, os.PathLike, BatchItem)):
        return (sources,)
    if not isinstance(sources, (Iterable, AsyncIterable)):
        raise ConfigurationError(
            f"sources must be a path, a BatchItem, or an iterable of them, not {sources!r}"
        )
    return sources
