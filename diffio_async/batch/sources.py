"""What the user named: files, folders, globs, manifests, one after the other, never all at once."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._engine.local_paths import local_path
from diffio_async._engine.system_errors import reason_of
from diffio_async._wire.media_types import RECORDING_ENDINGS
from diffio_async.batch.manifest import is_manifest, rows
from diffio_async.batch.paths import absolute
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import BatchItem

if TYPE_CHECKING:
    from diffio_async.types import SourceName

#: The endings by which a recording is known in a folder.
RECORDINGS = RECORDING_ENDINGS


@frozen(kw_only=True)
class Found:
    """A recording that was named, or what stands in its way; size in bytes.

    `below` is its path below the folder that was named, which results keep; `where` says who
    named it ("files.csv, line 7").
    """

    path: str
    below: PurePath
    size: int = 0
    mtime_ns: int = 0
    item: BatchItem | None = None
    where: str = ""
    problem: str | None = None


@frozen(kw_only=True)
class Scan:
    """How folders are read.

    Attributes:
        recursive: Whether the folders in them are read too.
        suffixes: The endings of recordings, in small letters.
        is_result: Whether a name found there is that of a result.
        beyond: A folder that is not entered from above: that of the results.
    """

    recursive: bool
    suffixes: frozenset[str]
    is_result: Callable[[str], bool]
    beyond: Path

    def each(self, source: SourceName) -> Iterator[Found]:
        """The recordings that one name stands for; blocks.

        A file that cannot be read is given with its problem.

        Raises:
            ConfigurationError: It stands for none, or is a manifest with a mistake.
        """
        if isinstance(source, BatchItem):
            yield self._file(local_path(source.source, "a source"), item=source)
            return
        path = local_path(source, "a source")
        if not path:
            raise ConfigurationError("a path is empty: name a file or a folder")
        if is_manifest(path):
            found = self._manifest(path)
        elif os.path.isdir(path):  # noqa: PTH112 - any text
            found = self._folder(Path(path), PurePath())
        elif glob.has_magic(path) and not os.path.lexists(path):
            found = self._glob(path)
        else:
            yield self._file(path)
            return
        nothing = True
        for each in found:
            nothing = False
            yield each
        if nothing:
            raise ConfigurationError(self._nothing(path))

    def _nothing(self, path: str) -> str:
        if is_manifest(path):
            return f"the manifest {path!r} names no recording"
        if not os.path.isdir(path):  # noqa: PTH112 - any text
            return f"nothing matches {path!r}"
        deep = "" if self.recursive else ", and folders in it are not looked into"
        return f"there is no recording in {path!r} (known by endings such as .wav or .mp4){deep}"

    def _manifest(self, path: str) -> Iterator[Found]:
        for where, item in rows(path):
            yield self._file(os.fsdecode(item.source), item=item, where=where)

    def _glob(self, pattern: str) -> Iterator[Found]:
        base = _base_of(pattern)
        if "\0" in pattern:
            raise ConfigurationError(f"{pattern!r} cannot be the name of a file")
        for path in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - any pattern, at any root
            if os.path.isfile(path) and not self.is_result(Path(path).name):  # noqa: PTH113
                yield self._file(path, below=PurePath(path).relative_to(base))

    def _folder(self, folder: Path, below: PurePath) -> Iterator[Found]:
        folders = []
        try:
            for entry in _entries(folder):
                if entry.name.startswith("."):
                    continue
                # A link to a folder may lead round in a circle; one to a file is a file.
                if _is_folder(entry):
                    folders.append(entry.name)
                elif self._is_recording(entry):
                    yield self._file(entry.path, below=below / entry.name)
        except _Unreadable as failure:
            yield Found(
                path=str(absolute(folder)),
                below=below / "_",
                problem=f"the folder {str(folder)!r} cannot be read: {failure}",
            )
        for name in sorted(folders) if self.recursive else ():
            if absolute(folder / name) != self.beyond:
                yield from self._folder(folder / name, below / name)

    def _is_recording(self, entry: os.DirEntry[str]) -> bool:
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - ten thousand of them
        if suffix not in self.suffixes or self.is_result(entry.name):
            return False
        # A link that leads nowhere, or round in a circle, is a recording that cannot be read, and
        # is told of.
        try:
            return entry.is_file() or not os.path.exists(entry.path)  # noqa: PTH110 - any text
        except OSError:
            return True

    def _file(
        self,
        path: str,
        *,
        below: PurePath | None = None,
        item: BatchItem | None = None,
        where: str = "",
    ) -> Found:
        name = below if below is not None else PurePath(PurePath(path).name or "_")
        size, mtime_ns, problem = _identity(path)
        return Found(
            path=str(absolute(path)),
            below=name,
            size=size,
            mtime_ns=mtime_ns,
            item=item,
            where=where,
            problem=problem,
        )


class _Unreadable(Exception):
    """A folder cannot be read (to its end), for the reason in the text."""


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder.

    Raises:
        _Unreadable: It cannot be read: at once, or in the middle.
    """
    try:
        entries = os.scandir(folder)
    except (OSError, ValueError) as failure:
        raise _Unreadable(reason_of(failure)) from failure
    with entries:
        while True:
            try:
                entry = next(entries, None)
            except OSError as failure:
                raise _Unreadable(reason_of(failure)) from failure
            if entry is None:
                return
            yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int, str | None]:
    """Size in bytes, time of the last change in ns, and what is wrong with the file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - any text
    except FileNotFoundError:
        return 0, 0, f"there is no file {path!r}"
    except (OSError, ValueError) as failure:
        return 0, 0, f"{path!r} cannot be read: {reason_of(failure)}"
    if not stat.S_ISREG(status.st_mode):
        return 0, 0, f"{path!r} is no regular file"
    if status.st_size == 0:
        return 0, status.st_mtime_ns, f"{path!r} is empty: there is nothing to restore"
    return status.st_size, status.st_mtime_ns, None


def _base_of(pattern: str) -> PurePath:
    """The folder that a pattern starts from."""
    parts: list[str] = []
    for part in PurePath(pattern).parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return PurePath(*parts)


def names_of(sources: Iterable[SourceName] | SourceName) -> Iterator[SourceName]:
    """Each name, whether one was given or many."""
    if isinstance(sources, (str, os.PathLike, BatchItem)):
        yield sources
    else:
        yield from sources
