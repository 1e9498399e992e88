"""Paths in the journal: a name on a disk may be no valid text."""

from __future__ import annotations

import os
from pathlib import Path

from diffio_async._engine.system_errors import reason_of
from diffio_async.errors import ConfigurationError, TargetUnusable


def kept(path: str) -> str | bytes:
    """The path as SQLite can keep it: text, or its bytes where it is none."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _bytes_of(path)
    return path


def _bytes_of(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # half a character: no file has such a name, and it is told of
        return path.encode("utf-8", "surrogatepass")


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


def check_inside(root: Path, path: Path) -> None:
    """Find out whether a result's path leads out of the folder of the results, by links too.

    Raises:
        TargetUnusable: It does; nothing may be written there.
    """
    if not Path(os.path.normpath(path)).is_relative_to(root):
        raise TargetUnusable(
            f"{str(path)!r} is not in the folder of the results, {str(root)!r}, and is not "
            "written: was the journal changed by something else?"
        )
    real = Path(os.path.realpath(path.parent))
    if not real.is_relative_to(os.path.realpath(root)):
        raise TargetUnusable(
            f"{str(path.parent)!r} leads out of the folder of the results, to {str(real)!r}, and "
            "is not written to: make it a folder, or choose another folder for the results"
        )
