"""Paths in the journal: a name on a disk may be no valid text."""

from __future__ import annotations

import os


def kept(path: str) -> str | bytes:
    """The path as SQLite can keep it: text, or its bytes where it is none."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def path_of(value: str | bytes) -> str:
    """The path as it was."""
    return os.fsdecode(value)
