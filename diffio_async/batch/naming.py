"""Paths of results: name templates, and the detection of results among recordings."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import string
import unicodedata
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async import _system
from diffio_async._protocol.media_types import VIDEO_ENDINGS
from diffio_async._storage.files import split_name, truncate_name
from diffio_async._storage.system_errors import shortage_of
from diffio_async._store_url import Place, StoreUrl, place_of
from diffio_async._validators import is_encodable, local_path
from diffio_async.batch.schema import (
    DEFAULT_JOURNAL,
    SCHEMA,
    decode_path,
    decode_place,
    encode_path,
)
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator


_FIELDS = ("stem", "name", "ext", "type", "parent")
#: By contract audio is MP3 and the transcript JSON; the service chooses a video's container.
_ENDINGS = {"audio": ".mp3", "transcript": ".json"}
_RESULT_ENDINGS = VIDEO_ENDINGS | frozenset(_ENDINGS.values())


@define(eq=False)
class Naming:
    """A template such as `{stem}.restored{ext}`; `{name}` is the complete name of the source.

    `case_insensitive` is whether the disk treats `A` and `a` as the same name.
    """

    template: str
    root: Place
    case_insensitive: bool = False

    def check(self) -> None:
        """Check the template.

        Raises:
            ConfigurationError: The template is invalid.
        """
        if not isinstance(self.template, str):
            raise ConfigurationError(f"the name must be text, not {self.template!r}")
        if "\0" in self.template or not is_encodable(self.template):
            raise ConfigurationError(
                f"the name {self.template!r} is not valid text: use another template"
            )
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as failure:
            raise ConfigurationError(
                f"the name {self.template!r} is not a valid template: {failure}"
            ) from None
        used = {name for _, name, _, _ in parts if name is not None}
        plain = all(not spec and not conversion for _, _, spec, conversion in parts)
        if used - set(_FIELDS) or not plain:
            raise ConfigurationError(
                f"the name {self.template!r} may contain {{stem}}, {{name}}, {{ext}}, {{type}} and "
                "{parent}"
            )
        if not used & {"stem", "name"} or not self.template.endswith("{ext}"):
            raise ConfigurationError(
                f"the name {self.template!r} must contain {{stem}} or {{name}} and end in {{ext}}: "
                "otherwise many results would have the same name"
            )
        if _leads_out_anywhere(self.template):
            raise ConfigurationError(f"the name {self.template!r} leads out of the folder")

    def result(
        self, below: PurePath, download_type: str, named: str | None = None, *, parent: str = ""
    ) -> Place:
        """Return the result's place for a source that lies `below` its root.

        Args:
            below: The source's path relative to the folder that the user named.
            download_type: `audio`, `video` or `transcript`.
            named: An explicit name without its suffix, from a manifest or `BatchItem`.
            parent: The name of the source's folder.

        Raises:
            ConfigurationError: The path leads out of the folder, or is not a valid file name.
        """
        ext = _ENDINGS.get(download_type, split_name(below.name)[1])
        if named is not None:
            local_path(named, "the name of a result")
            if "\0" in named:
                raise ConfigurationError(
                    f"no file can have the name {named!r}: it has a null character"
                )
            if not is_encodable(named):
                raise ConfigurationError(f"the name {named!r} is not valid text: use another one")
            if _leads_out_anywhere(named) or not PurePath(named).name:
                raise ConfigurationError(f"the name {named!r} leads out of the folder, or is empty")
            path = PurePath(named)
            named_path = path.with_name(truncate_name(path.name, ext))
            return self._inside(str(named_path), f"the name {named!r}")
        name = self._filled(below, download_type, ext, parent)
        return self._inside(
            os.path.join(below.parent, name),  # noqa: PTH118 - as text, to keep all parts
            f"{below.name!r} under the name {self.template!r}",
        )

    def _filled(self, below: PurePath, download_type: str, ext: str, parent: str) -> PurePath:
        """Fill in the template; shorten the source's name if the result is too long for a disk."""
        name = below.name
        stem, _ = split_name(name)
        fixed = {"ext": ext, "type": download_type, "parent": parent or "_"}
        while True:
            path = PurePath(self.template.format(stem=stem, name=name, **fixed))
            parts = [truncate_name(part) for part in path.parts]
            if parts == [*path.parts] or not (stem or name):
                return PurePath(*parts)
            stem, name = stem[:-1], name[:-1]

    def _inside(self, text: str, what: str) -> Place:
        """Return the place `text` below the root.

        Raises:
            ConfigurationError: It leads out of the root, or is a reserved name.
        """
        if isinstance(self.root, StoreUrl):
            return self.root / PurePath(text).as_posix()
        path = self.root / text
        parts = re.split(f"[{re.escape(_system.PATH_SEPARATORS)}]", text)
        inside = os.path.normpath(path).startswith(os.path.join(self.root, ""))  # noqa: PTH118
        if ".." in parts or not inside:
            raise ConfigurationError(f"the result of {what} would lead out of {str(self.root)!r}")
        # A source whose name has a null character fails alone, when it is opened.
        if any(_system.is_reserved(part) for part in parts):
            raise ConfigurationError(f"no file can have the name of the result of {what}")
        return path

    def path_key(self, path: Place, download_type: str) -> str:
        """Return the key that is unique per result: the path, as the disk compares paths."""
        text = str(path)
        if download_type == "video":
            # The suffix of a video is known only when it is complete.
            text = f"{text.removesuffix(path.suffix)}.*"
        return fold_name(text) if self.case_insensitive else text

    @cached_property
    def depth(self) -> int:
        """Number of path components in the template."""
        return os.path.normpath(self.template).count(os.sep) + 1

    @cached_property
    def is_distinctive(self) -> bool:
        """Whether results differ from recordings by name (more than a stem and a suffix)."""
        parsed = list(string.Formatter().parse(os.path.normpath(self.template)))
        return any(
            field in {"name", "type"} or text.strip("." + os.sep) for text, field, _, _ in parsed
        )

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Pattern that every name of the template matches, and few names of recordings."""
        parsed = string.Formatter().parse(os.path.normpath(self.template))
        return re.compile(
            "".join(re.escape(text) + (".*" if field else "") for text, field, _, _ in parsed),
            re.DOTALL,
        )

    def result_names(self, name: str, parent: str) -> Iterator[str]:
        """Yield the possible names of a recording's results, relative to its folder."""
        path = PurePath(name)
        for download_type in ("audio", "transcript", "video"):
            endings = (
                {_ENDINGS[download_type]}
                if download_type in _ENDINGS
                else {split_name(name)[1], *VIDEO_ENDINGS}
            )
            for ending in endings:
                yield os.path.normpath(self._filled(path, download_type, ending, parent))


def fold_name(text: str) -> str:
    """Return the spelling under which a case-insensitive disk compares a path."""
    return unicodedata.normalize("NFC", text).casefold()


def _leads_out_anywhere(text: str) -> bool:
    """Whether a path leads out of its folder, on this or another operating system."""
    windows = PureWindowsPath(text)
    return (
        PurePath(text).is_absolute()
        or bool(windows.root)
        or ".." in windows.parts
        or ".." in PurePath(text).parts
    )


def has_default_name(name: str) -> bool:
    """Whether a name could be made by the default template."""
    stem, ending = split_name(name)
    return stem.endswith(".restored") and ending.lower() in _RESULT_ENDINGS


def is_case_insensitive(folder: Path) -> bool:
    """Whether the folder's disk treats `A` and `a` as the same name; reads the disk."""
    for path in (folder, *folder.parents):
        other = path.with_name(path.name.swapcase()) if path.name else path
        if other != path:
            try:
                return other.samefile(path)
            except (OSError, ValueError):  # the name does not exist, or is invalid
                return False
    return False


#: Number of folders whose result names are cached.
_MAX_FOLDERS = 4
#: The database, its log, and the index of the log.
_JOURNAL_FILES = 3


@define(eq=False)
class ResultDetector:
    """Detection of results in folders that contain recordings too.

    A name of the default template is always a result. A name of the batch's own template is one
    only if the folder has a recording from which the template would make it.
    """

    naming: Naming
    suffixes: frozenset[str] | None
    _result_names: dict[str, set[str]] = field(factory=dict)

    def is_result(self, path: str) -> bool:
        """Whether a file looks like a result; reads its folder."""
        path = os.path.abspath(path)  # noqa: PTH100 - links are kept
        if has_default_name(PurePath(path).name):
            return True
        folder, *tail = path.rsplit(os.sep, self.naming.depth)
        if not self.naming.is_distinctive or len(tail) < self.naming.depth:
            return False
        name = path[len(folder) + 1 :]
        # Filling in the template for each recording of the folder takes longer than anything else.
        return bool(self.naming.pattern.fullmatch(name)) and name in self._names_in(
            folder or os.sep
        )

    def _names_in(self, folder: str) -> set[str]:
        """Return the names of the results of a folder's recordings."""
        names = self._result_names.get(folder)
        if names is None:
            names = set()
            for name in _names(folder):
                suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
                if self.suffixes is None or suffix in self.suffixes:
                    names.update(self.naming.result_names(name, PurePath(folder).name))
            if len(self._result_names) >= _MAX_FOLDERS:
                self._result_names.clear()
            self._result_names[folder] = names
        return names


def _names(folder: str) -> list[str]:
    """Return the names in a folder, none if it cannot be read.

    Raises:
        OSError: The process lacks a resource.
    """
    try:
        return os.listdir(folder)  # noqa: PTH208 - called for each of many names
    except OSError as failure:
        if shortage_of(failure) is not None:
            raise
        return []


class EarlierBatch:
    """Results of an earlier batch, according to the journal in a folder.

    It is empty if the journal is not readable or is another user's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection, self._to = _open_journal(folder / DEFAULT_JOURNAL)

    def has(self, path: str) -> bool:
        """Whether the batch wrote this file, also if the folder has been moved since."""
        if self._connection is None or not PurePath(path).is_relative_to(self._folder):
            return False
        original = Path(self._to, PurePath(path).relative_to(self._folder))
        naming = Naming(DEFAULT_NAME, self._folder)
        try:
            return is_known_result(self._connection, naming, str(original))
        except sqlite3.Error as failure:
            _check_descriptors(failure)
            return False

    def close(self) -> None:
        """Close the journal."""
        if self._connection is not None:
            self._connection.close()


def is_known_result(connection: sqlite3.Connection, naming: Naming, path: str) -> bool:
    """Whether the journal's batch wrote a file or an object."""
    place = place_of(path)
    key = naming.path_key(place, "audio")
    rows = connection.execute(
        "SELECT path FROM result WHERE owned AND path_key IN (?, ?)",
        (encode_path(key), encode_path(naming.path_key(place, "video"))),
    ).fetchall()
    return any(naming.path_key(decode_place(found), "audio") == key for (found,) in rows)


def _open_journal(path: Path) -> tuple[sqlite3.Connection | None, str]:
    try:
        status = path.lstat()
        is_own = _system.effective_user() in {None, status.st_uid}
        if not (is_own and stat.S_ISREG(status.st_mode)):
            return None, ""
        # Different threads use the connection, one at a time.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
    except sqlite3.Error as failure:
        _check_descriptors(failure)
        return None, ""
    except OSError as failure:
        if shortage_of(failure) is not None:
            raise
        return None, ""
    try:
        if connection.execute("PRAGMA application_id").fetchone()[0] == SCHEMA.application_id:
            row = connection.execute("SELECT value FROM batch WHERE name = 'to'").fetchone()
            if row is not None:
                return connection, decode_path(row[0])
    except sqlite3.Error as failure:
        connection.close()
        _check_descriptors(failure)
    connection.close()
    return None, ""


def _check_descriptors(failure: sqlite3.Error) -> None:
    """Check whether SQLite could not open a file because no descriptor is free.

    Raises:
        OSError: No descriptor is free. SQLite reports it like an unusable journal.
    """
    if failure.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN:
        with contextlib.ExitStack() as stack:
            for _ in range(_JOURNAL_FILES):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
