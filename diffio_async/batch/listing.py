"""Listing of the sources into the journal, with a check for colliding results."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Collection
from contextlib import aclosing
from pathlib import PurePath
from typing import TYPE_CHECKING

from attrs import define, evolve, frozen

from diffio_async._storage.threads import TrackedExecutor, iterate
from diffio_async._store_url import Place, place_of
from diffio_async.batch.journal import unlock_listing
from diffio_async.batch.naming import Naming, is_known_result
from diffio_async.batch.request import JobSettings, load_settings
from diffio_async.batch.schema import decode_path, decode_place, encode_path
from diffio_async.batch.source_versions import with_versions
from diffio_async.batch.sources import check_videos_possible
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.models.batches import DEFAULT_NAME, BatchItem, LeftOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from diffio_async.batch.found_source import FoundSource
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.sources import Scan
    from diffio_async.types import SourceName, Sources


#: Maximum file_id of collisions in an error message.
_MAX_SHOWN = 1000
#: Templates that may resolve collisions, the simplest first.
_TEMPLATES = (
    DEFAULT_NAME,
    "{name}.restored{ext}",
    "{stem}.{type}.restored{ext}",
    "{name}.{type}.restored{ext}",
    "{parent}/{stem}.restored{ext}",
    "{parent}/{name}.restored{ext}",
    "{parent}/{name}.{type}.restored{ext}",
)


@frozen
class CollisionCheck:
    """Check for collisions of results; `temp.seen` has the files of the listing."""

    connection: sqlite3.Connection
    naming: Naming
    download_types: tuple[str, ...]

    def run(self) -> None:
        """Report all collisions.

        Raises:
            ConfigurationError: Two results would have one path, or one would replace a recording.
        """
        collisions = [*self._shared(), *self._replacing()]
        if not collisions:
            return
        more = len(collisions) - _MAX_SHOWN
        lines = collisions[:_MAX_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigurationError("; ".join([*lines, self._advice()]))

    def _shared(self) -> list[str]:
        """Describe results that would share a path, with all their sources."""
        groups: dict[str, dict[str, None]] = {}
        for path, first, second in self.connection.execute(
            "SELECT collision.path, other.source, file.source FROM temp.collision"
            " JOIN file ON file.id = collision.file"
            " JOIN file AS other ON other.id = collision.other"
            " ORDER BY collision.rowid"
        ):
            sources = groups.setdefault(decode_path(path), {})
            sources |= {decode_path(first): None, decode_path(second): None}
        return [
            f"{' and '.join(map(repr, sources))} would {'both' if len(sources) == 2 else 'all'} "  # noqa: PLR2004
            f"become {path!r}"
            for path, sources in groups.items()
        ]

    def _replacing(self) -> list[str]:
        return [
            f"the result of {decode_path(source)!r} would replace "
            f"the recording {decode_path(path)!r}"
            for source, path in self.connection.execute(
                "SELECT file.source, result.path FROM result JOIN file ON file.id = result.file_id"
                " JOIN file AS other ON other.source = result.path ORDER BY file.id"
            )
        ]

    def _advice(self) -> str:
        separate = (
            "list the files in a manifest, with names of their own in the column 'to', or restore "
            "them in several batches, each into a folder of its own (-o)"
        )
        if self.connection.execute("SELECT 1 FROM file WHERE state != 'draft' LIMIT 1").fetchone():
            return (
                "the names of a batch that has begun cannot change: choose another folder (-o), or "
                f"{separate}"
            )
        for template in _TEMPLATES:
            if self._is_collision_free(template):
                return (
                    f"choose other names: --name {template!r} (name={template!r}) gives each "
                    "result its own name"
                )
        return f"no template gives all results different names: {separate}"

    def _is_collision_free(self, template: str) -> bool:
        """Whether the template gives every result its own path, and none that of a recording."""
        naming = evolve(self.naming, template=template)
        sources = {
            naming.path_key(decode_place(source), download_type)
            for (source,) in self.connection.execute("SELECT source FROM file")
            for download_type in ("audio", *self.download_types)
        }
        used = set[str]()
        try:
            for path_key in self._path_keys(naming):
                if path_key in used or path_key in sources:
                    return False
                used.add(path_key)
        except ConfigurationError:
            return False
        return True

    def _path_keys(self, naming: Naming) -> Iterator[str]:
        for source, below, named in self.connection.execute(
            "SELECT file.source, seen.below, seen.named FROM temp.seen"
            " JOIN file ON file.id = seen.file"
        ):
            parent = decode_place(source).parent.name
            for download_type in self.download_types:
                path = naming.result(
                    PurePath(decode_path(below)), download_type, named, parent=parent
                )
                yield naming.path_key(path, download_type)


#: Number of files that are read and recorded at once.
_CHUNK = 500

#: A source, its settings, and the path of each result.
_Row = tuple["FoundSource", JobSettings, list[tuple[str, Place]]]


@define
class Listing:
    """One pass over the sources, into the journal."""

    scan: Scan
    naming: Naming
    settings: JobSettings
    download_types: tuple[str, ...]

    async def run(self, sources: Sources, journal: Journal) -> None:
        """Record every source, or none, and release the listing lock.

        Raises:
            ConfigurationError: Two results would have one path, a result would replace a
                recording, a source matches nothing, or a manifest is invalid.
        """
        threads, rows = TrackedExecutor(), list[_Row | LeftOut]()
        await journal.write(_create_temp_tables)
        try:
            async with aclosing(_groups(sources)) as groups:
                async for names in groups:
                    found = itertools.chain.from_iterable(map(self.scan.expand, names))
                    more = True
                    while more:
                        chunk = await threads.run(list, itertools.islice(found, _CHUNK))
                        more = len(chunk) == _CHUNK
                        chunk = await with_versions(chunk)
                        rows += await threads.run(self._rows, chunk)
                        if len(rows) >= _CHUNK:
                            await journal.write(self._write, journal.run_id, rows)
                            rows = []
        finally:
            await threads.drain()
        await journal.write(self._publish, journal.run_id, rows)

    def _rows(self, found: list[FoundSource | LeftOut]) -> list[_Row | LeftOut]:
        """Return sources with their settings and results; blocks."""
        return [
            each
            if isinstance(each, LeftOut)
            else (self._with_problem(each), self._settings(each), self._results(each))
            for each in found
        ]

    def _with_problem(self, found: FoundSource) -> FoundSource:
        """Return the source with the problem that it cannot have such a result."""
        try:
            check_videos_possible(self.download_types, found.path)
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

    def _results(self, found: FoundSource) -> list[tuple[str, Place]]:
        named = found.item.to if found.item is not None else None
        parent = place_of(found.path).parent.name
        try:
            return [
                (
                    download_type,
                    self.naming.result(found.below, download_type, named, parent=parent),
                )
                for download_type in self.download_types
            ]
        except ConfigurationError as failure:
            if not found.where:
                raise
            raise ConfigurationError(f"{found.where}: {failure}") from failure

    def _write(
        self, connection: sqlite3.Connection, run_id: int, rows: list[_Row | LeftOut]
    ) -> None:
        for row in rows:
            if isinstance(row, LeftOut):
                _leave_out(connection, run_id, str(row.path), row.reason)
                continue
            found, settings, results = row
            if is_known_result(connection, self.naming, found.path):
                _leave_out(connection, run_id, found.path, "result")
                continue
            file_id = _upsert_file(connection, run_id, found, settings)
            named = found.item.to if found.item is not None else None
            if not connection.execute(
                "INSERT OR IGNORE INTO temp.seen VALUES (?, ?, ?)",
                (file_id, encode_path(str(found.below)), named),
            ).rowcount:
                _leave_out(connection, run_id, found.path, "duplicate")
                continue
            for download_type, path in results:
                self._result(connection, file_id, download_type, path)

    def _result(
        self, connection: sqlite3.Connection, file_id: int, download_type: str, path: Place
    ) -> None:
        path_key = encode_path(self.naming.path_key(path, download_type))
        written = connection.execute(
            "INSERT INTO result (file_id, type, path, path_key) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (file_id, download_type, encode_path(str(path)), path_key),
        ).rowcount
        if not written:
            connection.execute(
                "INSERT INTO temp.collision SELECT ?, file_id, ? FROM result"
                " WHERE path_key = ? AND file_id != ?",
                (file_id, encode_path(str(path)), path_key, file_id),
            )

    def _publish(
        self, connection: sqlite3.Connection, run_id: int, rows: list[_Row | LeftOut]
    ) -> None:
        """Record the last sources, queue the drafts if there are no collisions, and unlock.

        Raises:
            ConfigurationError: There are collisions.
        """
        self._write(connection, run_id, rows)
        CollisionCheck(connection, self.naming, self.download_types).run()
        connection.execute(
            "UPDATE file SET state = 'listed', run_id = NULL WHERE state = 'draft' AND run_id = ?",
            (run_id,),
        )
        # A download type that this listing adds is downloaded for complete files too.
        connection.execute(
            "UPDATE file SET state = 'joined', end_seq = NULL WHERE state = 'done' AND id IN"
            " (SELECT file_id FROM result WHERE state = 'wanted')"
        )
        connection.execute("DELETE FROM left_out WHERE run_id IS NULL")
        connection.execute("UPDATE left_out SET run_id = NULL WHERE run_id = ?", (run_id,))
        unlock_listing(connection)


def _create_temp_tables(connection: sqlite3.Connection) -> None:
    """Create the temporary tables: the files of this listing, and collisions."""
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS seen (file INTEGER PRIMARY KEY, below NOT NULL, named)"
    )
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS collision (file INTEGER, other INTEGER, path NOT NULL)"
    )
    connection.execute("DELETE FROM temp.seen")
    connection.execute("DELETE FROM temp.collision")


def _leave_out(connection: sqlite3.Connection, run_id: int, path: str, reason: str) -> None:
    connection.execute(
        "INSERT INTO left_out (path, reason, run_id) VALUES (?, ?, ?)",
        (encode_path(path), reason, run_id),
    )


def _upsert_file(
    connection: sqlite3.Connection, run_id: int, found: FoundSource, settings: JobSettings
) -> int:
    """Return the id of the file's row, inserted as a draft if missing."""
    key = (encode_path(found.path), settings.model, settings.text)
    cursor = connection.execute(
        "INSERT INTO file (source, model, settings, size, mtime_ns, version, error, state, run_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'draft', ?) ON CONFLICT DO NOTHING",
        (*key, found.size, found.mtime_ns, found.version, found.problem, run_id),
    )
    if cursor.rowcount and cursor.lastrowid is not None:
        return cursor.lastrowid
    file_id, state, *known = connection.execute(
        "SELECT id, state, size, mtime_ns, version FROM file"
        " WHERE source = ? AND model = ? AND settings = ?",
        key,
    ).fetchone()
    current = [found.size, found.mtime_ns, found.version]
    if found.problem is None and known != current:
        # The file has changed; its digest decides later whether it is restored again.
        connection.execute(
            "UPDATE file SET size = ?, mtime_ns = ?, version = ? WHERE id = ?",
            (*current, file_id),
        )
        if state in {"joined", "done", "failed", "skipped"}:
            connection.execute(
                "UPDATE file SET state = 'listed', end_seq = NULL, attempts = 0, run_at = 0"
                " WHERE id = ?",
                (file_id,),
            )
    return int(file_id)


async def _groups(sources: Sources) -> AsyncGenerator[Collection[SourceName], None]:
    """Yield the sources in groups: those that are known already in one, the others one by one."""
    if isinstance(sources, (str, bytes, os.PathLike, BatchItem)):
        yield (sources,)
    elif isinstance(sources, Collection):
        yield sources
    else:
        async with aclosing(iterate(sources)) as names:
            async for name in names:
                yield (name,)
