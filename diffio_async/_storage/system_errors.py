"""Errors of the operating system: their messages, and shortages of the whole process."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async import _system

if TYPE_CHECKING:
    from collections.abc import Iterator


class ThreadShortage(OSError):
    """The system cannot start more threads for this process."""


class PortShortage(OSError):
    """No local port is free. The error code has this meaning only while connecting."""


@frozen
class Shortage:
    """Resource that the whole process, or the machine, is short of.

    Attributes:
        text: The missing resource, and what helps.
        transient: Whether it may end when other work of this process ends. A full disk does not.
    """

    text: str
    transient: bool


#: Python's message if no thread can be started; it has no exception class of its own.
_NO_THREAD_MESSAGE = "can't start new thread"
_THREADS = "no more threads can be started (`ulimit -u` shows the limit)"
_MEMORY = "there is not enough memory"
_TRANSIENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_PERMANENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def shortage_of(failure: BaseException | None) -> Shortage | None:
    """Return the shortage among the causes of a failure, or None if absent."""
    for cause in causes_of(failure):
        found = _shortage(cause)
        if found is not None:
            return found
    return None


def caused_by(failure: BaseException | None, numbers: frozenset[int]) -> bool:
    """Return whether an `OSError` with one of these numbers is among the causes."""
    return any(
        isinstance(cause, OSError) and cause.errno in numbers for cause in causes_of(failure)
    )


def causes_of(failure: BaseException | None) -> Iterator[BaseException]:
    """Yield a failure and its causes, each once."""
    seen = set[int]()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        yield failure
        failure = failure.__cause__


def _shortage(cause: BaseException) -> Shortage | None:
    if isinstance(cause, MemoryError):
        return Shortage(_MEMORY, transient=True)
    if isinstance(cause, ThreadShortage) or is_thread_shortage(cause):
        return Shortage(_THREADS, transient=True)
    # Errors of name resolution have different numbers.
    if not isinstance(cause, OSError) or isinstance(cause, socket.gaierror):
        return None
    number = cause.errno or 0
    if number in _TRANSIENT or isinstance(cause, PortShortage):
        return Shortage(_message(cause, number), transient=True)
    # Without a limit of the process, EFBIG means that one file is too large for its disk.
    if number in _PERMANENT or (number == errno.EFBIG and _file_size_limit() is not None):
        return Shortage(_message(cause, number), transient=False)
    return None


def _message(cause: OSError, number: int) -> str:
    """Return the system's message, with the limit of the process that caused it."""
    message = cause.strerror or os.strerror(number)
    limit, hint = None, ""
    if number == errno.EMFILE:
        limit, hint = descriptor_limit(), "`ulimit -n` raises it"
    elif number == errno.EFBIG:
        limit, hint = _file_size_limit(), "`ulimit -f` shows it"
    return (
        message if limit is None else f"{message} (the limit of this process is {limit:,}; {hint})"
    )


def is_thread_shortage(failure: BaseException) -> bool:
    """Return whether Python raised this because no thread can be started."""
    return isinstance(failure, RuntimeError) and _NO_THREAD_MESSAGE in str(failure)


def reason_of(failure: BaseException) -> str:
    """Return the reason as text, without a path."""
    shortage = _shortage(failure)
    if shortage is not None:
        return shortage.text
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__


def file_size_shortage(size: int) -> Shortage | None:
    """The limit of this process on the size of files, None where a file of `size` bytes fits."""
    limit = _file_size_limit()
    if limit is None or size <= limit:
        return None
    return _shortage(OSError(errno.EFBIG, os.strerror(errno.EFBIG)))


def descriptor_limit() -> int | None:
    """Return the maximum of open descriptors, or None if there is no limit."""
    return _system.resource_limit("RLIMIT_NOFILE")


def _file_size_limit() -> int | None:
    return _system.resource_limit("RLIMIT_FSIZE")
