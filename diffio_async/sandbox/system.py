"""Calls of the operating system that differ between POSIX and Windows, for the sandbox."""

import asyncio
import contextlib
import os
import signal
import sys

if sys.platform == "win32":
    #: Signal for a closed terminal; None if the system has none.
    HANGUP: int | None = None

    def kill_group(process: asyncio.subprocess.Process) -> None:
        """Kill a process, and those of its session where the system has sessions."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            process.kill()

    def lower_priority() -> None:
        """Let other processes run first, where the system has such a call."""

    def make_private(descriptor: int) -> None:
        """Make an open file readable by its owner only, where files have modes."""

    def effective_user() -> int | None:
        """Return the id of the effective user, None if files have no such owner."""
        return None

else:
    HANGUP: int | None = signal.SIGHUP

    def kill_group(process: asyncio.subprocess.Process) -> None:
        """Kill a process, and those of its session where the system has sessions."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def lower_priority() -> None:
        """Let other processes run first, where the system has such a call."""
        os.nice(5)

    def make_private(descriptor: int) -> None:
        """Make an open file readable by its owner only, where files have modes."""
        os.fchmod(descriptor, 0o600)

    def effective_user() -> int | None:
        """Return the id of the effective user, None if files have no such owner."""
        return os.geteuid()
