"""Shortages of resources: small and read-only disks, and processes with limits."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def disk(at: Path, *, size: str) -> Iterator[Path]:
    """Mount a disk of a size such as "400k"; skip the test where that is not possible.

    It is mounted at `at` in the mount namespace of a child process, and the path that is yielded
    refers to it through /proc. The mount ends with that process, also if the tests
    are killed.
    """
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("mounting a file system needs Linux and unshare(1)")
    at.mkdir()
    script = 'mount -t tmpfs -o "size=$1,mode=777" tmpfs "$2" && echo mounted && read _'
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", size, str(at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            _, error = holder.communicate()
            pytest.skip(f"this user may not mount a file system: {error.strip()}")
        try:
            yield Path(f"/proc/{holder.pid}/root{at}")
        finally:
            holder.communicate()  # closes its standard input, which ends it


def in_namespace(disk: Path) -> tuple[list[str], Path]:
    """Return a command that runs another one where the disk is mounted, and its path there.

    SQLite needs that: it resolves symbolic links, and /proc/PID/root is one.
    """
    _, _, process, _, *path = disk.parts
    return ["nsenter", f"--target={process}", "--mount"], Path("/", *path)


def read_only(disk: Path) -> None:
    """Remount a disk read-only."""
    command, at = in_namespace(disk)
    done = subprocess.run(
        [*command, "mount", "-o", "remount,ro", str(at)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def fill(folder: Path) -> Path:
    """Create a file that fills the disk."""
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
    """Return a line of code that sets a resource limit such as `NOFILE`, `FSIZE` or `AS`."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_{kind}, ({limit}, {limit}))\n"


def in_another_users_process(work: str, *, user: int = 65534) -> subprocess.CompletedProcess[str]:
    """Run a program as another user, who may not be able to read modules: they are loaded first."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can change the user")
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
