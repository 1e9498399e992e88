"""Glob patterns: the paths that match one, and the folders that cannot be read."""

from __future__ import annotations

import fnmatch
import glob
import os
from pathlib import PurePath
from typing import TYPE_CHECKING

from diffio_async._storage.system_errors import shortage_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def glob_base(pattern: str) -> str:
    """Return the folder that a pattern starts from, "" for the current one."""
    return str(PurePath(*_split(pattern)[0])) if _split(pattern)[0] else ""


def expand_glob(pattern: str) -> Iterator[tuple[str, OSError | None]]:
    """Yield each path that matches, and each folder that cannot be read with its error; blocks.

    Each folder is visited once, however many links lead to it. `**` matches any number of folders.
    Names that start with a dot match only a part of the pattern that starts with one too.
    """
    parts = _split(pattern)[1]
    if parts and parts[-1] == "**":
        parts.append("*")
    yield from _expand(glob_base(pattern), tuple(parts), set())


def _split(pattern: str) -> tuple[list[str], list[str]]:
    parts = list(PurePath(pattern).parts)
    magic = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return parts[:magic], parts[magic:]


def _expand(
    start: str, pattern: tuple[str, ...], visited: set[tuple[int, int, int]]
) -> Iterator[tuple[str, OSError | None]]:
    # A stack, because folders may be nested deeper than Python's recursion limit.
    waiting = [(start, 0)]
    while waiting:
        folder, at = waiting.pop()
        part, last = pattern[at], at + 1 == len(pattern)
        if not glob.has_magic(part):
            path = os.path.join(folder, part)  # noqa: PTH118 - any text
            if last and os.path.lexists(path):
                yield path, None
            elif not last:
                waiting.append((path, at + 1))
            continue
        try:
            status = os.stat(folder or os.curdir)  # noqa: PTH116
            key = (at, status.st_dev, status.st_ino)
            if key in visited:
                continue
            visited.add(key)
            entries = _glob_entries(folder)
        except (NotADirectoryError, FileNotFoundError):
            continue
        except OSError as failure:
            if shortage_of(failure) is not None:
                raise
            yield folder, failure
            continue
        if part == "**":
            # Match `**` again in each sub-folder, and the next part in this folder.
            deeper = [(name, at) for name, is_folder in entries if is_folder and name[:1] != "."]
        else:
            named = [each for each in entries if _fits(each[0], part)]
            for name, is_folder in named if last else ():
                del is_folder
                yield os.path.join(folder, name), None  # noqa: PTH118
            deeper = [(name, at + 1) for name, is_folder in named if is_folder and not last]
        waiting += [(os.path.join(folder, name), n) for name, n in reversed(deeper)]  # noqa: PTH118
        if part == "**":
            waiting.append((folder, at + 1))


def _glob_entries(folder: str) -> list[tuple[str, bool]]:
    """Return names and whether each is a folder; links come last, so that real paths win."""
    with os.scandir(folder or os.curdir) as entries:
        found = [(entry.is_symlink(), entry.name, _leads_to_folder(entry)) for entry in entries]
    return [(name, is_folder) for _, name, is_folder in sorted(found)]


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _fits(name: str, part: str) -> bool:
    return (part.startswith(".") or not name.startswith(".")) and fnmatch.fnmatch(name, part)
