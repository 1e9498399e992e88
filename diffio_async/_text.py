"""Text from outside, made fit to be shown: printable, on one line, within a number of columns."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Not printable by Python's definition, harmless, and common in names: spaces of other scripts,
#: the one macOS writes before "PM", and the joiners of Persian, of Indic scripts and of emoji.
_HARMLESS = frozenset("\u00a0\u202f\u3000\u200c\u200d")
#: What a spreadsheet takes for the beginning of a formula, in ASCII and in full width.
_FORMULA = frozenset("=+-@＝＋－＠")  # noqa: RUF001 - full width is meant
_MINUTE, _HOUR = 60, 3600
_PRINTABLE_ASCII = range(0x20, 0x7F)


def printable(text: str) -> str:
    r"""Escape what a terminal would obey instead of show.

    Control characters, line breaks, escape sequences, bidirectional overrides, invisible characters
    and lone surrogates become `\n`, `\x1b`, `\u202e` and the like.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def csv_cell(value: object) -> object:
    """Escape a CSV cell like `printable`; text that a spreadsheet would run begins with `'`."""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if value.lstrip()[:1] in _FORMULA else shown


def shell_line(words: Iterable[str]) -> str:
    """Join words to a line for a shell. Words that are not printable are written as `$'…'`."""
    return " ".join(
        shlex.quote(word) if printable(word) == word else _ansi_quoted(word) for word in words
    )


def _ansi_quoted(word: str) -> str:
    # By bytes: whatever the locale, the same file is meant.
    quoted = "".join(
        chr(byte) if byte in _PRINTABLE_ASCII and chr(byte) not in "\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{quoted}'"


def cells(text: str) -> int:
    """Return the columns that a text takes on a terminal; wide characters take two."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    import unicodedata

    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def shortened(text: str, width: int) -> str:
    """Cut a text out of its middle, so that it takes `width` columns at most."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    # The end has what tells files apart: the number, the ending.
    tail = _first(text[::-1], (width - 1) * 2 // 3)[::-1]
    return f"{_first(text, width - 1 - cells(tail))}…{tail}"


def _first(text: str, width: int) -> str:
    """The beginning of a text that takes `width` columns at most."""
    for count, character in enumerate(text):
        width -= _cells(character)
        if width < 0:
            return text[:count]
    return text


def fitted(numbers: Numbers, more: Sequence[str], width: int) -> str:
    """Put numbers into a line of `width` columns at most, and what else fits.

    Args:
        numbers: They are always shown: in words, or briefly where there is no room for words.
        more: Texts in the order of their importance.
        width: Columns.
    """
    for separator, line in (("; ", numbers.words), (" ", numbers.brief), (" ", numbers.briefest)):
        text = separator.join(filter(None, line))
        if cells(text) <= width:
            break
    else:
        return shortened(text, width)
    for each in more if separator == "; " else ():
        if each and cells(text) + 2 + cells(each) <= width:
            text += f"; {each}"
    return text


@frozen
class Numbers:
    """How far many things are: ended of all, failed of these, and seconds left, where known."""

    ended: int
    total: int
    failed: int
    eta_seconds: float | None = None

    @property
    def words(self) -> list[str]:
        """`3/12`, `1 failed`, `4:10 left`."""
        return [
            f"{self.ended}/{self.total}",
            f"{self.failed} failed" if self.failed else "",
            "" if self.eta_seconds is None else f"{clock(self.eta_seconds)} left",
        ]

    @property
    def brief(self) -> list[str]:
        """`3/12`, `1 failed`, `4:10`."""
        return [*self.words[:2], self.words[2].removesuffix(" left")]

    @property
    def briefest(self) -> list[str]:
        """`3/12`, `!1`, `4:10`."""
        return [self.brief[0], f"!{self.failed}" if self.failed else "", self.brief[2]]


def clock(seconds: float) -> str:
    """Seconds: "2:05:09", or "5:09"."""
    whole = int(seconds)
    minutes = f"{whole % _HOUR // _MINUTE}:{whole % _MINUTE:02}"
    return minutes if whole < _HOUR else f"{whole // _HOUR}:{minutes:0>5}"
