"""Text formatting for terminals, logs, CSV and shells: escaping, widths and units."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Not printable by Python's definition, but safe and common in names: spaces of other scripts,
#: the space that macOS writes before "PM", and the joiners of Persian, Indic scripts and emoji.
_SAFE = frozenset("\u00a0\u202f\u3000\u200c\u200d")
#: Characters that start a formula in a spreadsheet, in ASCII and in full width.
_FORMULA_STARTS = frozenset("=+-@＝＋－＠")  # noqa: RUF001 - full width is intended
_MINUTE, _HOUR = 60, 3600
_PRINTABLE_ASCII = range(0x20, 0x7F)
_UNIT_STEP = 1000.0
#: Columns of the longest and of the shortest bar.
_MAX_BAR, _MIN_BAR = 40, 6


def printable(text: str) -> str:
    r"""Escape characters that a terminal would interpret instead of display.

    Control characters, line breaks, escape sequences, bidirectional overrides, invisible characters
    and lone surrogates become `\n`, `\x1b`, `\u202e` and the like.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _SAFE else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def csv_cell(value: object) -> object:
    """Escape a CSV cell like `printable`, and prefix text that starts a formula with `'`."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.lstrip()[:1] in _FORMULA_STARTS else text


def shell_line(words: Iterable[str]) -> str:
    """Join words into a shell command. Words that are not printable are quoted as `$'…'`."""
    return " ".join(
        shlex.quote(word) if printable(word) == word else _ansi_quoted(word) for word in words
    )


def _ansi_quoted(word: str) -> str:
    # Bytes name the same file in every locale.
    quoted = "".join(
        chr(byte) if byte in _PRINTABLE_ASCII and chr(byte) not in "\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{quoted}'"


def cells(text: str) -> int:
    """Return the width of a text on a terminal, in columns; wide characters take two."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    import unicodedata

    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def shorten(text: str, width: int) -> str:
    """Cut out the middle of a text, so that it takes at most `width` columns."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    # The end distinguishes files: it has the number and the suffix.
    tail = _first(text[::-1], (width - 1) * 2 // 3)[::-1]
    return f"{_first(text, width - 1 - cells(tail))}…{tail}"


def _first(text: str, width: int) -> str:
    """Return the longest beginning of a text that takes at most `width` columns."""
    for count, character in enumerate(text):
        width -= _cells(character)
        if width < 0:
            return text[:count]
    return text


def fit_line(counts: ProgressCounts, details: Sequence[str], width: int) -> str:
    """Return a line of at most `width` columns with the counts and the details that fit.

    Args:
        counts: Always included, in the longest form that fits.
        details: Further texts, the most important first.
        width: Columns.
    """
    for separator, line in (("; ", counts.long), (" ", counts.short), (" ", counts.shortest)):
        text = separator.join(filter(None, line))
        if cells(text) <= width:
            break
    else:
        return shorten(text, width)
    for each in details if separator == "; " else ():
        if each and cells(text) + 2 + cells(each) <= width:
            text += f"; {each}"
    return text


@frozen
class ProgressCounts:
    """Counts of many jobs: ended of `total`, failed among the ended, seconds left if known."""

    ended: int
    total: int
    failed: int
    eta_seconds: float | None = None

    @property
    def long(self) -> list[str]:
        """`3/12`, `1 failed`, `4:10 left`."""
        return [
            f"{self.ended}/{self.total}",
            f"{self.failed} failed" if self.failed else "",
            "" if self.eta_seconds is None else f"{format_clock(self.eta_seconds)} left",
        ]

    @property
    def short(self) -> list[str]:
        """`3/12`, `1 failed`, `4:10`."""
        return [*self.long[:2], self.long[2].removesuffix(" left")]

    @property
    def shortest(self) -> list[str]:
        """`3/12`, `!1`, `4:10`."""
        return [self.short[0], f"!{self.failed}" if self.failed else "", self.short[2]]


def format_clock(seconds: float) -> str:
    """Format seconds as "5:09" or "2:05:09"."""
    total = int(seconds)
    minutes = f"{total % _HOUR // _MINUTE}:{total % _MINUTE:02}"
    return minutes if total < _HOUR else f"{total // _HOUR}:{minutes:0>5}"


def format_bytes(count: float) -> str:
    """Format a number of bytes as "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _UNIT_STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _UNIT_STEP
    return f"{count:.1f} TB"


def progress_bar(percent: float, width: int) -> str:
    """Return a blank and a bar within `width` columns, or "" if there is no space for one."""
    columns = min(width - 1, _MAX_BAR)
    if columns < _MIN_BAR:
        return ""
    done = int(columns * min(max(percent, 0.0), 100.0) / 100)
    return f" {'━' * done}{'─' * (columns - done)}"
