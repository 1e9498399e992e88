"""Files that hold what others must neither read nor change: this user's own, and nobody else's.

A journal that somebody else has put into a shared folder could name any file to be uploaded, and a
resume file that others may read gives them the token of an upload.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Windows has no such thing.
_USER: Callable[[], int] | None = getattr(os, "geteuid", None)
_ROOT = 0
_OTHERS, _OTHERS_WRITE = 0o077, 0o022


class NotOurs(OSError):
    """What stands under a name is not this user's own private file; the message says why."""


class SecondName(NotOurs):
    """The file has another name, in this folder or elsewhere."""


def opened_private(path: str | os.PathLike[str], *, mode: int = 0o600, append: bool = False) -> int:
    """A descriptor of a private file, made where there is none.

    Args:
        path: The file; its last part is no symbolic link.
        mode: Of a file that is made. One that others may read by it may be read by others.
        append: Whether what is written goes to the end.

    Raises:
        OSError: It cannot be opened; `UnexpectedFile`: it is no such file.
    """
    # Without O_NONBLOCK a named pipe would be waited for.
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else 0)
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    _refuse_link(path)
    descriptor = os.open(path, flags, mode)
    try:
        _check(path, os.fstat(descriptor), descriptor, private=not mode & _OTHERS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_private(path: str | os.PathLike[str]) -> None:
    """Refuse a file that is there and is not private, without opening it.

    Raises:
        OSError: It is not there; `UnexpectedFile`: it is no such file.
    """
    _refuse_link(path)
    _check(path, os.lstat(path), path, private=True)


def _refuse_link(path: str | os.PathLike[str]) -> None:
    try:
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with contextlib.suppress(FileNotFoundError):
        os.stat(path)  # noqa: PTH116 - what is wrong with the way it leads is said first
    raise NotOurs("it is a symbolic link: name the file itself")


def _check(
    path: str | os.PathLike[str],
    status: os.stat_result,
    changeable: int | str | os.PathLike[str],
    *,
    private: bool,
) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise NotOurs("it is no regular file")
    if _USER is None:
        return
    if status.st_nlink > 1:
        raise SecondName("it has a second name (a hard link): remove it, or name another file")
    foreign = status.st_uid not in {_USER(), _ROOT}
    loose = private and bool(status.st_mode & _OTHERS)
    if not foreign and not loose:
        return
    usual = _usual(Path(path).parent)
    if foreign and (usual is None or usual.st_uid != status.st_uid):
        raise NotOurs(
            f"it belongs to another user ({status.st_uid}), who may have put anything into it: "
            "run as that user, or name another file"
        )
    if not loose or (usual is not None and usual.st_mode & _OTHERS):
        return  # a file system that knows no owners or no modes: each file is as any other
    if status.st_mode & _OTHERS_WRITE:
        raise NotOurs(
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):o}), and may have put "
            "anything into it: remove it, or make it yours alone with chmod 600"
        )
    os.chmod(changeable, 0o600)  # noqa: PTH101 - a descriptor, too


def _usual(folder: Path) -> os.stat_result | None:
    """What a new private file looks like in a folder, None where none can be made.

    Some file systems (exFAT, SMB) have one owner and one mode for all files, and some servers
    give root's files to somebody else.
    """
    trial = folder / f".diffio-{secrets.token_hex(4)}.tmp"
    try:
        descriptor = os.open(trial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)
            trial.unlink()
    except OSError:
        return None
