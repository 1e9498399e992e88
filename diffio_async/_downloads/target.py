"""Where a result is to stand: what can be known to be wrong with it is found at once."""

from __future__ import annotations

import math
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, get_args

from diffio_async._storage.atomic_write import create_exclusive, sibling_path
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async.errors import ConfigurationError, InvalidTarget
from diffio_async.types import OnConflict

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds for which a trial file tells of its folder, and the folders that are remembered: many
#: results go to one.
_WRITABLE_TTL, _MAX_CACHED = 2.0, 1000
_writable_cache: dict[Path, float] = {}


async def check_target(target: Path, on_conflict: OnConflict) -> None:
    """Find out now whether the target can be written later.

    Raises:
        InvalidTarget: Its folder is missing or not writable, it is no regular file, or it exists
            and may not be replaced.
        ConfigurationError: `on_conflict` is no such word.
    """
    threads = TrackedExecutor()
    try:
        await threads.patiently(validate_target, target, on_conflict)
    finally:
        # Whoever cancels finds the trial file gone when the cancellation is through.
        await threads.drain()


def validate_target(target: Path, on_conflict: OnConflict) -> None:
    """Do what `check_target` says; blocks."""
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict must be 'error' or 'overwrite', not {on_conflict!r}")
    folder = target.parent
    try:
        if not folder.is_dir():
            raise InvalidTarget(f"there is no folder {str(folder)!r} to write {target.name!r} in")
        mode = target.lstat().st_mode
    except FileNotFoundError:
        pass
    except OSError as failure:
        raise unwritable(target, failure) from failure
    except ValueError:
        raise invalid_name(target) from None
    else:
        if stat.S_ISDIR(mode):
            raise InvalidTarget(f"{str(target)!r} is a folder: name a file in it")
        if on_conflict != "overwrite":
            raise already_exists(target)
        if not stat.S_ISREG(mode):
            raise InvalidTarget(f"{str(target)!r} is no regular file and is not replaced")
    # Permissions alone do not tell: a file system may be read-only, or full of quotas.
    now = time.monotonic()
    if now - _writable_cache.get(folder, -math.inf) < _WRITABLE_TTL:
        return
    temporary = sibling_path(target, f"{secrets.token_hex(4)}.part")
    try:
        os.close(create_exclusive(temporary))
        temporary.unlink()
    except OSError as failure:
        raise InvalidTarget(
            f"nothing can be written in {str(folder)!r}: {reason_of(failure)}"
        ) from failure
    if len(_writable_cache) >= _MAX_CACHED:
        _writable_cache.clear()
    _writable_cache[folder] = now


def unwritable(target: Path, failure: OSError | MemoryError) -> InvalidTarget:
    """The error for what the system says."""
    return InvalidTarget(f"{str(target)!r} cannot be written: {reason_of(failure)}")


def invalid_name(target: Path) -> InvalidTarget:
    """The error for a path that no file can have."""
    if not target.name:
        return InvalidTarget(f"{str(target)!r} is a folder: name a file in it")
    return InvalidTarget(f"{str(target)!r} cannot be the name of a file")


def already_exists(target: Path) -> InvalidTarget:
    """The error for a name that is taken."""
    return InvalidTarget(
        f"{str(target)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
    )
