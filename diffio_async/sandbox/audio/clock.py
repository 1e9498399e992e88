"""Packets of a file, and one continuous clock for all of them.

Times that restart, as in joined files, continue where the part before them ended.
"""

import math
from collections.abc import Iterator
from typing import Any

import av
import av.error
from attrs import define
from av.container import InputContainer

RESTART = 0.5
"""Seconds backwards: the time stamps of another recording begin."""

_BREAK = 60.0  # seconds forwards in a broadcast stream, or beyond the declared end: likewise
_BROADCAST = frozenset({"mpegts", "mpeg"})


@define
class _StreamClock:
    segment: int = 0
    last: float | None = None  # start of the last packet, by its own time stamp
    entry: int = 0  # of the index of an AVI file
    scale: int = 0  # units of the index in a unit of the time base; 0: not known yet
    lost: int = 0  # units of the time base


class Clock:
    """Continuous times for the packets of one file, the same for all its streams."""

    def __init__(self, container: InputContainer) -> None:
        self._breaks = container.format.name in _BROADCAST
        self._counts = container.format.name == "avi"
        declared = (container.start_time or 0) + (container.duration or 0)
        self._declared_end = declared / av.time_base if container.duration else math.inf
        self._offsets = [0.0]
        self._streams: dict[int, _StreamClock] = {}
        self._end = 0.0

    def adjust(self, packet: "av.Packet[Any]", shift: float = 0.0) -> float | None:
        """Make the time stamps of a packet continuous; return its time in seconds, or None.

        Args:
            packet: The next packet of its stream, in the order of the file.
            shift: Seconds to add to all times.
        """
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or not packet.time_base:
            return None
        clock = self._streams.setdefault(packet.stream_index, _StreamClock())
        if self._counts:
            _look_up(packet, stamp, clock)
        time = float((stamp + clock.lost) * packet.time_base)
        if clock.last is not None and self._restarts(time, clock.last):
            clock.segment += 1
            if clock.segment == len(self._offsets):
                self._offsets.append(self._end - time)
        clock.last = time
        offset = self._offsets[clock.segment]
        duration = float((packet.duration or 0) * packet.time_base)
        self._end = max(self._end, time + duration + offset)
        if steps := clock.lost + round((offset + shift) / packet.time_base):
            packet.pts = None if packet.pts is None else packet.pts + steps
            packet.dts = None if packet.dts is None else packet.dts + steps
        return time + offset + shift

    def _restarts(self, time: float, last: float) -> bool:
        forwards = time > last + _BREAK
        is_break = self._breaks or time > self._declared_end + _BREAK
        return time < last - RESTART or (forwards and is_break)


_CHUNK_HEADER = 8  # bytes


def _look_up(packet: "av.Packet[Any]", stamp: int, clock: _StreamClock) -> None:
    """Find a packet of an AVI file in its index.

    FFmpeg numbers the packets as they come; the index has their numbers before any was lost.
    """
    entries = packet.stream.index_entries
    while clock.entry < len(entries) and packet.pos is not None:
        entry = entries[clock.entry]
        if entry.pos > packet.pos - _CHUNK_HEADER:
            return
        if entry.pos == packet.pos - _CHUNK_HEADER and stamp:
            clock.scale = clock.scale or max(1, round(entry.timestamp / stamp))
            clock.lost = max(clock.lost, entry.timestamp // clock.scale - stamp)
        clock.entry += 1


_MAX_ERRORS = 1000


def packets(container: InputContainer, *streams: Any) -> Iterator["av.Packet[Any]"]:
    """Yield the packets of some streams, also those behind parts that are unreadable."""
    errors = 0  # without a packet between them
    while errors < _MAX_ERRORS:
        try:
            for packet in container.demux(*streams):
                errors = 0
                yield packet
        except av.error.FFmpegError:
            errors += 1
        else:
            return
