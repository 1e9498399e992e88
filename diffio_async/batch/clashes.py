"""Results that would have one name: all of them are listed, with the template that helps."""

from __future__ import annotations

import sqlite3
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from diffio_async.batch.naming import DEFAULT_NAME, Naming
from diffio_async.batch.records import decode_path
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Clashes that a message shows; more help nobody.
_MOST_SHOWN = 1000
#: Templates that are tried, the plainest first.
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
class Clashes:
    """The clashes of one listing, which wrote down what it named in `temp.seen`."""

    connection: sqlite3.Connection
    naming: Naming
    kinds: tuple[str, ...]

    def refuse(self) -> None:
        """Raise if there is one.

        Raises:
            ConfigurationError: Two results would have one name, or replace a recording.
        """
        clashes = [*self._shared(), *self._replacing()]
        if not clashes:
            return
        more = len(clashes) - _MOST_SHOWN
        lines = clashes[:_MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigurationError("; ".join([*lines, self._way_out()]))

    def _shared(self) -> list[str]:
        """What would have the name of another result; all sources of one name together."""
        groups: dict[str, dict[str, None]] = {}
        for path, first, second in self.connection.execute(
            "SELECT clash.path, other.source, file.source FROM temp.clash"
            " JOIN file ON file.id = clash.file JOIN file AS other ON other.id = clash.other"
            " ORDER BY clash.rowid"
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
                "SELECT file.source, result.path FROM result JOIN file ON file.id = result.file"
                " JOIN file AS other ON other.source = result.path ORDER BY file.id"
            )
        ]

    def _way_out(self) -> str:
        apart = (
            "list the files in a manifest, with names of their own in the column 'to', or restore "
            "them in several batches, each into a folder of its own (-o)"
        )
        if self.connection.execute("SELECT 1 FROM file WHERE state != 'draft' LIMIT 1").fetchone():
            return (
                "the names of a batch that has begun cannot change: name another folder (-o), or "
                f"{apart}"
            )
        for template in _TEMPLATES:
            if self._solves(template):
                return (
                    f"choose other names: --name {template!r} (name={template!r}) tells all apart"
                )
        return f"no template tells them all apart: {apart}"

    def _solves(self, template: str) -> bool:
        """Whether every result would have a place of its own, and none a recording's."""
        naming = evolve(self.naming, template=template)
        sources = {
            naming.path_key(Path(decode_path(source)), kind)
            for (source,) in self.connection.execute("SELECT source FROM file")
            for kind in ("audio", *self.kinds)
        }
        taken = set[str]()
        try:
            for place in self._places(naming):
                if place in taken or place in sources:
                    return False
                taken.add(place)
        except ConfigurationError:
            return False
        return True

    def _places(self, naming: Naming) -> Iterator[str]:
        for source, below, named in self.connection.execute(
            "SELECT file.source, seen.below, seen.named FROM temp.seen"
            " JOIN file ON file.id = seen.file"
        ):
            parent = Path(decode_path(source)).parent.name
            for kind in self.kinds:
                path = naming.result(PurePath(decode_path(below)), kind, named, parent=parent)
                yield naming.path_key(path, kind)
