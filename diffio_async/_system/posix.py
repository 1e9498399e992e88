"""Linux, macOS and other POSIX systems."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import struct
import sys
import termios
from typing import TYPE_CHECKING, Literal

assert sys.platform != "win32"  # noqa: S101 - for type checkers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Signal for a closed terminal; None if the system has none.
HANGUP: int | None = signal.SIGHUP
#: Whether a file can be renamed and removed while it is open.
MOVES_OPEN_FILES = True
#: Characters that separate the components of a path.
PATH_SEPARATORS = "/"


def effective_user() -> int | None:
    """Return the id of the effective user, or None if files have no such owner."""
    return os.geteuid()


def process_exists(pid: int) -> bool | None:
    """Return whether a process of this machine exists, or None if that is not known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def register_at_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """Register functions for forks of this process, if the system has forks."""
    hooks = {
        "before": before,
        "after_in_parent": after_in_parent,
        "after_in_child": after_in_child,
    }
    os.register_at_fork(**{name: hook for name, hook in hooks.items() if hook is not None})


def resource_limit(name: Literal["RLIMIT_FSIZE", "RLIMIT_NOFILE"]) -> int | None:
    """Return a limit of this process, or None if there is no limit."""
    soft = resource.getrlimit(getattr(resource, name))[0]
    return None if soft == resource.RLIM_INFINITY else soft


def lock(descriptor: int) -> None:
    """Lock an open file exclusively, without waiting.

    Raises:
        OSError: The file is locked, or its file system has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the system supports it.

    Without it, a power cut may lose the name of a file whose bytes are safe. Errors are ignored:
    some network file systems cannot do it, and a folder may be writable but not readable.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename a file, replacing an existing one.

    Raises:
        OSError: It cannot be renamed.
    """
    source.replace(target)


def is_read_only(folder: Path) -> bool:
    """Return whether a file system is mounted read-only, which `os.access` does not report."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def is_reserved(name: str) -> bool:  # noqa: ARG001 - the interface of both systems
    """Return whether no file can have a name although its characters are allowed."""
    return False


def free_bytes(descriptor: int) -> int:
    """Return the free space on the disk of an open file; 0 if unknown."""
    status = os.fstatvfs(descriptor)
    return status.f_bavail * status.f_frsize


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read at most `length` bytes from `offset` on; threads may share the file."""
    return os.pread(descriptor, length, offset)


def reads_without_waiting(descriptor: int) -> bool:
    """Return whether a file supports reads that fail in place of waiting for its disk."""
    supported = False
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
            supported = True
    return supported


def write_at(descriptor: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
    """Write some of the bytes of `pieces` at `offset`; return how many."""
    return os.pwritev(descriptor, pieces, offset)


def unsent_bytes(descriptor: int) -> int:
    """Return the bytes in the buffer of a socket that the peer has not acknowledged, if known.

    Megabytes, on a fast machine and a slow line. Only Linux reports them.

    Raises:
        OSError, ValueError: The socket is closed.
    """
    count = 0
    if sys.platform == "linux":
        queued: bytes = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
        count = int(struct.unpack("i", queued)[0])
    return count


def is_readable(descriptor: int) -> bool:
    """Return whether a socket has bytes or an end to read."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def wait_writable(descriptor: int, seconds: float) -> bool:
    """Wait up to `seconds` until a write to a pipe would not block; return whether it would not."""
    return bool(select.select([], [descriptor], [], seconds)[1])
