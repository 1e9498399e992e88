"""A file that is one process's at a time: the lock ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
import sys

#: What a system answers where another has the lock.
_LOCKED_ERRNOS = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})
# Some network file systems know no locks. Two that write there write the same bytes of one version
# to the same places, and their length and digest are looked at in the end.
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process, or tell that another has it: never waits.

    Raises:
        OSError: The file system fails.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            # Far behind what is written: on Windows a lock keeps others from reading, too.
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
