"""Recordings that a batch is given: glob patterns, and manifests in CSV or JSON Lines."""

from __future__ import annotations

import csv
import fnmatch
import glob
import json
import os
import reprlib
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TextIO

from diffio_async._storage.system_errors import reason_of, shortage_of
from diffio_async._store_url import StoreUrl, location_of
from diffio_async._validators import local_path
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import BatchItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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
            named = [each for each in entries if fits(each[0], part)]
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


def fits(name: str, part: str) -> bool:
    """Return whether a name matches one part of a pattern."""
    return (part.startswith(".") or not name.startswith(".")) and fnmatch.fnmatch(name, part)


_COLUMNS = ("source", "to", "model", "sampling", "params")
#: Maximum characters of a line; the settings of one recording are a few hundred.
_MAX_LINE_LENGTH = 1024 * 1024
_JSON_LINES_SUFFIXES = frozenset({".jsonl", ".ndjson"})


def is_manifest(path: str) -> bool:
    """Whether a path has the suffix of a manifest."""
    return Path(path).suffix.lower() in {".csv", *_JSON_LINES_SUFFIXES}


def read_manifest(path: str) -> Iterator[tuple[str, BatchItem]]:
    """Yield the location of each row ("files.csv, line 2") and its item; blocks.

    A relative source is relative to the folder of the manifest.

    Raises:
        ConfigurationError: The manifest cannot be read, or a column or a value is invalid.
    """
    if "\0" in path:
        raise ConfigurationError(f"{path!r} cannot be the name of a file")
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            by_line = _json_rows if Path(path).suffix.lower() in _JSON_LINES_SUFFIXES else _csv_rows
            for line, row in by_line(path, _lines(path, file)):
                where = f"{path}, line {line}"
                yield where, _item(where, row, Path(path).parent)
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise ConfigurationError(
            f"the manifest {path!r} cannot be read: {reason_of(failure)}"
        ) from failure


def _lines(path: str, file: TextIO) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        ConfigurationError: A line is too long.
    """
    number = 0
    while line := file.readline(_MAX_LINE_LENGTH + 1):
        number += 1
        if len(line) > _MAX_LINE_LENGTH:
            raise ConfigurationError(
                f"{path}, line {number}: the line has more than {_MAX_LINE_LENGTH:,} characters"
            )
        yield line


def _csv_rows(path: str, file: Iterator[str]) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(file, strict=True)
    _check_columns(f"{path}, line 1", reader.fieldnames or ())
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row:
            raise ConfigurationError(f"{where}: there are more values than columns")
        values: dict[str, object] = {name: value for name, value in row.items() if value}
        for name in ("sampling", "params"):
            if name in values:
                values[name] = _parsed(where, name, str(values[name]))
        yield reader.line_num, values


def _json_rows(path: str, file: Iterator[str]) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            where = f"{path}, line {number}"
            row = _parsed(where, "line", line)
            if not isinstance(row, dict):
                raise ConfigurationError(f"{where}: expected a JSON object")
            _check_columns(where, row)
            yield number, {name: value for name, value in row.items() if value is not None}


def _check_columns(where: str, names: object) -> None:
    found = [str(name) for name in names] if isinstance(names, (list, tuple, dict)) else []
    wrong = [name for name in found if name not in _COLUMNS]
    if wrong or "source" not in found:
        problem = (
            f"{reprlib.repr(wrong[0])} is not a column of a manifest"
            if wrong
            else "'source' is missing"
        )
        raise ConfigurationError(f"{where}: {problem}; the columns are {', '.join(_COLUMNS)}")


def _parsed(where: str, name: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise ConfigurationError(f"{where}: {name} is not valid JSON: {failure}") from None


def _item(where: str, row: Mapping[str, object], folder: Path) -> BatchItem:
    for name, value in row.items():
        expected = dict if name in {"sampling", "params"} else str
        if not isinstance(value, expected):
            type_name = "a JSON object" if expected is dict else "text"
            shown = reprlib.repr(value)
            raise ConfigurationError(f"{where}: {name} must be {type_name}, not {shown}")
    if not row.get("source"):
        raise ConfigurationError(f"{where}: the source is missing")
    source = location_of(str(row["source"]), f"{where}: source")
    if isinstance(source, StoreUrl):
        check_source_url(source, f"{where}: source")
    local_path(str(row.get("to") or ""), f"{where}: to")
    texts = {name: str(row[name]) if name in row else None for name in ("to", "model")}
    maps = {name: row.get(name) for name in ("sampling", "params")}
    return BatchItem(
        source=str(source) if isinstance(source, StoreUrl) else folder / source,
        to=texts["to"],
        model=texts["model"],
        sampling=maps["sampling"] if isinstance(maps["sampling"], dict) else None,
        params=maps["params"] if isinstance(maps["params"], dict) else None,
    )


def check_source_url(url: StoreUrl, what: str) -> None:
    """Check that a batch can keep the address of a source in its journal.

    Raises:
        ConfigurationError: It has a query, which may be a signature, or is a manifest.
    """
    if url.query:
        raise ConfigurationError(
            f"{what}, {url}, has a query, which may be a credential and is not kept in a journal: "
            "name the bucket with s3://, or restore it alone with 'restore'"
        )
    if is_manifest(url.name):
        raise ConfigurationError(
            f"{what}, {url}, is a manifest in a store: download it first, and name the local file"
        )
