"""Calls of the operating system that differ between POSIX and Windows.

`posix` and `windows` define the same names; `tests/test_system.py` compares them, and fails if
another module uses what only one of the systems has.
"""

import sys

if sys.platform == "win32":
    from diffio_async._system.windows import (
        HANGUP,
        MOVES_OPEN_FILES,
        PATH_SEPARATORS,
        effective_user,
        free_bytes,
        is_read_only,
        is_readable,
        is_reserved,
        lock,
        process_exists,
        read_at,
        reads_without_waiting,
        register_at_fork,
        replace,
        resource_limit,
        sync_file,
        sync_folder,
        unsent_bytes,
        wait_writable,
        write_at,
    )
else:
    from diffio_async._system.posix import (
        HANGUP,
        MOVES_OPEN_FILES,
        PATH_SEPARATORS,
        effective_user,
        free_bytes,
        is_read_only,
        is_readable,
        is_reserved,
        lock,
        process_exists,
        read_at,
        reads_without_waiting,
        register_at_fork,
        replace,
        resource_limit,
        sync_file,
        sync_folder,
        unsent_bytes,
        wait_writable,
        write_at,
    )

__all__ = (
    "HANGUP",
    "MOVES_OPEN_FILES",
    "PATH_SEPARATORS",
    "effective_user",
    "free_bytes",
    "is_read_only",
    "is_readable",
    "is_reserved",
    "lock",
    "process_exists",
    "read_at",
    "reads_without_waiting",
    "register_at_fork",
    "replace",
    "resource_limit",
    "sync_file",
    "sync_folder",
    "unsent_bytes",
    "wait_writable",
    "write_at",
)
