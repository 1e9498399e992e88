"""Sources of a batch: files, folders, globs and manifests, expanded lazily."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._protocol.media_types import (
    HEAD,
    RECORDING_ENDINGS,
    SNIFFED,
    check_video_possible,
    is_ambiguous,
    is_recording,
)
from diffio_async._storage.system_errors import reason_of, shortage_of
from diffio_async._store_url import Place, StoreUrl, location_of
from diffio_async.batch.found_source import FoundSource
from diffio_async.batch.journal_queries import LeftOutCounts
from diffio_async.batch.naming import EarlierBatch
from diffio_async.batch.schema import DEFAULT_JOURNAL, absolute
from diffio_async.batch.selection import (
    check_source_url,
    expand_glob,
    glob_base,
    is_manifest,
    read_manifest,
)
from diffio_async.batch.store_sources import StoreScan, names_several
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import BatchItem, LeftOut, LeftOutReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async.types import SourceName, Sources


#: Default suffixes of recordings in folders.
RECORDINGS = RECORDING_ENDINGS


@frozen(kw_only=True)
class Scan:
    """Options for reading folders.

    Attributes:
        recursive: Whether sub-folders are read too.
        suffixes: The suffixes of recordings, in lower case; None for every file.
        is_result: Returns whether the file at a path is a result.
        root: The folder of the results, which is not entered from a parent folder.
        journal: The batch's journal, whose files are ignored.
    """

    recursive: bool
    suffixes: frozenset[str] | None
    is_result: Callable[[str], bool]
    root: Place
    journal: Path

    def expand(self, source: SourceName) -> Iterator[FoundSource | LeftOut]:
        """Yield the recordings that a source matches, and what is left out; blocks.

        A file that cannot be read is yielded with its problem.

        Raises:
            ConfigurationError: The source matches nothing, or a manifest is invalid.
        """
        path = _path_of(source)
        if isinstance(path, StoreUrl):
            item = source if isinstance(source, BatchItem) else None
            yield from self._object(path, item)
            return
        if isinstance(source, BatchItem):
            yield self._file(path, item=source)
            return
        found: Iterator[FoundSource | LeftOut]
        if is_manifest(path):
            found = self._manifest(path)
        elif os.path.isdir(path):  # noqa: PTH112 - any text
            found = self._folder(Path(path))
        elif glob.has_magic(path) and not os.path.lexists(path):
            found = self._glob(path)
        else:
            yield self._file(path)
            return
        yield from self._unless_empty(found, path)

    def _unless_empty(
        self, found: Iterator[FoundSource | LeftOut], path: str
    ) -> Iterator[FoundSource | LeftOut]:
        """Yield what was found.

        Raises:
            ConfigurationError: No recording is among it.
        """
        is_empty = True
        left_out = LeftOutCounts()
        for each in found:
            if isinstance(each, LeftOut):
                left_out.count(each)
            else:
                is_empty = False
            yield each
        if is_empty:
            raise ConfigurationError(self._no_match_message(path, left_out))

    def _object(self, url: StoreUrl, item: BatchItem | None) -> Iterator[FoundSource | LeftOut]:
        """Yield an object, whose version is looked up later, or those of a folder or pattern."""
        if item is None and names_several(url):
            scan = StoreScan(self.root, self.recursive, self.suffixes)
            yield from self._unless_empty(scan.expand(url), str(url))
        else:
            yield _named_object(url, item)

    def _no_match_message(self, path: str, left_out: LeftOutCounts) -> str:
        more = f"; left out: {left_out.describe()}" if left_out.reasons else ""
        if left_out.passed_over:
            more += ": suffixes=None (--all) takes every file"
        if is_manifest(path):
            return f"the manifest {path!r} lists no recordings"
        if not os.path.isdir(path):  # noqa: PTH112 - any text
            return f"nothing matches {path!r}{more}"
        scope = "" if self.recursive else ", and its sub-folders are not read"
        return (
            f"{path!r} contains no recordings (files with suffixes such as .wav or .mp4)"
            f"{scope}{more}"
        )

    def _manifest(self, path: str) -> Iterator[FoundSource]:
        for where, item in read_manifest(path):
            location = location_of(item.source, f"{where}: source")
            if isinstance(location, StoreUrl):
                yield _named_object(location, item, where)
            else:
                yield self._file(location, item=item, where=where)

    def _glob(self, pattern: str) -> Iterator[FoundSource | LeftOut]:
        if "\0" in pattern:
            raise ConfigurationError(f"{pattern!r} cannot be the name of a file")
        base = glob_base(pattern)
        for path, failure in expand_glob(pattern):
            if failure is not None:
                yield _unreadable_folder(
                    Path(path or os.curdir), _relative_path(path, base), failure
                )
            elif os.path.isdir(path):  # noqa: PTH112 - any text
                yield LeftOut(path=absolute(path), reason="folder")
            elif os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
                yield LeftOut(path=absolute(path), reason="irregular")
            elif self.is_result(path):
                yield LeftOut(path=absolute(path), reason="result")
            else:
                yield self._file(path, below=_relative_path(path, base))

    def _folder(self, top: Path) -> Iterator[FoundSource | LeftOut]:
        # A stack, because folders may be nested deeper than Python's recursion limit.
        waiting = [(top, PurePath())]
        with contextlib.ExitStack() as stack:
            # The journal of an earlier batch identifies the results in its folder and below.
            batches = list[EarlierBatch]()
            while waiting:
                folder, below = waiting.pop()
                entries, problem = _entries(folder)
                if problem is not None:
                    yield _unreadable_folder(folder, below, problem)
                if any(entry.name == DEFAULT_JOURNAL for entry in entries) and not _same(
                    folder / DEFAULT_JOURNAL, self.journal
                ):
                    batches.append(stack.enter_context(contextlib.closing(EarlierBatch(folder))))
                folders = []
                for entry in entries:
                    # Links to folders are not followed, as they may form a circle.
                    if _is_folder(entry) and not entry.name.startswith("."):
                        folders.append(entry.name)
                        continue
                    reason = self._exclusion_reason(entry, batches)
                    if reason is None:
                        yield self._file(entry.path, below=below / entry.name)
                    elif not self._is_internal(entry):
                        yield LeftOut(path=absolute(entry.path), reason=reason)
                for name in sorted(folders, reverse=True):
                    if self.recursive and not self._is_root(folder / name):
                        waiting.append((folder / name, below / name))
                    else:
                        yield LeftOut(path=absolute(folder / name), reason="folder")

    def _is_root(self, folder: Path) -> bool:
        return not isinstance(self.root, StoreUrl) and _same(folder, self.root)

    def _exclusion_reason(
        self, entry: os.DirEntry[str], batches: list[EarlierBatch]
    ) -> LeftOutReason | None:
        """Return why an entry of a folder is left out, None if it is a recording."""
        if entry.name.startswith("."):
            return "hidden"
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - ten thousand of them
        # A broken link is reported as a recording that cannot be read.
        if not os.path.isfile(entry.path) and os.path.exists(entry.path):  # noqa: PTH110, PTH113
            return "link" if os.path.isdir(entry.path) else "irregular"  # noqa: PTH112
        if not self._is_recording(entry.path, suffix):
            return "ending"
        path = entry.path
        if self.is_result(path) or any(each.has(path) for each in batches):
            return "result"
        return None

    def _is_recording(self, path: str, suffix: str) -> bool:
        """Whether a file has the suffix of a recording and, if that is ambiguous, its content."""
        if self.suffixes is None:
            return True
        # Suffixes that the user named are taken whatever the content.
        checks = is_ambiguous(suffix) and self.suffixes == RECORDINGS
        return suffix in self.suffixes and not (checks and not _begins_as_recording(path, suffix))

    def _is_internal(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file is a journal or a temporary file of a batch."""
        name = entry.name
        if name.startswith(DEFAULT_JOURNAL) or (
            name[:1] == "." and name.endswith((".part", ".kept"))
        ):
            return True
        return name.startswith(self.journal.name) and _same(
            Path(entry.path).parent, self.journal.parent
        )

    def _file(
        self,
        path: str,
        *,
        below: PurePath | None = None,
        item: BatchItem | None = None,
        where: str = "",
    ) -> FoundSource:
        name = below if below is not None else PurePath(PurePath(path).name or "_")
        size, mtime_ns, problem = _identity(path)
        return FoundSource(
            path=str(absolute(path)),
            below=name,
            size=size,
            mtime_ns=mtime_ns,
            item=item,
            where=where,
            problem=problem,
        )


def _named_object(url: StoreUrl, item: BatchItem | None, where: str = "") -> FoundSource:
    return FoundSource(path=str(url), below=PurePath(url.name or "_"), item=item, where=where)


def check_sources(sources: Sources | None) -> None:
    """Check the types of the sources, if all of them are known already.

    Raises:
        ConfigurationError: A source is a URL, empty, or of another type, or `sources` is neither a
            source nor an iterable.
    """
    if isinstance(sources, (str, bytes, os.PathLike, BatchItem)):
        _path_of(sources)
    elif isinstance(sources, Collection):
        for source in sources:
            _path_of(source)
    elif sources is not None and not isinstance(sources, (Iterable, AsyncIterable)):
        raise ConfigurationError(
            f"sources must be a path, a BatchItem, or an iterable of them, not {sources!r}"
        )


def _path_of(source: object) -> str | StoreUrl:
    if isinstance(source, BatchItem):
        return _checked_location(source.source)
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise ConfigurationError(
            f"a source must be a path or a BatchItem, not {type(source).__name__}"
        )
    path = _checked_location(os.fsdecode(source))
    if not path:
        raise ConfigurationError("a path is empty: name a file or a folder")
    return path


def _checked_location(source: str | os.PathLike[str]) -> str | StoreUrl:
    location = location_of(source, "a source")
    if isinstance(location, StoreUrl):
        check_source_url(location, "a source")
    return location


def _relative_path(path: str, base: str) -> PurePath:
    """Return the path below the folder that a glob starts from."""
    below = PurePath(os.path.normpath(PurePath(path).relative_to(base)))
    # A pattern such as `in/*/../*.wav` may lead above its base.
    return PurePath(below.name) if ".." in below.parts else below


def _unreadable_folder(folder: Path, below: PurePath, failure: OSError | ValueError) -> FoundSource:
    """Return a folder that cannot be read as a source that fails."""
    return FoundSource(
        path=str(absolute(folder)),
        below=below / "_",
        problem=f"the folder {str(folder)!r} cannot be read: {reason_of(failure)}",
    )


def _entries(folder: Path) -> tuple[list[os.DirEntry[str]], OSError | ValueError | None]:
    """Return the entries of a folder, and why they are incomplete, None if they are not.

    Raises:
        OSError: The process lacks a resource, which is not a fault of the folder.
    """
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            found += entries
    except (OSError, ValueError) as failure:
        if shortage_of(failure) is not None:
            raise
        return found, failure
    return found, None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return absolute(one) == absolute(other)


def read_head(path: str, count: int) -> bytes | None:
    """Return the first bytes of a regular file, None if it cannot be read; blocks.

    Raises:
        OSError: The process lacks a resource, which is not a fault of the file.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - any text; a pipe would block
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(count)
    except (OSError, ValueError) as failure:
        if shortage_of(failure) is not None:
            raise
        return None


def check_videos_possible(download_types: Collection[str], path: str) -> None:
    """Check that a recording can have the results, by its name and its first bytes; blocks.

    Raises:
        InvalidSource: Only videos are requested, and the recording contains only audio.
    """
    if set(download_types) == {"video"}:
        head = read_head(path, HEAD) or b""
        check_video_possible(download_types, PurePath(path).name, head=head)


def _begins_as_recording(path: str, suffix: str) -> bool:
    """Whether the first bytes fit the suffix; a file that cannot be read is reported later."""
    head = read_head(path, SNIFFED)
    return head is None or is_recording(suffix, head)


def _identity(path: str) -> tuple[int, int, str | None]:
    """Return size in bytes, modification time in ns, and the problem of a file, if any."""
    try:
        status = os.stat(path)  # noqa: PTH116 - any text
    except FileNotFoundError:
        return 0, 0, f"there is no file {path!r}"
    except (OSError, ValueError) as failure:
        if shortage_of(failure) is not None:
            raise
        return 0, 0, f"{path!r} cannot be read: {reason_of(failure)}"
    if not stat.S_ISREG(status.st_mode):
        return 0, 0, f"{path!r} is not a regular file"
    if status.st_size == 0:
        return 0, status.st_mtime_ns, f"{path!r} is empty: there is nothing to restore"
    return status.st_size, status.st_mtime_ns, None
