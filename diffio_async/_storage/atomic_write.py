"""A file beside the target, and its step under the target's name: at once, and only when whole."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from diffio_async._storage.file_names import shortened
from diffio_async._storage.syncing import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.types import OnConflict

# File systems that know no hard links answer with one of these.
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


def sibling_path(target: Path, ending: str) -> Path:
    """A hidden name in the same folder, so that the last step is a rename."""
    return target.with_name(shortened(f".{target.name}", f".{ending}"))


def create_exclusive(path: Path) -> int:
    """A new file, open for reading and writing.

    Raises:
        OSError: It cannot be made, or is there already.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)  # the umask decides, as it does for any new file


def publish(temporary: Path, target: Path, on_conflict: OnConflict) -> None:
    """Give the file its name; the old one may stay for another name of it.

    Raises:
        FileExistsError: Somebody has the name, and may keep it.
        OSError: The folder or the name stands in the way.
    """
    if on_conflict == "overwrite":
        temporary.replace(target)
    else:
        _link_once(temporary, target)
    sync_folder(target.parent)


def _link_once(temporary: Path, target: Path) -> None:
    """Only if nobody has the name: a link fails where a rename would replace."""
    try:
        target.hardlink_to(temporary)
    except (OSError, NotImplementedError) as failure:
        if isinstance(failure, OSError) and failure.errno not in _NO_LINKS:
            raise
        os.close(create_exclusive(target))
        try:
            temporary.replace(target)
        except BaseException:
            # The name was only held for the result; an empty file under it would pass for one.
            target.unlink(missing_ok=True)
            raise
