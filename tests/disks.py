"""Real shortages: small and read-only disks, and processes that may have little."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def disk(at: Path, *, size: str) -> Iterator[Path]:
    """A disk of its own at a path, of so many bytes ("400k"); the test is skipped without one."""
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs Linux and mount(8)")
    at.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(at))
    if mounted.returncode:
        pytest.skip(f"this user may not mount a file system: {mounted.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def read_only(at: Path) -> None:
    """Nothing can be written on the disk from now on."""
    done = _mount("-o", "remount,ro", str(at))
    assert done.returncode == 0, done.stderr


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mount", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


def fill(folder: Path) -> Path:
    """A file that leaves no byte free."""
    path = folder / "fill"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, b"\0" * size)
    finally:
        os.close(descriptor)
    return path


def limited(kind: str, limit: int) -> str:
    """Lines of a program that limit what it may have: `NOFILE`, `FSIZE`, `AS`."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_{kind}, ({limit}, {limit}))\n"


def in_another_users_process(work: str, *, user: int = 65534) -> subprocess.CompletedProcess[str]:
    """Run a program as another user. Its modules are loaded before: that user may not read them."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    program = (
        "import asyncio, os, sqlite3, pathlib, sys\n"
        "import diffio_async, diffio_async.sandbox\n"
        "import diffio_async._uploads.resume_file, diffio_async._downloads.part_file\n"
        "import diffio_async._storage.sqlite_thread\n"
        f"os.setgroups([]); os.setresgid({user}, {user}, {user})\n"
        f"os.setresuid({user}, {user}, {user})\n" + work
    )
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )


NO_SPACE = errno.ENOSPC
