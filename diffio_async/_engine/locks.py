"""A file that is one process's at a time: the lock ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
import sys

#: What a system answers where another has the lock.
_HELD = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})


def locked(descriptor: int) -> bool:
    """Lock an open file for this process, or tell that another has it: never waits.

    Raises:
        OSError: Nothing can be locked there, as on some network file systems.
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
        if failure.errno in _HELD:
            return False
        raise
    return True
