"""List what is to be restored, all of it before the first upload: collisions are found here."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from diffio_async._engine.threads import Threads
from diffio_async._wire.containers import check_video_possible
from diffio_async.batch.paths import kept, path_of
from diffio_async.batch.settings import Settings, opened_settings
from diffio_async.batch.sources import Found, names_of
from diffio_async.errors import ConfigurationError, SourceUnusable

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.batch.journal import Journal
    from diffio_async.batch.naming import Naming
    from diffio_async.batch.sources import Scan
    from diffio_async.types import SourceName, Sources

#: Files that are looked at and written down at once.
_CHUNK = 500
#: How many collisions a message shows.
_SHOWN = 5
_MOST_NOTED = 1000


@define
class Listing:
    """One pass over the sources, into the journal; `kinds` are the download types."""

    scan: Scan
    naming: Naming
    settings: Settings
    kinds: tuple[str, ...]
    collisions: list[str] = field(factory=list)

    async def run(self, sources: Sources, journal: Journal) -> None:
        """Write down every recording, or none.

        Raises:
            ConfigurationError: Two results would have one name, a result would replace a
                recording, a source names nothing, or a manifest is wrong.
        """
        threads = Threads()
        try:
            async for name in _each(sources):
                found = self.scan.each(name)
                while chunk := await threads.run(self._rows, found):
                    await journal.do(self._write, journal.runner, chunk)
                    self._refuse_collisions()
        finally:
            await threads.settle()
        await journal.do(self._publish, journal.runner)
        self._refuse_collisions()

    def _rows(self, found: Iterator[Found]) -> list[tuple[Found, Settings, list[tuple[str, Path]]]]:
        """The next files, each with its settings and its results; reads the disk."""
        return [
            (self._looked_at(each), self._settings(each), self._results(each))
            for each in itertools.islice(found, _CHUNK)
        ]

    def _looked_at(self, found: Found) -> Found:
        """The file with what is wrong with it already."""
        try:
            check_video_possible(self.kinds, Path(found.path).name)
        except SourceUnusable as failure:
            return evolve(found, problem=found.problem or str(failure))
        return found

    def _settings(self, found: Found) -> Settings:
        item = found.item
        if item is None or (item.model is None and item.sampling is None and item.params is None):
            return self.settings
        sampling, params = opened_settings(self.settings.text)
        try:
            return Settings.of(
                item.model or self.settings.model,
                sampling if item.sampling is None else item.sampling,
                params if item.params is None else item.params,
            )
        except ConfigurationError as failure:
            raise ConfigurationError(f"{found.where or repr(found.path)}: {failure}") from failure

    def _results(self, found: Found) -> list[tuple[str, Path]]:
        named = found.item.to if found.item is not None else None
        return [(kind, self.naming.result(found.below, kind, named)) for kind in self.kinds]

    def _write(
        self,
        connection: sqlite3.Connection,
        runner: int,
        rows: list[tuple[Found, Settings, list[tuple[str, Path]]]],
    ) -> None:
        for found, settings, results in rows:
            number = _file(connection, runner, found, settings)
            for kind, path in results:
                self._result(connection, number, found, kind, path)

    def _result(
        self, connection: sqlite3.Connection, number: int, found: Found, kind: str, path: Path
    ) -> None:
        place = kept(self.naming.place(path, kind))
        written = connection.execute(
            "INSERT INTO result (file, type, path, place) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (number, kind, kept(str(path)), place),
        ).rowcount
        if written:
            return
        row = connection.execute(
            "SELECT file.id, file.source FROM result JOIN file ON file.id = result.file"
            " WHERE place = ?",
            (place,),
        ).fetchone()
        if row is not None and row[0] != number and len(self.collisions) < _MOST_NOTED:
            self.collisions.append(
                f"{path_of(row[1])!r} and {found.path!r} would both become {str(path)!r}"
            )

    def _publish(self, connection: sqlite3.Connection, runner: int) -> None:
        """The drafts become files of the batch, if no result would replace a recording."""
        for source, path in connection.execute(
            "SELECT file.source, result.path FROM result JOIN file ON file.id = result.file"
            " JOIN file AS other ON other.source = result.path LIMIT 5"
        ):
            self.collisions.append(
                f"the result of {path_of(source)!r} would replace the recording {path_of(path)!r}"
            )
        if not self.collisions:
            connection.execute(
                "UPDATE file SET state = 'listed', runner = NULL"
                " WHERE state = 'draft' AND runner = ?",
                (runner,),
            )
            # A type that was asked for later is fetched of what is complete already.
            connection.execute(
                "UPDATE file SET state = 'joined', ended = NULL WHERE state = 'done' AND id IN"
                " (SELECT file FROM result WHERE state = 'wanted')"
            )

    def _refuse_collisions(self) -> None:
        if not self.collisions:
            return
        more = len(self.collisions) - _SHOWN
        raise ConfigurationError(
            "; ".join(self.collisions[:_SHOWN])
            + (f"; and {more} more" if more > 0 else "")
            + ": choose another folder or another template for the names"
        )


def _file(connection: sqlite3.Connection, runner: int, found: Found, settings: Settings) -> int:
    """The file's row: a new draft, or the one that is there."""
    what = (kept(found.path), settings.model, settings.text)
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


async def _each(sources: Sources) -> AsyncIterator[SourceName]:
    if isinstance(sources, AsyncIterable):
        async for name in sources:
            yield name
    else:
        for name in names_of(sources):
            yield name
