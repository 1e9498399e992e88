"""Private files: ownership checks, and files locked for one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._storage.atomic_write import sync_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable

#: None on Windows.
_EFFECTIVE_USER: Callable[[], int] | None = getattr(os, "geteuid", None)
_ROOT = 0
_GROUP_AND_OTHERS, _OTHERS_WRITE = 0o077, 0o022


class UnexpectedFile(OSError):
    """The file is not a private file of this user; the message gives the reason."""


class HardLinked(UnexpectedFile):
    """The file has another hard link, in this folder or elsewhere."""


def open_private(path: str | os.PathLike[str], *, mode: int = 0o600, append: bool = False) -> int:
    """Open a private file, creating it if missing, and return its descriptor.

    Args:
        path: Path of the file. Its last component must not be a symbolic link.
        mode: Mode of a new file. If it allows others to read, an existing file may as well.
        append: Whether writes go to the end of the file.

    Raises:
        OSError: The file cannot be opened; `UnexpectedFile` if it is not private.
    """
    # Without O_NONBLOCK, opening a named pipe would block.
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else 0)
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    _refuse_link(path)
    descriptor = os.open(path, flags, mode)
    try:
        _check_status(path, os.fstat(descriptor), descriptor, private=not mode & _GROUP_AND_OTHERS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_private(path: str | os.PathLike[str]) -> None:
    """Check without opening it that a file is private.

    Raises:
        OSError: The file is missing; `UnexpectedFile` if it is not private.
    """
    _refuse_link(path)
    _check_status(path, os.lstat(path), path, private=True)


def _refuse_link(path: str | os.PathLike[str]) -> None:
    try:
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with contextlib.suppress(FileNotFoundError):
        os.stat(path)  # noqa: PTH116 - an error of the link's target is raised first
    raise UnexpectedFile("it is a symbolic link: name the file itself")


def _check_status(
    path: str | os.PathLike[str],
    status: os.stat_result,
    chmod_target: int | str | os.PathLike[str],
    *,
    private: bool,
) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise UnexpectedFile("it is no regular file")
    if _EFFECTIVE_USER is None:
        return
    if status.st_nlink > 1:
        raise HardLinked("it has a second name (a hard link): remove it, or name another file")
    foreign = status.st_uid not in {_EFFECTIVE_USER(), _ROOT}
    loose = private and bool(status.st_mode & _GROUP_AND_OTHERS)
    if not foreign and not loose:
        return
    default = _new_file_status(Path(path).parent)
    if foreign and (default is None or default.st_uid != status.st_uid):
        raise UnexpectedFile(
            f"it belongs to another user ({status.st_uid}), who may have put anything into it: "
            "run as that user, or name another file"
        )
    if not loose or (default is not None and default.st_mode & _GROUP_AND_OTHERS):
        return  # a file system without owners or modes: all files look the same
    if status.st_mode & _OTHERS_WRITE:
        raise UnexpectedFile(
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):o}), and may have put "
            "anything into it: remove it, or make it yours alone with chmod 600"
        )
    os.chmod(chmod_target, 0o600)  # noqa: PTH101 - also accepts a descriptor


def _new_file_status(folder: Path) -> os.stat_result | None:
    """Return the status of a new private file in a folder, or None if none can be created.

    Some file systems (exFAT, SMB) have one owner and one mode for all files, and some servers
    map root to another user.
    """
    probe = folder / f".diffio-{secrets.token_hex(4)}.tmp"
    try:
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError:
        return None


#: Error codes if another process has the lock.
_LOCKED_ERRNOS = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})

# Error codes of file systems without locks. Two processes that write there write the same bytes of
# one version to the same offsets, and the length and digest are checked at the end.
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})


def try_lock(descriptor: int) -> bool:
    """Lock an open file without waiting; return False if another process has it.

    Raises:
        OSError: The file system failed.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            # Far past the content: on Windows, a lock also prevents reading.
            os.lseek(descriptor, 2**30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        if failure.errno in _LOCKED_ERRNOS:
            return False
        if failure.errno not in _NO_LOCKS:
            raise
    return True


#: Whether open files can be removed. Windows cannot, so the file is closed first.
_REMOVES_OPEN_FILES = os.name != "nt"


class AlreadyInUse(OSError):
    """The file is locked by another process, or by another call of this process."""


class LockedFile:
    """Private file with an exclusive lock, which the system releases when the process ends.

    Methods block, and must be called by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    @property
    def exists(self) -> bool:
        """Whether a file of this name exists."""
        return os.path.lexists(self.path)

    @property
    def is_open(self) -> bool:
        """Whether the file is open and locked."""
        return self._descriptor >= 0

    def open(self) -> None:
        """Open and lock the file, creating it if missing.

        Raises:
            OSError: The file cannot be opened or locked; `AlreadyInUse` if another process has it,
                `UnexpectedFile` if it is not a private file of this user.
        """
        while True:
            descriptor = open_private(self.path)
            try:
                if not try_lock(descriptor):
                    raise AlreadyInUse
                # The previous owner may have removed the file after it was opened here.
                if self._is_current(descriptor):
                    self._descriptor = descriptor
                    return
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def read_start(self, max_bytes: int) -> bytes:
        """Return the first bytes of the file, at most `max_bytes`."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)

    def truncate(self, size: int) -> None:
        """Truncate the file to `size` bytes."""
        os.ftruncate(self._descriptor, size)

    def append(self, data: bytes) -> None:
        """Append all of `data` or nothing: half a line would corrupt the next one.

        Raises:
            OSError: The disk is full or was removed.
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
        """Flush written bytes to the disk."""
        sync_file(self._descriptor)

    def sync_folder(self) -> None:
        """Flush the name of the file to the disk, where the system supports it."""
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file and release its lock."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def remove(self) -> None:
        """Remove and close the file; ignore an error of the removal."""
        if not _REMOVES_OPEN_FILES:
            self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()
