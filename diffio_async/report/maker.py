"""Pages of a report: rows from worker processes, put together and published atomically."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import frozen

from diffio_async._storage.files import publish, try_lock
from diffio_async._storage.system_errors import reason_of
from diffio_async._store_url import StoreUrl
from diffio_async._stores.connection import obstore
from diffio_async._validators import local_path, one_of, positive_int
from diffio_async.batch.schema import absolute
from diffio_async.errors import ConfigurationError, InvalidTarget
from diffio_async.report.html import write_page
from diffio_async.report.scales import SCALES
from diffio_async.report.workers import Task, run_tasks
from diffio_async.types import OnConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from diffio_async.report.listing import Listing, Recording

#: A row of a page, by the names of its data.
Row = dict[str, Any]
#: Processes if the caller does not choose; each takes up to 100 MB.
_MAX_JOBS = 8
#: Bytes that a page may embed: browsers do not open much larger files.
MAX_EMBEDDED = 256 * 1024 * 1024
_HTML = {".html", ".htm"}
#: Prefix of the hidden folders in which pages are made, and the file that shows that one is in use.
_WORKING, _LOCK = ".diffio-report-", "in-use"
#: Names in the folder of a linked page: of its rows, and of the file managers of macOS and Windows.
_OWN_FILE = re.compile(r"r[0-9]+(?:\.js|-(?:before|after)\.(?:png|mp3))|\.DS_Store|Thumbs\.db")


@frozen(kw_only=True)
class Report:
    """A report that was written.

    Attributes:
        page: The HTML file.
        files: The folder of its files, None if the page contains everything.
        rows: What it shows of each recording.
    """

    page: Path
    files: Path | None
    rows: tuple[Row, ...]


def require_extra() -> None:
    """Check that PyAV and NumPy are installed.

    Raises:
        ConfigurationError: One of them is not.
    """
    missing = [name for name in ("av", "numpy") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"measuring sound needs {' and '.join(missing)}: install it with "
            "pip install 'diffio-async[report]'"
        )


def make_rows(
    listing: Listing,
    *,
    folder: Path | None = None,
    href: str | None = None,
    page: Path | None = None,
    jobs: int | None = None,
    on_row: Callable[[Row], object] | None = None,
    check: Callable[[], object] | None = None,
) -> list[Row]:
    """Measure the recordings of a listing in worker processes, and return a row for each.

    Args:
        listing: The recordings.
        folder: Where the files of a page are put; None if only numbers are needed.
        href: URL of that folder, from the page; None if the page contains everything.
        page: The page.
        jobs: Number of processes. Default: one for each core, at most 8.
        on_row: Called with each row when it is made, in any order; what it raises ends the work.
        check: Called several times a second; what it raises ends the work.

    Raises:
        ConfigurationError: PyAV, NumPy or, for objects, obstore is not installed, or `jobs` is
            below 1.
        InvalidTarget: The folder cannot be written.
    """
    require_extra()
    where: dict[str, Any] = {
        "folder": None if folder is None else str(folder),
        "href": href,
        "page": "" if page is None else str(page.parent),
    }
    rows: list[Row] = [{} for _ in listing.recordings]
    if jobs is None:
        jobs = min(os.cpu_count() or 1, _MAX_JOBS)
    positive_int.check("jobs", jobs)
    with _copies(listing, folder) as copies:
        tasks = [
            _task(number, each, **where, copies=copies)
            for number, each in enumerate(listing.recordings)
        ]
        with closing(run_tasks(tasks, min(jobs, len(tasks)))) as outcomes:
            for outcome in outcomes:
                if check is not None:
                    check()
                if outcome is None:
                    continue
                task, result = outcome
                if "failed" in result:
                    raise InvalidTarget(f"the report cannot be written: {result['failed']}")
                row = rows[task.number] = _row(task.id, listing.recordings[task.number], result)
                if on_row is not None:
                    on_row(row)
    return rows


@contextmanager
def _copies(listing: Listing, folder: Path | None) -> Iterator[str | None]:
    """Create a temporary folder for copies of objects, beside `folder`, if any is listed."""
    places = (place for each in listing.recordings for place in (each.before, each.after))
    if not any(isinstance(place, StoreUrl) for place in places):
        yield None
        return
    obstore()
    with tempfile.TemporaryDirectory(dir=None if folder is None else folder.parent) as copies:
        yield copies


def _task(number: int, recording: Recording, **where: Any) -> Task:
    paths: dict[str, Any] = {
        name: None if (path := getattr(recording, name)) is None else str(path)
        for name in ("before", "after", "transcript")
    }
    return Task(number=number, **paths, **where)


def _row(number: str, recording: Recording, result: Row) -> Row:
    """Return the row of a recording; a worker that died leaves it without sides."""
    if "crashed" in result:
        result = {"warnings": [result["crashed"]], "state": "damaged"}
    before, after = result.get("before"), result.get("after")
    known = before or after
    problem = recording.problem
    return {
        "id": number,
        "name": recording.name,
        "path": recording.source,
        "file_id": recording.file_id,
        "generation": recording.generation,
        "state": result.get("state") or recording.state,
        "seconds": None if known is None else known["duration"],
        "billed": recording.billed,
        "model": recording.model,
        "worker": recording.worker,
        "gain": result.get("gain"),
        "error": None if problem is None else {"message": problem.message, "next": problem.next},
        "warnings": [*recording.warnings, *result["warnings"]],
        "before": before,
        "after": after,
        "details": result.get("details") or None,
        "blocks": result.get("blocks") or {},
    }


def make_page(
    listing: Listing,
    output: str | os.PathLike[str],
    *,
    link: bool = False,
    on_conflict: OnConflict = "error",
    jobs: int | None = None,
    on_row: Callable[[Row], object] | None = None,
    check: Callable[[], object] | None = None,
) -> Report:
    """Write the page of a listing; it appears when it is complete, or not at all.

    Args:
        listing: The recordings.
        output: The HTML file.
        link: Whether to put pictures into a folder beside the page, and to play recordings where
            they are. Otherwise the page contains everything.
        on_conflict: Whether an existing page may be replaced.
        jobs: Number of processes. Default: one for each core, at most 8.
        on_row: As for `make_rows`.
        check: As for `make_rows`.

    Raises:
        ConfigurationError: PyAV or NumPy is not installed, or the page would be too large.
        InvalidTarget: The page exists, is not an HTML file, or cannot be written.
    """
    page = absolute(local_path(output, "the page"))
    files = page.with_name(f"{page.stem}_files") if link else None
    one_of(OnConflict).check("on_conflict", on_conflict)
    _check_target(page, files, on_conflict)
    with _working_folder(page) as working:
        folder = working / "files"
        folder.mkdir()
        href = None if files is None else f"./{quote(os.fsencode(files.name))}"
        embedded = 0

        def count(row: Row) -> None:
            nonlocal embedded
            embedded += sum(Path(path).stat().st_size for path in row["blocks"].values())
            if embedded > MAX_EMBEDDED:
                raise ConfigurationError(
                    f"the page would contain more than {MAX_EMBEDDED / 1e6:.0f} MB of sound and "
                    "pictures, which browsers do not open: put them into a folder beside it with "
                    "link=True"
                )
            if on_row is not None:
                on_row(row)

        rows = make_rows(
            listing, folder=folder, href=href, page=page, jobs=jobs, on_row=count, check=check
        )
        try:
            _write(listing, rows, working / "page.html", linked=link)
            _publish(working, page, files, on_conflict)
        except OSError as failure:
            raise _not_written(page, failure) from failure
    return Report(page=page, files=files, rows=tuple(rows))


def _check_target(page: Path, files: Path | None, on_conflict: OnConflict) -> None:
    """Check before anything is measured that the page can be written."""
    try:
        if page.is_dir() or not page.parent.is_dir():
            problem = "is a folder" if page.is_dir() else "is in a folder that does not exist"
            raise InvalidTarget(
                f"{str(page)!r} {problem}: name an HTML file in a folder that exists"
            )
        if page.suffix.lower() not in _HTML:  # it might be a recording, or the journal
            raise InvalidTarget(
                f"{str(page)!r} is not an HTML file: name a page, such as page.html"
            )
        existing = [path for path in (page, files) if path is not None and os.path.lexists(path)]
    except (OSError, ValueError) as failure:
        raise _not_written(page, failure) from failure
    if existing and on_conflict == "error":
        raise InvalidTarget(f"{str(existing[0])!r} exists: on_conflict='overwrite' replaces it")
    if files is not None and files in existing:
        _check_replaceable(files)


def _check_replaceable(folder: Path) -> None:
    """Check that a folder contains the files of a report only.

    Raises:
        InvalidTarget: It contains others, or is not a folder.
    """
    try:
        others = [each.name for each in folder.iterdir() if not _OWN_FILE.fullmatch(each.name)]
    except OSError as failure:
        raise InvalidTarget(
            f"{str(folder)!r} cannot be replaced: {reason_of(failure)}. Name another page"
        ) from failure
    if others:
        raise InvalidTarget(
            f"{str(folder)!r} contains {others[0]!r}, which is not of a report, and is not "
            "replaced: name another page"
        )


def _not_written(page: Path, failure: Exception) -> InvalidTarget:
    return InvalidTarget(f"the report {str(page)!r} cannot be written: {reason_of(failure)}")


@contextmanager
def _working_folder(page: Path) -> Iterator[Path]:
    """Create a hidden folder beside the page, and remove it at the end."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=_WORKING, dir=page.parent))
        lock = _lock(folder)
    except OSError as failure:
        raise _not_written(page, failure) from failure
    try:
        _remove_stale(folder)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> int:
    """Return an open file in the folder that is locked as long as this process lives."""
    unlocked = folder / f"{_LOCK}.new"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try_lock(descriptor)
    # Under this name, a file that is not locked is one of a process that has ended.
    unlocked.rename(folder / _LOCK)
    return descriptor


def _remove_stale(own: Path) -> None:
    """Remove folders that killed processes of the same user left beside this one."""
    if not _is_in_use(own):  # a file system without locks
        return
    for folder in own.parent.glob(f"{_WORKING}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == own.stat().st_uid and not _is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_in_use(folder: Path) -> bool:
    descriptor = os.open(folder / _LOCK, os.O_RDWR)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def _write(listing: Listing, rows: list[Row], target: Path, *, linked: bool) -> None:
    blocks = [block for row in rows for block in row.pop("blocks").items()]
    # The title is that of a folder, which may have bytes that are not UTF-8.
    with target.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        write_page(file, _data(listing, rows), _contents(blocks), linked=linked)


def _contents(blocks: Iterable[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    for block, path in blocks:
        yield block, Path(path).read_bytes()


def _data(listing: Listing, rows: list[Row]) -> Mapping[str, Any]:
    return {
        "version": 1,
        "title": listing.title,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "kind": listing.kind,
        "key": listing.key,
        "notes": list(listing.notes),
        **SCALES,
        "rows": rows,
    }


def _publish(working: Path, page: Path, files: Path | None, on_conflict: OnConflict) -> None:
    """Give the page and its folder their names; the folder first, since the page needs it."""
    if files is not None:
        if files.is_dir() and not files.is_symlink():
            files.rename(working / "replaced")
        (working / "files").rename(files)
    try:
        publish(working / "page.html", page, on_conflict)
    except OSError:
        if files is not None:
            shutil.rmtree(files, ignore_errors=True)
        raise
