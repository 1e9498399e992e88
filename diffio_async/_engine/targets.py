"""Where a result is written: beside its final name first, and under that name only when whole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from diffio_async._engine.threads import Threads
from diffio_async.errors import ConfigurationError, TargetUnusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

#: What to do where the target exists: refuse, or replace it in one step.
OnConflict = Literal["error", "overwrite"]

# File systems that know no hard links answer with one of these.
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
_LONGEST_NAME = 255


class Sink(Protocol):
    """Takes a result's bytes in order."""

    async def write(self, data: bytes) -> None:
        """Append."""
        ...

    async def restart(self) -> None:
        """Forget what was written: the result begins anew."""
        ...


class MemorySink:
    """Keeps the result in memory."""

    def __init__(self) -> None:
        # Grows in place and gives its bytes away uncopied; a list, joined, would need them twice.
        self._held = io.BytesIO()

    async def write(self, data: bytes) -> None:
        """Append."""
        self._held.write(data)

    async def restart(self) -> None:
        """Forget what was written."""
        self._held = io.BytesIO()

    def content(self) -> bytes:
        """The whole result."""
        return self._held.getvalue()


async def check_target(target: Path, on_conflict: OnConflict) -> None:
    """Find out now whether the target can be written later.

    Raises:
        TargetUnusable: Its folder is missing or not writable, it is no regular file, or it exists
            and may not be replaced.
        ConfigurationError: `on_conflict` is no such word.
    """
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict must be 'error' or 'overwrite', not {on_conflict!r}")
    threads = Threads()
    try:
        await threads.run(_check, target, on_conflict)
    finally:
        # Whoever cancels finds the trial file gone when the cancellation is through.
        await threads.settle()


def _check(target: Path, on_conflict: OnConflict) -> None:
    folder = target.parent
    try:
        if not folder.is_dir():
            raise TargetUnusable(f"there is no folder {str(folder)!r} to write {target.name!r} in")
        mode = target.lstat().st_mode
    except FileNotFoundError:
        pass
    except OSError as failure:
        raise _unwritable(target, failure) from failure
    except ValueError:
        raise TargetUnusable(f"{str(target)!r} cannot be the name of a file") from None
    else:
        if stat.S_ISDIR(mode):
            raise TargetUnusable(f"{str(target)!r} is a folder: name a file in it")
        if on_conflict != "overwrite":
            raise _exists(target)
        if not stat.S_ISREG(mode):
            raise TargetUnusable(f"{str(target)!r} is no regular file and is not replaced")
    # Permissions alone do not tell: a file system may be read-only, or full of quotas.
    temporary = _beside(target)
    try:
        os.close(_create(temporary))
        temporary.unlink()
    except OSError as failure:
        raise TargetUnusable(
            f"nothing can be written in {str(folder)!r}: {_said(failure)}"
        ) from failure


def _unwritable(target: Path, failure: OSError) -> TargetUnusable:
    return TargetUnusable(f"{str(target)!r} cannot be written: {_said(failure)}")


def _said(failure: OSError) -> str:
    return failure.strerror or type(failure).__name__


def _exists(target: Path) -> TargetUnusable:
    return TargetUnusable(
        f"{str(target)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
    )


def _beside(target: Path) -> Path:
    """A hidden name in the same folder, so that the last step is a rename."""
    ending = f".{secrets.token_hex(4)}.part"
    stem = os.fsencode(target.name)[: _LONGEST_NAME - len(ending) - 1]
    return target.with_name(f".{stem.decode('utf-8', 'ignore')}{ending}")


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)  # the umask decides, as it does for any new file


class FileSink:
    """A temporary file beside the target."""

    def __init__(self, descriptor: int, threads: Threads, target: Path) -> None:
        self._descriptor, self._threads, self._target = descriptor, threads, target

    async def write(self, data: bytes) -> None:
        """Append, off the loop."""
        await _on_disk(self._threads, self._target, lambda: _write_all(self._descriptor, data))

    async def restart(self) -> None:
        """Empty the file."""
        await _on_disk(self._threads, self._target, lambda: _empty(self._descriptor))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _empty(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)


@contextlib.asynccontextmanager
async def written(target: Path, on_conflict: OnConflict) -> AsyncIterator[FileSink]:
    """A sink whose content stands under the target's name after the body, or nowhere.

    Raises:
        TargetUnusable: The folder, the disk or the name stands in the way.
    """
    threads = Threads()
    temporary = _beside(target)
    held: list[int] = []
    try:
        await _on_disk(threads, target, lambda: held.append(_create(temporary)))
        yield FileSink(held[0], threads, target)
        await _on_disk(threads, target, lambda: _commit(held, temporary, target, on_conflict))
    finally:
        # No thread may write to a descriptor that is closed, and perhaps another's by then.
        try:
            await threads.settle()
        finally:
            _discard(held, temporary)


def _discard(held: list[int], temporary: Path) -> None:
    """Whatever ended the download says more than that its leavings could not be removed."""
    for descriptor in held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    with contextlib.suppress(OSError):
        temporary.unlink()


async def _on_disk(threads: Threads, target: Path, work: Callable[[], None]) -> None:
    try:
        await threads.run(work)
    except FileExistsError as failure:
        raise _exists(target) from failure
    except OSError as failure:
        raise _unwritable(target, failure) from failure


def _commit(held: list[int], temporary: Path, target: Path, on_conflict: OnConflict) -> None:
    os.fsync(held[0])
    # Closed first: not every system renames a file that is open.
    os.close(held.pop())
    if on_conflict == "overwrite":
        temporary.replace(target)
    else:
        _place(temporary, target)
    _sync_folder(target.parent)


def _place(temporary: Path, target: Path) -> None:
    """Give the file its name only if nobody has it: a link fails where a rename would replace."""
    try:
        target.hardlink_to(temporary)
    except (OSError, NotImplementedError) as failure:
        if isinstance(failure, OSError) and failure.errno not in _NO_LINKS:
            raise
        os.close(_create(target))
        try:
            temporary.replace(target)
        except BaseException:
            # The name was only held for the result; an empty file under it would pass for one.
            target.unlink(missing_ok=True)
            raise


def _sync_folder(folder: Path) -> None:
    # Without this, a power cut may lose the name of a file whose bytes are safe. Some network file
    # systems cannot, and a folder may be writable but not readable: the file itself is safe.
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
