"""Files: names, atomic writes, private files with a lock, and the limit of open descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import secrets
import stat
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from diffio_async import _system
from diffio_async._storage.loops import running_loop
from diffio_async._storage.system_errors import descriptor_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.options import ClientOptions
    from diffio_async.types import OnConflict

#: Longest file name in bytes that common file systems accept.
NAME_MAX = 255

#: Longer suffixes, or ones with other characters, are not treated as file suffixes.
_SUFFIX = re.compile(r"\.[A-Za-z0-9_+-]{1,16}")


def truncate_name(stem: str, suffix: str = "") -> str:
    """Return `stem` plus `suffix`; cut the stem between two characters if it is too long."""
    suffix = _truncate(suffix, NAME_MAX - 1)
    return _truncate(stem, NAME_MAX - _byte_length(suffix)) + suffix


def split_name(name: str) -> tuple[str, str]:
    """Return the stem and the suffix of a file's name; dots at its ends belong to the stem.

    `PurePath.stem` of such names depends on the version of Python.
    """
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - see above
    return (stem, suffix) if suffix != "." else (name, "")


def suffix_of(name: str | None) -> str:
    """Return the file suffix of an untrusted name, or "" if it has no plausible one."""
    suffix = PurePosixPath(name or "").suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _truncate(text: str, max_bytes: int) -> str:
    if len(text) * 4 <= max_bytes:
        return text
    used = 0
    for number, character in enumerate(text):
        used += _byte_length(character)
        if used > max_bytes:
            return text[:number]
    return text


def _byte_length(text: str) -> int:
    """Return the length on disk in bytes; an undecodable byte counts as one."""
    return sum(
        1 if "\udc80" <= c <= "\udcff" else len(c.encode("utf-8", "surrogatepass")) for c in text
    )


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, if missing, and flush their names to the disk.

    Raises:
        OSError: It cannot be created.
    """
    new = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        _system.sync_folder(each.parent)


# Error codes of file systems without hard links.
_NO_LINKS = frozenset(
    {
        errno.EPERM,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EMLINK,
        errno.EACCES,
        errno.EINVAL,
    }
)


def sibling_path(target: Path, suffix: str) -> Path:
    """Return a hidden path in the same folder, so that publishing is a rename."""
    return target.with_name(truncate_name(f".{target.name}", f".{suffix}"))


def create_exclusive(path: Path) -> int:
    """Create a file and return a descriptor for reading and writing.

    Raises:
        OSError: The file exists or cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)  # reduced by the umask, as for any new file


def publish(temporary: Path, target: Path, on_conflict: OnConflict) -> None:
    """Give the temporary file its final name; a hard link may keep the temporary name as well.

    Raises:
        FileExistsError: The target exists and may not be replaced.
        OSError: The file cannot be renamed or linked.
    """
    if on_conflict == "overwrite":
        _system.replace(temporary, target)
    else:
        _link_once(temporary, target)
    _system.sync_folder(target.parent)


def _link_once(temporary: Path, target: Path) -> None:
    """Publish only if the target does not exist: a link fails where a rename would replace."""
    try:
        target.hardlink_to(temporary)
    except (OSError, NotImplementedError) as failure:
        if isinstance(failure, OSError) and failure.errno not in _NO_LINKS:
            raise
        os.close(create_exclusive(target))
        try:
            _system.replace(temporary, target)
        except BaseException:
            # Remove the empty file that reserved the name: it would pass for a result.
            target.unlink(missing_ok=True)
            raise


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
        raise UnexpectedFile("it is not a regular file")
    user = _system.effective_user()
    if user is None:
        return
    if status.st_nlink > 1:
        raise HardLinked("it has a second name (a hard link): remove it, or name another file")
    foreign = status.st_uid not in {user, _ROOT}
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
        _system.lock(descriptor)
    except OSError as failure:
        if failure.errno in _LOCKED_ERRNOS:
            return False
        if failure.errno not in _NO_LOCKS:
            raise
    return True


def probe_lock(folder: Path) -> bool:
    """Return whether locks work in a folder, by creating and removing a file there.

    Raises:
        OSError: No file can be created there.
    """
    probe = folder / f".diffio-{secrets.token_hex(4)}.tmp"
    first = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        second = os.open(probe, os.O_RDWR)
        try:
            # Where there are no locks, both succeed.
            return try_lock(first) and not try_lock(second)
        finally:
            os.close(second)
    finally:
        os.close(first)
        probe.unlink()


#: Descriptors reserved for the rest of the process: streams, event loop, journal, modules.
_RESERVED = 24
#: A client connects to three hosts, and a transfer opens two files; other code in the process (a
#: sandbox, the user's program) needs some as well.
_DESCRIPTORS_PER_TRANSFER = 10
_MIN_TRANSFERS = 2

_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _max_transfers() -> int | None:
    limit = descriptor_limit()
    return (
        None
        if limit is None
        else max(_MIN_TRANSFERS, (limit - _RESERVED) // _DESCRIPTORS_PER_TRANSFER)
    )


def connections_per_host(options: ClientOptions) -> int:
    """Return the maximum of connections to one host, limited by available descriptors."""
    limit = _max_transfers()
    return (
        options.max_connections_per_host
        if limit is None
        else min(options.max_connections_per_host, limit)
    )


@contextlib.asynccontextmanager
async def transfer_slot() -> AsyncIterator[None]:
    """Wait until another transfer of the running loop may open files; hold the slot in the body."""
    limit = _max_transfers()
    if limit is None:
        yield
        return
    loop = running_loop()
    limiter = _limiters.get(loop)
    if limiter is None:
        limiter = _limiters[loop] = asyncio.Semaphore(limit)
    async with limiter:
        yield
