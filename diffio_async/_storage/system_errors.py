"""Errors of the operating system: their reason in words, and those that are no fault of a file."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    import resource


class ThreadShortage(OSError):
    """The system starts no more threads for this process."""


class PortShortage(OSError):
    """No port is free for another connection: only where a connection is made does it mean that."""


@frozen
class Shortage:
    """Something that the whole process, or the machine, is short of.

    Attributes:
        text: What is missing, and what helps.
        passing: It may be over when other work of this process has ended. A full disk is not.
    """

    text: str
    passing: bool


#: What Python says where the system starts no thread; there is no class of errors for it.
_NO_THREAD = "can't start new thread"
_THREADS = "no more threads can be started (`ulimit -u` shows the limit)"
_MEMORY = "there is not enough memory"
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_LASTING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def shortage_of(failure: BaseException | None) -> Shortage | None:
    """The shortage at the root of a failure, None where it has another reason."""
    for cause in _chain(failure):
        found = _shortage(cause)
        if found is not None:
            return found
    return None


def caused_by(failure: BaseException | None, numbers: frozenset[int]) -> bool:
    """Whether an error of the system with one of these numbers is among the causes."""
    return any(isinstance(cause, OSError) and cause.errno in numbers for cause in _chain(failure))


def _chain(failure: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        yield failure
        failure = failure.__cause__


def _shortage(cause: BaseException) -> Shortage | None:
    if isinstance(cause, MemoryError):
        return Shortage(_MEMORY, passing=True)
    if isinstance(cause, ThreadShortage) or no_thread(cause):
        return Shortage(_THREADS, passing=True)
    # A name that is not resolved has numbers of its own.
    if not isinstance(cause, OSError) or isinstance(cause, socket.gaierror):
        return None
    number = cause.errno or 0
    if number in _PASSING or isinstance(cause, PortShortage):
        return Shortage(_words(cause, number), passing=True)
    # Without a limit of the process, it is the one file that is too large for its disk.
    if number in _LASTING or (number == errno.EFBIG and _limit("RLIMIT_FSIZE") is not None):
        return Shortage(_words(cause, number), passing=False)
    return None


def _words(cause: OSError, number: int) -> str:
    """What the system says, and which limit of the process that is."""
    words = cause.strerror or os.strerror(number)
    limit, hint = None, ""
    if number == errno.EMFILE:
        limit, hint = descriptor_limit(), "`ulimit -n` raises it"
    elif number == errno.EFBIG:
        limit, hint = _limit("RLIMIT_FSIZE"), "`ulimit -f` shows it"
    return words if limit is None else f"{words} (the limit of this process is {limit:,}; {hint})"


def no_thread(failure: BaseException) -> bool:
    """Whether this is what Python raises where no thread can be started."""
    return isinstance(failure, RuntimeError) and _NO_THREAD in str(failure)


def reason_of(failure: BaseException) -> str:
    """The reason in words, without a path."""
    shortage = _shortage(failure)
    if shortage is not None:
        return shortage.text
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__


def file_size_shortage(size: int) -> Shortage | None:
    """The limit of this process on the size of files, None where a file of `size` bytes fits."""
    limit = _limit("RLIMIT_FSIZE")
    if limit is None or size <= limit:
        return None
    return _shortage(OSError(errno.EFBIG, os.strerror(errno.EFBIG)))


def descriptor_limit() -> int | None:
    """How many descriptors this process may have open, None where there is no limit."""
    return _limit("RLIMIT_NOFILE")


def _limit(name: str) -> int | None:
    if sys.platform == "win32":
        return None
    soft = resource.getrlimit(getattr(resource, name))[0]
    return None if soft == resource.RLIM_INFINITY else soft
