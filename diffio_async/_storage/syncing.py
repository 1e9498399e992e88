"""Make sure that what was written is on the disk: the bytes of a file, and a name in a folder."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "darwin":
    import fcntl


def sync(descriptor: int) -> None:
    """The bytes of an open file are on the disk when this returns.

    Raises:
        OSError: The disk is full, or gone.
    """
    if sys.platform == "darwin":
        # There, an fsync leaves the bytes in the drive's memory.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk when this returns, where that can be.

    Without it, a power cut may lose the name of a file whose bytes are safe. Some network file
    systems cannot, and a folder may be writable but not readable: the file itself is safe.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
