"""Folder of a batch's results on a local disk: conflicts, and the preparation of downloads.

All functions block.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async import _system
from diffio_async._storage.files import make_folder, sibling_path
from diffio_async._storage.system_errors import reason_of
from diffio_async.batch.schema import check_inside
from diffio_async.batch.sources import check_videos_possible
from diffio_async.errors import InvalidTarget

if TYPE_CHECKING:
    from diffio_async.batch.executor import RecordingOrder, ResultOrder
    from diffio_async.batch.schema import ResultPath


def keeps_all_results(order: RecordingOrder) -> bool:
    """Return whether all results of a recording exist and must not be replaced.

    Raises:
        InvalidSource: The recording cannot have a result of this type.
        InvalidTarget: A path is used by another file, or is not writable.
    """
    check_videos_possible({each.download_type for each in order.results}, order.path)
    foreign = _foreign_results(order.results, Path(order.root))
    if foreign and order.on_conflict == "error":
        raise InvalidTarget(
            f"{foreign[0]!r} exists and was not written by this batch. Choose another folder, or "
            "set on_conflict='overwrite' or 'skip' (--on-conflict)"
        )
    return bool(foreign) and order.on_conflict == "skip" and len(foreign) == len(order.results)


def _foreign_results(results: tuple[ResultPath, ...], root: Path) -> list[str]:
    """Return the paths where files exist that the batch did not write.

    Raises:
        InvalidTarget: A folder is not writable.
    """
    paths = [Path(each.path) for each in results]
    for path in paths:
        check_inside(root, path)
    for folder in {path.parent for path in paths}:
        try:
            existing = next(each for each in (folder, *folder.parents) if each.exists())
            if _system.is_read_only(existing):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # noqa: TRY301 - as below
            usable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        except OSError as failure:
            raise _folder_problem(str(folder), failure) from failure
        if not usable:
            raise InvalidTarget(f"{str(existing)!r} is not a writable folder")
    return [each.path for each in results if _foreign_exists(each.path, each.owned, each.bytes)]


def _foreign_exists(path: str, owned: bool, size: int | None) -> bool:
    """Whether a file exists at `path` that the batch did not write (or that has changed)."""
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as failure:
        raise _folder_problem(path, failure) from failure
    return not owned or (size is not None and status.st_size != size)


def _folder_problem(path: str, failure: OSError | ValueError) -> InvalidTarget:
    return InvalidTarget(f"{path!r} cannot be written: {reason_of(failure)}")


def prepare_result(order: ResultOrder) -> None:
    """Create the folder of a result, and remove what a killed run left beside it.

    Raises:
        InvalidTarget: The path is used by another file, or the folder cannot be created.
    """
    path = Path(order.path)
    check_inside(Path(order.root), path)
    try:
        make_folder(path.parent)
    except OSError as failure:
        raise InvalidTarget(
            f"the folder {str(path.parent)!r} cannot be created: {reason_of(failure)}"
        ) from failure
    if order.owned:
        _remove_partials(path)
    if order.on_conflict == "error" and _foreign_exists(order.path, order.owned, order.bytes):
        raise InvalidTarget(
            f"{order.path!r} exists and was not written by this batch. Move it away and run the "
            "batch again to download the result, which is already paid for"
        )


def _remove_partials(path: Path) -> None:
    """Remove the partial file that a killed run may have left beside the result."""
    ending = "0" * 8 + ".part"
    known = re.escape(sibling_path(path, ending).name.removesuffix(ending))
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if re.fullmatch(known + "[0-9a-f]{8}[.]part", entry.name):
                entry.unlink(missing_ok=True)


def kept_size(order: ResultOrder) -> int | None:
    """Return the size of an existing file that must be kept, None if absent.

    Raises:
        InvalidTarget: The path leads out of the folder, or cannot be read.
    """
    path = Path(order.path)
    check_inside(Path(order.root), path)
    if not _foreign_exists(order.path, order.owned, order.bytes):
        return None
    try:
        return path.stat().st_size
    except OSError as failure:
        raise InvalidTarget(f"{order.path!r} cannot be read: {reason_of(failure)}") from failure
