"""Structure of recordings: the parts of joined files, and the size that a file declares.

FFmpeg reads the first of several joined files only, and takes a truncated file for a short one.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from attrs import frozen


@frozen
class Link:
    """One of the files that were joined: its first byte, and the byte after its last."""

    start: int
    end: int


@frozen
class Structure:
    """The structure of a file.

    Attributes:
        links: The parts of a joined file; empty if there is only one.
        size: The number of bytes that the file should have at least; 0 if it declares none.
        is_total: Whether `size` is that of the complete file, not only of its last unit.
    """

    links: tuple[Link, ...] = ()
    size: int = 0
    is_total: bool = False


def read_structure(source: Path) -> Structure:
    """Return the structure of a file, by the sizes that its headers declare."""
    actual = source.stat().st_size
    with source.open("rb") as file:
        head = file.read(_HEAD)
        reader = _reader_for(head)
        if reader is None:
            return Structure(size=_declared_by_mp3(file, head) or _size_of_packets(head, actual))
        starts, size = [], 0
        for start, end, begins in reader(file):
            size = end or actual
            if begins:
                starts.append(start)
    ends = [*starts[1:], actual]
    links = tuple(Link(*span) for span in zip(starts, ends, strict=True)) if starts[1:] else ()
    return Structure(links, size, is_total=reader in _WITH_TOTAL_SIZE)


_HEAD = 64 * 1024  # bytes

_Units: TypeAlias = Iterator[tuple[int, int, bool]]
"""First byte of a unit, the byte after its last (0: the end is not known), and whether it begins a
part. A unit is what has a size: a page, a chunk, a box or an object."""

_Header: TypeAlias = Callable[[bytes], tuple[int, bool] | None]
"""Returns the size of the unit with this header, and whether it begins a part; None if invalid."""

_LONGEST_HEADER = 32


def _units(file: BinaryIO, read_header: _Header) -> _Units:
    position = 0
    while True:
        file.seek(position)
        unit = read_header(file.read(_LONGEST_HEADER))
        if unit is None:
            return
        size, begins = unit
        yield position, size and position + size, begins
        if not size:
            return
        position += size


def _ogg(file: BinaryIO) -> _Units:
    position, in_headers = file.seek(0), False
    while (header := file.read(27)).startswith(b"OggS") and len(header) == 27:
        is_first = bool(header[5] & 2)  # page of its stream
        end = position + len(header) + header[26] + sum(file.read(header[26]))
        yield position, end, is_first and not in_headers
        in_headers = is_first
        position = file.seek(end)


_MAX_RIFF = 0x7FFF_0000  # more is written where the size was not known


def _riff(file: BinaryIO) -> _Units:
    def read_header(header: bytes) -> tuple[int, bool] | None:
        size = int.from_bytes(header[4:8], "little")
        if header[:4] == b"RF64" and header[12:16] == b"ds64":
            size = int.from_bytes(header[20:28], "little")
        elif header[:4] != b"RIFF":
            return None
        elif not 0 < size < _MAX_RIFF:
            size = 0
        return size and 8 + size + size % 2, header[8:12] == b"WAVE"

    return _units(file, read_header)


_WAVE64 = bytes.fromhex("726966662E91CF11A5D628DB04C10000")


def _wave64(file: BinaryIO) -> _Units:
    def read_header(header: bytes) -> tuple[int, bool] | None:
        size = int.from_bytes(header[16:24], "little")
        return (size, True) if header.startswith(_WAVE64) else None

    return _units(file, read_header)


_BOXES = frozenset(
    b"ftyp moov mdat wide free skip moof styp sidx mfra uuid meta emsg prft udta pnot PICT".split()
)


def _iso(file: BinaryIO) -> _Units:
    def read_header(header: bytes) -> tuple[int, bool] | None:
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        valid = kind in _BOXES and (size == 0 or size >= 8)
        return (size, kind == b"ftyp") if valid else None

    return _units(file, read_header)


_ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")


def _asf(file: BinaryIO) -> _Units:
    def read_header(header: bytes) -> tuple[int, bool] | None:
        size = int.from_bytes(header[16:24], "little")
        return (size, header.startswith(_ASF)) if size >= 24 else None

    return _units(file, read_header)


def _flv(file: BinaryIO) -> _Units:
    def read_header(header: bytes) -> tuple[int, bool] | None:
        if header.startswith(b"FLV"):
            return int.from_bytes(header[5:9], "big") + 4, True
        if header[:1] in {b"\x08", b"\x09", b"\x12"}:  # sound, picture, data
            return 11 + int.from_bytes(header[1:4], "big") + 4, False
        return None

    return _units(file, read_header)


def _matroska(file: BinaryIO) -> _Units:
    """Yield the elements of the highest level; FFmpeg itself reads what is joined."""

    def read_header(header: bytes) -> tuple[int, bool] | None:
        if not header.startswith((b"\x1aE\xdf\xa3", b"\x18S\x80g", b"\xec")):
            return None
        start = 1 if header[0] == 0xEC else 4
        length = 9 - header[start].bit_length()
        value = int.from_bytes(header[start : start + length], "big")
        size = value & ((1 << 7 * length) - 1)
        return (0 if size == (1 << 7 * length) - 1 else start + length + size), False

    return _units(file, read_header)


def _caf(file: BinaryIO) -> _Units:
    def read_header(header: bytes) -> tuple[int, bool] | None:
        if header.startswith(b"caff"):
            return 8, False
        if not header[:4].isalnum():
            return None
        size = int.from_bytes(header[4:12], "big", signed=True)
        return (0 if size < 0 else 12 + size), False

    return _units(file, read_header)


_PACK = b"\0\0\1\xba"
_TAIL = 1024 * 1024  # bytes


def _mpeg(file: BinaryIO) -> _Units:
    """Yield the packets at the end of an MPEG program stream."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
    tail = file.read(_TAIL)
    first = file.tell() - len(tail)
    position = tail.find(_PACK)
    while position >= 0 and tail[position : position + 3] == _PACK[:3]:
        header = tail[position : position + 14].ljust(14, b"\0")
        if header[3] == _PACK[3]:
            size = 14 + (header[13] & 7) if header[4] & 0xC0 == 0x40 else 12
        elif header[3] == 0xB9:  # the end
            size = 4
        else:
            size = 6 + int.from_bytes(header[4:6], "big")
        yield first + position, first + position + size, False
        position += size


_Reader: TypeAlias = Callable[[BinaryIO], _Units]

_READERS: dict[bytes, _Reader] = {
    b"OggS": _ogg,
    b"RIFF": _riff,
    b"RF64": _riff,
    b"FLV": _flv,
    b"caff": _caf,
    b"\x1aE\xdf\xa3": _matroska,
    _PACK: _mpeg,
    _WAVE64: _wave64,
    _ASF: _asf,
}
_WITH_TOTAL_SIZE = frozenset({_riff, _wave64, _caf, _asf, _matroska})


def _reader_for(head: bytes) -> _Reader | None:
    for magic, reader in _READERS.items():
        if head.startswith(magic):
            return reader
    return _iso if head[4:8] in _BOXES else None


_BROADCAST_PACKETS = (188, 192, 204)
"""Sizes of the packets of MPEG transport streams: plain, with time stamps, with checksums."""


def _size_of_packets(head: bytes, actual: int) -> int:
    """Return the size of a transport stream up to the end of its last packet; 0 for others."""
    for size in _BROADCAST_PACKETS:
        first = size - 188 if size == 192 else 0
        sync = head[first : 16 * size : size]
        if len(sync) > 3 and set(sync) == {0x47}:
            return -(-actual // size) * size
    return 0


def _declared_by_mp3(file: BinaryIO, head: bytes) -> int:
    """Return the size of an MP3 by its Xing header; 0 if it has no such header."""
    start = 0
    if head.startswith(b"ID3"):
        for byte in head[6:10]:
            start = start << 7 | byte & 0x7F
        start += 10
    file.seek(start)
    frame = file.read(256)
    if frame[:1] != b"\xff":  # not the sync word of MPEG: text may contain the names
        return 0
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if at >= 0 and frame[at + 7] & 3 == 3:  # the number of frames, and the size
            return start + int.from_bytes(frame[at + 12 : at + 16], "big")
    return 0
