"""Reports of restorations: measurements, and a page to see and hear what was restored.

Needs the extra `report` (PyAV and NumPy). All functions block: call them in a thread from a
coroutine (`asyncio.to_thread`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diffio_async._protocol.media_types import RECORDING_ENDINGS
from diffio_async._storage.files import suffix_of
from diffio_async._store_url import is_store_url, location_of
from diffio_async._validators import local_path
from diffio_async.batch.journal import journal_at
from diffio_async.errors import ConfigurationError
from diffio_async.report.journal import list_batch
from diffio_async.report.listing import (
    Listing,
    Problem,
    Recording,
    list_folders,
    list_pairs,
)
from diffio_async.report.maker import Report, Row, make_page, make_rows, require_extra
from diffio_async.report.numbers import Numbers, gain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from diffio_async.types import OnConflict

__all__ = [
    "Listing",
    "Numbers",
    "Problem",
    "Recording",
    "Report",
    "find_recordings",
    "gain",
    "list_batch",
    "list_folders",
    "list_pairs",
    "make_report",
    "make_rows",
    "measure",
]

#: A path in any form.
AnyPath = str | os.PathLike[str]


def find_recordings(before: AnyPath, after: AnyPath | None = None) -> Listing:
    """Return the recordings of a report, and their results.

    Args:
        before: A recording, a folder of recordings, the journal of a batch, or its folder. A
            recording and its result may be URLs of objects; folders are local.
        after: The result of the recording, or the folder of the results. Without it, results are
            expected beside the recordings.

    Raises:
        ConfigurationError: There are no recordings with results, or a path cannot be read.
        DatabaseError: The journal cannot be read.
    """
    if after is not None:
        are_folders = os.path.isdir(before) and os.path.isdir(after)  # noqa: PTH112 - any text
        return list_folders(before, after) if are_folders else list_pairs([(before, after)])
    if is_store_url(before):
        url = location_of(before, "the path")
        raise ConfigurationError(
            f"{url} is not on this machine, where results are looked for: name the journal of the "
            "batch, or a recording and its result"
        )
    path = local_path(before, "the path")
    if not os.path.lexists(path):
        raise ConfigurationError(f"there is no file or folder {path!r}: check the path")
    if os.path.isdir(path):  # noqa: PTH112 - any text
        has_journal = os.path.isfile(journal_at(path))  # noqa: PTH113 - no error if unreadable
        return list_batch(path) if has_journal else list_folders(path)
    if suffix_of(path).lower() in RECORDING_ENDINGS:
        raise ConfigurationError(f"{path!r} is a recording: name its result too, or a folder")
    return list_batch(path)


def measure(path: AnyPath) -> Numbers:
    """Return the levels of a recording.

    Raises:
        ConfigurationError: PyAV or NumPy is not installed.
        InvalidSource: The file cannot be read, or contains no sound.
    """
    require_extra()
    from diffio_async.report.analysis import measure_file

    return measure_file(local_path(path, "the recording"))


def make_report(
    recordings: Listing | AnyPath | Iterable[tuple[AnyPath, AnyPath]],
    output: AnyPath,
    *,
    link: bool = False,
    on_conflict: OnConflict = "error",
    jobs: int | None = None,
    on_row: Callable[[Row], object] | None = None,
) -> Report:
    """Write an HTML page to see and hear recordings before and after.

    The page appears when it is complete, or not at all.

    Args:
        recordings: What `find_recordings` returned or accepts (a folder, a journal), or pairs of a
            recording and its result.
        output: The HTML file.
        link: Whether to put pictures into the folder `NAME_files` beside the page, and to play
            recordings where they are. Otherwise the page contains everything.
        on_conflict: `overwrite` replaces an existing page.
        jobs: Number of processes. Default: one for each core, at most 8.
        on_row: Called with each row when it is measured, in any order; what it raises ends the
            work.

    Raises:
        ConfigurationError: There are no recordings with results; PyAV or NumPy is not installed;
            or the page would be too large without `link`.
        DatabaseError: The journal cannot be read.
        InvalidTarget: The page exists, or cannot be written.
    """
    if isinstance(recordings, (str, os.PathLike)):
        listing = find_recordings(recordings)
    elif isinstance(recordings, Listing):
        listing = recordings
    else:
        listing = list_pairs(recordings)
    return make_page(listing, output, link=link, on_conflict=on_conflict, jobs=jobs, on_row=on_row)
