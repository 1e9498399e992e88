"""Names of files as file systems take them: short enough, whatever they are made of."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

#: Bytes of a name that every usual file system takes.
NAME_MAX = 255
#: Endings longer than this, or of other letters, are no endings of files.
_SUFFIX = re.compile(r"\.[A-Za-z0-9_+-]{1,16}")


def shortened(stem: str, ending: str = "") -> str:
    """A name of `stem` and `ending`; the stem is cut between two characters where need be."""
    ending = _cut(ending, NAME_MAX - 1)
    return _cut(stem, NAME_MAX - _bytes_of(ending)) + ending


def suffix_of(name: str | None) -> str:
    """The ending of a name that somebody else chose, "" where it has none that can be one."""
    suffix = PurePosixPath(name or "").suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _cut(text: str, most: int) -> str:
    if len(text) * 4 <= most:
        return text
    used = 0
    for number, character in enumerate(text):
        used += _bytes_of(character)
        if used > most:
            return text[:number]
    return text


def _bytes_of(text: str) -> int:
    """Bytes of a name on the disk; one for each that is no valid text."""
    return sum(
        1 if "\udc80" <= c <= "\udcff" else len(c.encode("utf-8", "surrogatepass")) for c in text
    )
