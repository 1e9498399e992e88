"""Paths in the journal: a name on a disk may be no valid text."""

from __future__ import annotations

import os
from pathlib import Path

from diffio_async._engine.system_errors import reason_of
from diffio_async.errors import ConfigurationError


def kept(path: str) -> str | bytes:
    """The path as SQLite can keep it: text, or its bytes where it is none."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root on; links are kept, `..` is not.

    Raises:
        ConfigurationError: It is relative, and the current folder is gone.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - links are kept
    except OSError as failure:
        raise ConfigurationError(
            f"{os.fspath(path)!r} leads from the current folder, which cannot be used: "
            f"{reason_of(failure)}"
        ) from failure


def path_of(value: str | bytes) -> str:
    """The path as it was."""
    return os.fsdecode(value)
