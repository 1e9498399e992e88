"""Recordings of a report: pairs of files, found by name in folders."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from diffio_async._protocol.media_types import RECORDING_ENDINGS
from diffio_async._storage.system_errors import reason_of
from diffio_async._store_url import Place, StoreUrl, location_of
from diffio_async._validators import local_path
from diffio_async.batch.schema import absolute
from diffio_async.errors import ConfigurationError
from diffio_async.report.objects import check_readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What happened to a recording; `missing`: there is no file where the result should be, `damaged`:
#: a file cannot be decoded.
State = Literal["restored", "failed", "waiting", "skipped", "missing", "damaged"]
_MARK = ".restored"
_TRANSCRIPT = ".json"


@frozen(kw_only=True)
class Problem:
    """Why a recording was not restored, and what to do next."""

    message: str
    next: str = ""


@frozen(kw_only=True)
class Recording:
    """A recording, its results, and what is known of its restoration.

    Attributes:
        name: Path relative to the folder of the report.
        source: Absolute path or URL of the recording, also if it no longer exists.
        before: The recording, a file or an object of a store; None if it is unknown.
        after: The result, None if absent.
        file_id: Its number in the journal of a batch.
        generation: Id of its generation.
        billed: Seconds that were billed at least.
        worker: Address of the worker of a cluster that stored its result.
    """

    name: str
    source: str
    before: Place | None
    after: Place | None
    transcript: Place | None = None
    state: State = "restored"
    file_id: int | None = None
    generation: str | None = None
    model: str | None = None
    billed: float | None = None
    worker: str | None = None
    problem: Problem | None = None
    warnings: tuple[str, ...] = ()


@frozen(kw_only=True)
class Listing:
    """The recordings of a report.

    Attributes:
        key: Digest of where they are, the same in the next report of the same recordings.
        notes: What was found but is not listed.
    """

    kind: Literal["pair", "folder", "batch"]
    title: str
    key: str
    recordings: tuple[Recording, ...]
    notes: tuple[str, ...] = ()


def list_pairs(pairs: Iterable[tuple[str | os.PathLike[str], str | os.PathLike[str]]]) -> Listing:
    """Return a listing of recordings and their results, given as files or as URLs of objects.

    Raises:
        ConfigurationError: There are no pairs, a path is not a file, or a URL is invalid.
    """
    recordings: list[Recording] = []
    for before, after in pairs:
        source, result = _file(before, "the recording"), _file(after, "the result")
        recordings.append(
            Recording(name=source.name, source=str(source), before=source, after=result)
        )
    if not recordings:
        raise ConfigurationError("there are no pairs: name a recording and its result")
    first = recordings[0]
    return Listing(
        kind="pair",
        title=first.name if len(recordings) == 1 else f"{len(recordings)} recordings",
        key=key_of(*(f"{each.source}\0{each.after}" for each in recordings)),
        recordings=tuple(recordings),
    )


def list_folders(
    before: str | os.PathLike[str], after: str | os.PathLike[str] | None = None
) -> Listing:
    """Return a listing of the recordings in a folder, and their results there or in another one.

    The result of `a/talk.wav` is `a/talk.restored.mp3`. In another folder it may also be
    `a/talk.mp3` or `a/talk.wav`.

    Raises:
        ConfigurationError: A folder cannot be read, or contains no result.
    """
    source_folder = _folder(before)
    result_folder = source_folder if after is None else _folder(after)
    notes: list[str] = []
    sources = _files_by_folder(source_folder, notes)
    results = sources if after is None else _files_by_folder(result_folder, notes)
    recordings: list[Recording] = []
    for below in sorted({*sources, *results}):
        found = _matched(sources[below], results[below], is_same=after is None)
        recordings += (_recording(source_folder, result_folder, below, match) for match in found)
    if not any(each.after for each in recordings):
        raise ConfigurationError(
            f"there is no restored recording in {str(result_folder)!r}: name the folder of a "
            "batch, two folders (of the recordings and of the results), or two files. The result "
            "of talk.wav is found by its name, talk.restored.mp3"
        )
    return Listing(
        kind="folder",
        title=result_folder.name or str(result_folder),
        key=key_of(str(source_folder), str(result_folder)),
        recordings=tuple(recordings),
        notes=tuple(notes),
    )


def key_of(*texts: str) -> str:
    """Return a digest of texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:16]


def _file(path: str | os.PathLike[str], what: str) -> Place:
    location = location_of(path, what)
    if isinstance(location, StoreUrl):
        if location.query:
            raise ConfigurationError(
                f"{what}, {location}, has a query, which may be a credential and is not kept in a "
                "report: download the file first"
            )
        check_readable(str(location))
        return location
    found = absolute(location)
    try:
        # `is_file` is False, from Python 3.14 on, where it may not look.
        problem = None if stat.S_ISREG(found.stat().st_mode) else "is not a file"
    except (FileNotFoundError, NotADirectoryError):
        problem = "does not exist"
    except (OSError, ValueError) as failure:
        raise ConfigurationError(
            f"{what} {str(found)!r} cannot be used: {reason_of(failure)}"
        ) from failure
    if problem:
        raise ConfigurationError(f"{what} {str(found)!r} {problem}: check the path")
    return found


def _folder(path: str | os.PathLike[str]) -> Path:
    found = absolute(local_path(path, "the folder"))
    try:
        os.scandir(found).close()
    except (OSError, ValueError) as failure:
        raise ConfigurationError(
            f"the folder {str(found)!r} cannot be read: {reason_of(failure)}"
        ) from failure
    return found


def _files_by_folder(root: Path, notes: list[str]) -> defaultdict[str, list[str]]:
    """Return the names of media files and transcripts by folder, relative to `root`.

    Folders of other reports are left out.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)

    def note(failure: OSError) -> None:
        notes.append(f"the folder {failure.filename!r} cannot be read: {reason_of(failure)}")

    for folder, folders, names in os.walk(root, onerror=note):
        pages = {f"{PurePath(name).stem}_files" for name in names if name.endswith(".html")}
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in pages
        )
        below = os.path.relpath(folder, root)
        media = {*RECORDING_ENDINGS, _TRANSCRIPT}
        found[below] = sorted(
            name
            for name in names
            if not name.startswith(".") and PurePath(name).suffix.lower() in media
        )
    return found


@frozen
class _Match:
    """Names of a recording and its results in one folder."""

    source: str | None
    results: list[str] = field(factory=list)
    warnings: tuple[str, ...] = ()


def _matched(sources: list[str], results: list[str], *, is_same: bool) -> Iterator[_Match]:
    """Yield each recording with its results, and each result without a recording."""
    if is_same:
        results = [name for name in sources if PurePath(name).stem.endswith(_MARK)]
    given = {*results} if is_same else set[str]()
    recordings = [name for name in sources if name not in given and not name.endswith(_TRANSCRIPT)]
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in recordings:
        for spelling in {name, PurePath(name).stem}:
            by_name[spelling].append(name)
    found: dict[str, list[str]] = {name: [] for name in recordings}
    alone: dict[str, _Match] = {}
    for result in results:
        stem = PurePath(result).stem
        candidates = by_name.get(stem.removesuffix(_MARK)) or by_name.get(stem) or []
        if len(candidates) == 1:
            found[candidates[0]].append(result)
            continue
        several = f"{' and '.join(candidates)} could each be its recording: name both files"
        match = alone.setdefault(stem, _Match(None, [], (several,) if candidates else ()))
        match.results.append(result)
    for name, its in found.items():
        yield _Match(name, its)
    yield from (match for match in alone.values() if not _only_transcripts(match.results))


def _only_transcripts(names: list[str]) -> bool:
    return all(name.endswith(_TRANSCRIPT) for name in names)


def _recording(sources: Path, results: Path, below: str, match: _Match) -> Recording:
    media = [name for name in match.results if not name.endswith(_TRANSCRIPT)]
    # The sound before the video, and a name that only a result has before one that others have.
    media.sort(key=lambda name: (_MARK not in name, not name.lower().endswith(".mp3"), name))
    transcript = next((name for name in match.results if name.endswith(_TRANSCRIPT)), None)
    after = results / below / media[0] if media else None
    warnings = match.warnings
    if len(media) > 1:
        warnings += (f"other results are not shown: {', '.join(media[1:])}",)
    before = None if match.source is None else sources / below / match.source
    return Recording(
        name=os.path.normpath(os.path.join(below, match.source or media[0])),  # noqa: PTH118
        source=str(before or after),
        before=before,
        after=after,
        transcript=None if transcript is None else results / below / transcript,
        state="missing" if after is None else "restored",
        problem=None
        if after is not None
        else Problem(
            message=f"there is no result of it in {str(results / below)!r}",
            next="restore it, or check that the two folders belong together",
        ),
        warnings=warnings,
    )
