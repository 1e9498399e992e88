"""Durable and atomic writes: a temporary sibling file is synced, then renamed or linked."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from diffio_async._storage.local_paths import truncate_name

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.types import OnConflict

if sys.platform == "darwin":
    import fcntl


def sync_file(descriptor: int) -> None:
    """Flush the bytes of an open file to the disk.

    Raises:
        OSError: The disk is full or was removed.
    """
    if sys.platform == "darwin":
        # On macOS, fsync leaves the bytes in the drive's cache.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the system supports it.

    Without it, a power cut may lose the name of a file whose bytes are safe. Errors are ignored:
    some network file systems cannot do it, and a folder may be writable but not readable.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# Error codes of file systems without hard links.
_NO_LINKS = frozenset(
    {
        errno.EPERM,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EMLINK,
        errno.EACCES,
        errno.EINVAL,
    }
)


def sibling_path(target: Path, suffix: str) -> Path:
    """Return a hidden path in the same folder, so that publishing is a rename."""
    return target.with_name(truncate_name(f".{target.name}", f".{suffix}"))


def create_exclusive(path: Path) -> int:
    """Create a file and return a descriptor for reading and writing.

    Raises:
        OSError: The file exists or cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)  # reduced by the umask, as for any new file


def publish(temporary: Path, target: Path, on_conflict: OnConflict) -> None:
    """Give the temporary file its final name; a hard link may keep the temporary name as well.

    Raises:
        FileExistsError: The target exists and may not be replaced.
        OSError: The file cannot be renamed or linked.
    """
    if on_conflict == "overwrite":
        temporary.replace(target)
    else:
        _link_once(temporary, target)
    sync_folder(target.parent)


def _link_once(temporary: Path, target: Path) -> None:
    """Publish only if the target does not exist: a link fails where a rename would replace."""
    try:
        target.hardlink_to(temporary)
    except (OSError, NotImplementedError) as failure:
        if isinstance(failure, OSError) and failure.errno not in _NO_LINKS:
            raise
        os.close(create_exclusive(target))
        try:
            temporary.replace(target)
        except BaseException:
            # Remove the empty file that reserved the name: it would pass for a result.
            target.unlink(missing_ok=True)
            raise
