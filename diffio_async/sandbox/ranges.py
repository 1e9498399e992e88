"""Byte ranges: what a `Range` header asks of a file of a given size."""

import re

from attrs import frozen

_SINGLE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


@frozen
class ByteRange:
    """Bytes `start` up to but not including `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies outside the file: 416."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Read a `Range` header.

    Returns:
        The stretch asked for, or None where the whole file is the answer: no header, several
        ranges, another unit, or a header that makes no sense (a server may ignore those).

    Raises:
        Unsatisfiable: When not one byte of the range exists.
    """
    match = _SINGLE.fullmatch(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable
        return ByteRange(size - length, size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    end = min(int(last) + 1, size) if last else size
    return ByteRange(start, end)
