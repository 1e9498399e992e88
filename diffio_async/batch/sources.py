"""What the user named: files, folders, globs, manifests, one after the other, never all at once."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._protocol.media_types import RECORDING_ENDINGS
from diffio_async._storage.local_paths import local_path
from diffio_async._storage.system_errors import reason_of, shortage_of
from diffio_async.batch.globs import base_of, matches
from diffio_async.batch.journal import DEFAULT_JOURNAL
from diffio_async.batch.manifest import is_manifest, rows
from diffio_async.batch.records import absolute
from diffio_async.batch.results import EarlierBatch, earlier_batch
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import BatchItem, LeftOut, LeftOutReason

if TYPE_CHECKING:
    from diffio_async.types import SourceName, Sources

#: The endings by which a recording is known in a folder.
RECORDINGS = RECORDING_ENDINGS


@frozen(kw_only=True)
class FoundSource:
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
        is_result: Whether a file found there is a result, by its path.
        excluded_dir: A folder that is not entered from above: that of the results.
        journal: The batch's journal; its files and their companions are not mentioned.
    """

    recursive: bool
    suffixes: frozenset[str]
    is_result: Callable[[str], bool]
    excluded_dir: Path
    journal: Path

    def each(self, source: SourceName) -> Iterator[FoundSource | LeftOut]:
        """The recordings that one name stands for, and what is left out; blocks.

        A file that cannot be read is given with its problem.

        Raises:
            ConfigurationError: It stands for none, or is a manifest with a mistake.
        """
        path = _path_of(source)
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
        nothing = True
        left_out = Counter[LeftOutReason]()
        for each in found:
            if isinstance(each, LeftOut):
                left_out[each.reason] += 1
            else:
                nothing = False
            yield each
        if nothing:
            raise ConfigurationError(self._nothing(path, left_out))

    def _nothing(self, path: str, left_out: Mapping[LeftOutReason, int]) -> str:
        more = f"; left out: {in_words(left_out)}" if left_out else ""
        if is_manifest(path):
            return f"the manifest {path!r} names no recording"
        if not os.path.isdir(path):  # noqa: PTH112 - any text
            return f"nothing matches {path!r}{more}"
        deep = "" if self.recursive else ", and folders in it are not looked into"
        return (
            f"there is no recording in {path!r} (known by endings such as .wav or .mp4){deep}{more}"
        )

    def _manifest(self, path: str) -> Iterator[FoundSource]:
        for where, item in rows(path):
            yield self._file(os.fsdecode(item.source), item=item, where=where)

    def _glob(self, pattern: str) -> Iterator[FoundSource | LeftOut]:
        if "\0" in pattern:
            raise ConfigurationError(f"{pattern!r} cannot be the name of a file")
        base = base_of(pattern)
        for path, failure in matches(pattern):
            if failure is not None:
                yield _unreadable(Path(path or os.curdir), _below(path, base), failure)
            elif os.path.isdir(path):  # noqa: PTH112 - any text
                yield LeftOut(path=absolute(path), reason="folder")
            elif os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
                yield LeftOut(path=absolute(path), reason="irregular")
            elif self.is_result(path):
                yield LeftOut(path=absolute(path), reason="result")
            else:
                yield self._file(path, below=_below(path, base))

    def _folder(self, top: Path) -> Iterator[FoundSource | LeftOut]:
        # A stack, not recursion: folders may be nested deeper than Python's calls.
        waiting = [(top, PurePath())]
        with contextlib.ExitStack() as stack:
            # A batch's journal tells what it wrote, in its folder and below.
            batches = list[EarlierBatch]()
            while waiting:
                folder, below = waiting.pop()
                entries, problem = _entries(folder)
                if problem is not None:
                    yield _unreadable(folder, below, problem)
                if any(entry.name == DEFAULT_JOURNAL for entry in entries) and not _same(
                    folder / DEFAULT_JOURNAL, self.journal
                ):
                    batches.append(stack.enter_context(earlier_batch(folder)))
                folders = []
                for entry in entries:
                    # A link to a folder may lead round in a circle; one to a file is a file.
                    if _is_folder(entry) and not entry.name.startswith("."):
                        folders.append(entry.name)
                        continue
                    reason_not = self._reason_not(entry, batches)
                    if reason_not is None:
                        yield self._file(entry.path, below=below / entry.name)
                    elif not self._is_ours(entry):
                        yield LeftOut(path=absolute(entry.path), reason=reason_not)
                for name in sorted(folders, reverse=True):
                    if self.recursive and not _same(folder / name, self.excluded_dir):
                        waiting.append((folder / name, below / name))
                    else:
                        yield LeftOut(path=absolute(folder / name), reason="folder")

    def _reason_not(
        self, entry: os.DirEntry[str], batches: list[EarlierBatch]
    ) -> LeftOutReason | None:
        """Why an entry of a folder is not restored, None where it is."""
        if entry.name.startswith("."):
            return "hidden"
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - ten thousand of them
        # A link that leads nowhere is a recording that cannot be read, and is reported.
        if not os.path.isfile(entry.path) and os.path.exists(entry.path):  # noqa: PTH110, PTH113
            return "link" if os.path.isdir(entry.path) else "irregular"  # noqa: PTH112
        if suffix not in self.suffixes:
            return "ending"
        path = entry.path
        if self.is_result(path) or any(each.has(path) for each in batches):
            return "result"
        return None

    def _is_ours(self, entry: os.DirEntry[str]) -> bool:
        """Whether it is a file that batches keep for themselves."""
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


def check_sources(sources: Sources | None) -> None:
    """Refuse what can be no source, where all of them are known already.

    Raises:
        ConfigurationError: One is a URL, empty, or of another type.
    """
    if isinstance(sources, (str, bytes, os.PathLike, BatchItem)):
        _path_of(sources)
    elif isinstance(sources, Collection):
        for source in sources:
            _path_of(source)


def _path_of(source: object) -> str:
    if isinstance(source, BatchItem):
        return local_path(source.source, "a source")
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise ConfigurationError(
            f"a source must be a path or a BatchItem, not {type(source).__name__}"
        )
    path = local_path(os.fsdecode(source), "a source")
    if not path:
        raise ConfigurationError("a path is empty: name a file or a folder")
    return path


def _below(path: str, base: str) -> PurePath:
    """The path below the folder that a glob starts from."""
    below = PurePath(os.path.normpath(PurePath(path).relative_to(base)))
    # `in/*/../*.wav` may lead above its own beginning.
    return PurePath(below.name) if ".." in below.parts else below


def _unreadable(folder: Path, below: PurePath, failure: OSError | ValueError) -> FoundSource:
    """A folder that cannot be read, which fails as a file of its own."""
    return FoundSource(
        path=str(absolute(folder)),
        below=below / "_",
        problem=f"the folder {str(folder)!r} cannot be read: {reason_of(failure)}",
    )


def _entries(folder: Path) -> tuple[list[os.DirEntry[str]], OSError | ValueError | None]:
    """What is in a folder, and why that is not all: it cannot be read, at once or in the middle.

    Raises:
        OSError: The process is short of something, which is no fault of the folder.
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


def _identity(path: str) -> tuple[int, int, str | None]:
    """Size in bytes, time of the last change in ns, and what is wrong with the file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - any text
    except FileNotFoundError:
        return 0, 0, f"there is no file {path!r}"
    except (OSError, ValueError) as failure:
        if shortage_of(failure) is not None:
            raise
        return 0, 0, f"{path!r} cannot be read: {reason_of(failure)}"
    if not stat.S_ISREG(status.st_mode):
        return 0, 0, f"{path!r} is no regular file"
    if status.st_size == 0:
        return 0, status.st_mtime_ns, f"{path!r} is empty: there is nothing to restore"
    return status.st_size, status.st_mtime_ns, None


#: What was left out, in the words of a count: of one, and of several.
_WORDS: Mapping[LeftOutReason, tuple[str, str]] = {
    "result": ("result", "results"),
    "hidden": ("hidden name", "hidden names"),
    "ending": ("file of another type", "files of other types"),
    "link": ("link to a folder", "links to folders"),
    "folder": ("folder", "folders"),
    "duplicate": ("source named twice", "sources named twice"),
    "irregular": ("special file", "special files"),
}


def in_words(left_out: Mapping[LeftOutReason, int]) -> str:
    """Counts by reason: "2 results, 1 hidden name"."""
    return ", ".join(
        f"{left_out[reason]} {words[left_out[reason] != 1]}"
        for reason, words in _WORDS.items()
        if left_out.get(reason)
    )
