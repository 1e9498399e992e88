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
_PASSING = {
    errno.ENFILE: "the machine has too many files open",
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: "the machine has no memory left for connections",
    errno.EADDRNOTAVAIL: "the machine has no free port left for another connection",
}
_LASTING = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
}


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
    if number == errno.EMFILE:
        return Shortage(_too_many_files(), passing=True)
    if number == errno.EFBIG and _file_size_limit() is not None:
        text = f"this process may write no file of more than {_file_size_limit():,} bytes"
        return Shortage(f"{text} (`ulimit -f`)", passing=False)
    if number in _PASSING:
        return Shortage(_PASSING[number], passing=True)
    if number in _LASTING:
        # What the error itself says may be more: how much is needed, and how much is free.
        said = cause.strerror or ""
        return Shortage(said if said not in {"", os.strerror(number)} else _LASTING[number], False)
    return None


def no_thread(failure: BaseException) -> bool:
    """Whether this is what Python raises where no thread can be started."""
    return isinstance(failure, RuntimeError) and _NO_THREAD in str(failure)


def reason_of(failure: BaseException) -> str:
    """The reason in words, without a path."""
    shortage = _shortage(failure)
    if shortage is not None:
        return shortage.text
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__


def _too_many_files() -> str:
    limit = descriptor_limit()
    shown = "" if limit is None else f" (its limit is {limit:,}; `ulimit -n` raises it)"
    return f"this process has too many files and connections open{shown}"


def descriptor_limit() -> int | None:
    """How many descriptors this process may have open, None where there is no limit."""
    if sys.platform == "win32":
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _file_size_limit() -> int | None:
    if sys.platform == "win32":
        return None
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
