"""Where a result is to stand: what can be known to be wrong with it is found at once."""

from __future__ import annotations

import math
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, get_args

from diffio_async._engine.placing import beside, created
from diffio_async._engine.system_errors import reason_of
from diffio_async._engine.threads import Threads
from diffio_async.errors import ConfigurationError, TargetUnusable
from diffio_async.types import OnConflict

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds for which a trial file tells of its folder, and the folders that are remembered: many
#: results go to one.
_PROVEN, _MOST_TRIED = 2.0, 1000
_tried: dict[Path, float] = {}


async def check_target(target: Path, on_conflict: OnConflict) -> None:
    """Find out now whether the target can be written later.

    Raises:
        TargetUnusable: Its folder is missing or not writable, it is no regular file, or it exists
            and may not be replaced.
        ConfigurationError: `on_conflict` is no such word.
    """
    threads = Threads()
    try:
        await threads.patiently(checked, target, on_conflict)
    finally:
        # Whoever cancels finds the trial file gone when the cancellation is through.
        await threads.settle()


def checked(target: Path, on_conflict: OnConflict) -> None:
    """Do what `check_target` says; blocks."""
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict must be 'error' or 'overwrite', not {on_conflict!r}")
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
        raise no_name(target) from None
    else:
        if stat.S_ISDIR(mode):
            raise TargetUnusable(f"{str(target)!r} is a folder: name a file in it")
        if on_conflict != "overwrite":
            raise exists(target)
        if not stat.S_ISREG(mode):
            raise TargetUnusable(f"{str(target)!r} is no regular file and is not replaced")
    # Permissions alone do not tell: a file system may be read-only, or full of quotas.
    now = time.monotonic()
    if now - _tried.get(folder, -math.inf) < _PROVEN:
        return
    temporary = beside(target, f"{secrets.token_hex(4)}.part")
    try:
        os.close(created(temporary))
        temporary.unlink()
    except OSError as failure:
        raise TargetUnusable(
            f"nothing can be written in {str(folder)!r}: {reason_of(failure)}"
        ) from failure
    if len(_tried) >= _MOST_TRIED:
        _tried.clear()
    _tried[folder] = now


def unwritable(target: Path, failure: OSError | MemoryError) -> TargetUnusable:
    """The error for what the system says."""
    return TargetUnusable(f"{str(target)!r} cannot be written: {reason_of(failure)}")


def no_name(target: Path) -> TargetUnusable:
    """The error for a path that no file can have."""
    if not target.name:
        return TargetUnusable(f"{str(target)!r} is a folder: name a file in it")
    return TargetUnusable(f"{str(target)!r} cannot be the name of a file")


def exists(target: Path) -> TargetUnusable:
    """The error for a name that is taken."""
    return TargetUnusable(
        f"{str(target)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
    )
