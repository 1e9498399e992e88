"""Windows."""

from __future__ import annotations

import msvcrt
import os
import re
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Literal

assert sys.platform == "win32"  # noqa: S101 - for type checkers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HANGUP: int | None = None
MOVES_OPEN_FILES = False
PATH_SEPARATORS = "\\/"

#: Names of devices, with any suffix; characters that names cannot have; an end that is removed.
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[1-9¹²³])(?: *[.:].*| *)"
    r'|.*[\x00-\x1f<>:"|?*].*|.*[ .]',
    re.IGNORECASE | re.DOTALL,
)
#: Seconds to wait for programs that have a new file open for a moment: virus scanners, indexers.
_SHARING_TIMEOUT, _SHARING_DELAY = 2.0, 0.02
#: The offset of locks, far past the content: on Windows, a lock also prevents reading.
_LOCK_OFFSET = 2**30

#: Held while a file is read at a position, which the threads that read it share.
_position_lock = threading.Lock()


def effective_user() -> int | None:
    return None


def process_exists(pid: int) -> bool | None:  # noqa: ARG001 - os.kill would end the process
    return None


def register_at_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    pass


def resource_limit(name: Literal["RLIMIT_FSIZE", "RLIMIT_NOFILE"]) -> int | None:  # noqa: ARG001
    return None


def lock(descriptor: int) -> None:
    os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def sync_file(descriptor: int) -> None:
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    pass  # Windows cannot


def replace(source: Path, target: Path) -> None:
    end = time.monotonic() + _SHARING_TIMEOUT
    while True:
        try:
            source.replace(target)
        except PermissionError:
            if target.is_dir() or time.monotonic() >= end:
                raise
        else:
            return
        time.sleep(_SHARING_DELAY)


def is_read_only(folder: Path) -> bool:  # noqa: ARG001 - os.access reports it
    return False


def is_reserved(name: str) -> bool:
    return name not in {"", ".", ".."} and _RESERVED.fullmatch(name) is not None


def free_bytes(descriptor: int) -> int:  # noqa: ARG001 - Python reports it for folders only
    return 0


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    with _position_lock:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)


def reads_without_waiting(descriptor: int) -> bool:  # noqa: ARG001 - Windows has no such reads
    return False


def write_at(descriptor: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, pieces[0])


def unsent_bytes(descriptor: int) -> int:  # noqa: ARG001 - Windows does not report them
    return 0


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def wait_writable(descriptor: int, seconds: float) -> bool:  # noqa: ARG001 - sockets only
    time.sleep(seconds)
    return False
