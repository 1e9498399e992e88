"""Where a result is to stand: what can be known to be wrong with it is found at once."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Literal, get_args

from diffio_async._engine.placing import beside, created
from diffio_async._engine.threads import Threads
from diffio_async.errors import ConfigurationError, TargetUnusable

#: What to do where the target exists: refuse, or replace it in one step.
OnConflict = Literal["error", "overwrite"]


async def usable(
    path: str | os.PathLike[str] | None, on_conflict: OnConflict, *, resume: bool
) -> Path | None:
    """The target that is wanted, None for memory.

    Raises:
        TargetUnusable: As for `check_target`.
        ConfigurationError: `on_conflict` is no such word, or there is no file to resume.
    """
    if path is None:
        if resume:
            raise ConfigurationError("only a file is resumed: name it, or leave out resume=True")
        return None
    target = Path(path)
    await check_target(target, on_conflict)
    return target


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
        raise unwritable(target, failure) from failure
    except ValueError:
        raise TargetUnusable(f"{str(target)!r} cannot be the name of a file") from None
    else:
        if stat.S_ISDIR(mode):
            raise TargetUnusable(f"{str(target)!r} is a folder: name a file in it")
        if on_conflict != "overwrite":
            raise exists(target)
        if not stat.S_ISREG(mode):
            raise TargetUnusable(f"{str(target)!r} is no regular file and is not replaced")
    # Permissions alone do not tell: a file system may be read-only, or full of quotas.
    temporary = beside(target, f"{secrets.token_hex(4)}.part")
    try:
        os.close(created(temporary))
        temporary.unlink()
    except OSError as failure:
        raise TargetUnusable(
            f"nothing can be written in {str(folder)!r}: {said(failure)}"
        ) from failure


def unwritable(target: Path, failure: OSError) -> TargetUnusable:
    """The error for what the system says."""
    return TargetUnusable(f"{str(target)!r} cannot be written: {said(failure)}")


def said(failure: OSError) -> str:
    """The system's words, without a path."""
    return failure.strerror or type(failure).__name__


def exists(target: Path) -> TargetUnusable:
    """The error for a name that is taken."""
    return TargetUnusable(
        f"{str(target)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
    )
