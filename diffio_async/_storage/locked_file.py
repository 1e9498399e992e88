"""A small private file that one process at a time has open, and that goes when it is of no use."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from diffio_async._storage.file_lock import try_lock
from diffio_async._storage.private_files import opened_private
from diffio_async._storage.syncing import sync, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

#: Where nobody removes what is open (Windows), it is closed first.
_REMOVED_WHILE_OPEN = os.name != "nt"


class InUse(OSError):
    """Another process, or another call of this one, has the file."""


class LockedFile:
    """The file is its own lock, which ends with the process, however that ends.

    Its methods block; one thread at a time may call them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    @property
    def there(self) -> bool:
        """Whether something stands under its name."""
        return os.path.lexists(self.path)

    @property
    def mine(self) -> bool:
        """Whether it is open, and so nobody else's."""
        return self._descriptor >= 0

    def open(self) -> None:
        """Open it for this process alone, made where there is none.

        Raises:
            OSError: The file cannot be opened or locked; `AlreadyInUse` if another process has it,
                `UnexpectedFile` if it is not a private file of this user.
        """
        while True:
            descriptor = opened_private(self.path)
            try:
                if not try_lock(descriptor):
                    raise InUse
                # Whoever had it before may have finished and removed it meanwhile.
                if self._stands(descriptor):
                    self._descriptor = descriptor
                    return
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def _stands(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def start(self, most: int) -> bytes:
        """Its first bytes, `most` at most."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            return file.read(most)

    def cut(self, size: int) -> None:
        """Only so many bytes stay."""
        os.ftruncate(self._descriptor, size)

    def append(self, data: bytes) -> None:
        """Write at the end, all or nothing: half a line would spoil the next one.

        Raises:
            OSError: The disk is full, or gone.
        """
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise

    def sync(self) -> None:
        """What was written is on the disk when this returns."""
        sync(self._descriptor)

    def sync_name(self) -> None:
        """Its name is on the disk when this returns, where the system can do that."""
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def remove(self) -> None:
        """It is of no more use; where it cannot be removed, it stays."""
        if not _REMOVED_WHILE_OPEN:
            self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()
