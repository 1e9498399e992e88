"""Decoding of the sound of a recording onto one continuous time line.

Frames are placed by their time stamps: a muted stretch or a damaged packet must not move what
follows. Times that restart, as in joined files, continue where the part before them ended.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from attrs import define, frozen
from av.audio.stream import AudioStream
from av.container import InputContainer

from diffio_async.sandbox.audio.decoding import (
    ENCRYPTED,
    CannotRestore,
    Limits,
    Link,
    find_audio,
    find_video,
    is_cut_off,
    open_media,
    riff_share,
)
from diffio_async.sandbox.audio.sound import RATE, Block, as_block, layout_name, silence

RESTART = 0.5
"""Seconds backwards: the time stamps of another recording begin."""

_BREAK = 60.0  # seconds forwards in a broadcast stream, or beyond the declared end: likewise
_BROADCAST = frozenset({"mpegts", "mpeg"})


@define
class _StreamClock:
    segment: int = 0
    end: float | None = None  # of the last packet, by its own time stamp


class Clock:
    """Continuous times for the packets of one file, the same for all its streams."""

    def __init__(self, container: InputContainer) -> None:
        self._breaks = container.format.name in _BROADCAST
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
        time = float(stamp * packet.time_base)
        clock = self._streams.setdefault(packet.stream_index, _StreamClock())
        if clock.end is not None and self._restarts(time, clock.end):
            clock.segment += 1
            if clock.segment == len(self._offsets):
                self._offsets.append(self._end - time)
        duration = float((packet.duration or 0) * packet.time_base)
        clock.end = time + duration
        offset = self._offsets[clock.segment]
        self._end = max(self._end, clock.end + offset)
        if steps := round((offset + shift) / packet.time_base):
            packet.pts = None if packet.pts is None else packet.pts + steps
            packet.dts = None if packet.dts is None else packet.dts + steps
        return time + offset + shift

    def _restarts(self, time: float, end: float) -> bool:
        forwards = time > end + _BREAK
        is_break = self._breaks or time > self._declared_end + _BREAK
        return time < end - RESTART or (forwards and is_break)


def packets(container: InputContainer, *streams: Any) -> Iterator["av.Packet[Any]"]:
    """Yield the packets of some streams, up to the end of a file or to where it is unreadable."""
    demuxed = container.demux(*streams)
    while True:
        try:
            packet = next(demuxed, None)
        except av.error.FFmpegError:
            return  # truncated: restore what came before
        if packet is None:
            return
        yield packet


@frozen
class Track:
    """The sound to restore.

    Attributes:
        streams: Indices of its streams in the file; a second one continues the first.
        channels: One or two.
        evenly: Mix all channels alike, because the mix by their positions is silent.
        links: The parts of a chained Ogg file; empty for every other file.
        warnings: What the owner of the recording should know about the choice.
    """

    streams: tuple[int, ...]
    channels: int
    evenly: bool = False
    links: tuple[Link, ...] = ()
    warnings: tuple[str, ...] = ()


_MAX_CHANNELS = 2


def output_channels(stream: AudioStream) -> int:
    """Return the number of channels of the restored sound: one or two."""
    context = stream.codec_context
    if context.channels > _MAX_CHANNELS and not _has_positions(context.layout):
        return 1
    return min(max(1, context.channels), _MAX_CHANNELS)


def _has_positions(layout: av.AudioLayout) -> bool:
    """Return whether a layout gives each channel the position of a speaker."""
    return not layout.name.startswith((f"{layout.nb_channels} channels", "ambisonic"))


_TOLERANCE = 0.03  # seconds: less is the rounding or jitter of time stamps
_MAX_TRIMMED_SHARE = 0.1  # over this, the time stamps are wrong, not the sound
_MIN_TRIMMED = 2.0  # seconds
_MIN_HOLES = 0.2  # seconds
_MIN_MISSING = 0.5  # seconds
_MIN_MISSING_SHARE = 0.02
# Their headers contain the duration; for others FFmpeg guesses it.
_DECLARING = frozenset(
    "mov matroska w64 flac asf flv caf aiff tta wv ape tak mpc mpc8".split()  # noqa: SIM905
)


class Decoder:
    """One pass over the sound of a recording.

    Attributes:
        start: The time of the first sample on the clock of the file, in seconds; known after the
            first block.
        warnings: What could not be read; complete after the last block.
    """

    def __init__(self, source: Path, track: Track, limits: Limits) -> None:
        self.start: float | None = None
        self.warnings = list(track.warnings)
        self._source = source
        self._track = track
        self._limits = limits
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._end = 0.0  # of the last frame, in seconds on the clock
        self._picture_end = 0.0  # of the last packet
        self._written = 0  # samples
        self._decoded = self._failed = 0  # frames, packets
        self._trimmed = self._seconds = self._missing = 0.0  # seconds

    def blocks(self, on_progress: Callable[[float], None]) -> Iterator[Block]:
        """Yield the sound at 48 kHz in one or two channels.

        Holes and damaged packets are filled with silence, and overlaps are trimmed.

        Args:
            on_progress: Called with the fraction that is done, from 0 to 1.

        Raises:
            CannotRestore: Most of the sound cannot be decoded, it is encrypted, or its sampling
                rate is too low.
        """
        links = self._track.links or (None,)
        for number, link in enumerate(links):
            with open_media(self._source, link) as container:
                if link is None:
                    streams = [container.streams[index] for index in self._track.streams]
                else:
                    streams = [find_audio(container)]
                for done, blocks in self._decode(container, streams, continues=number > 0):
                    yield from blocks
                    on_progress((number + done) / len(links))
                yield from self._flush()
                if link is None:
                    self._warn_of_missing(container, streams)
        if self._failed > self._decoded:
            raise CannotRestore("the recording is damaged: none of its sound can be decoded")
        if is_cut_off(self._source):
            self.warnings.append(
                f"the file is cut off: only {self._written / RATE:.1f} s were read"
            )
        if self._missing > _MIN_HOLES:
            self.warnings.append(
                f"{self._missing:.1f} s of sound are missing or damaged in the file: silence in"
                " the result"
            )

    def _decode(
        self, container: InputContainer, streams: list[Any], *, continues: bool
    ) -> Iterator[tuple[float, Iterator[Block]]]:
        """Yield the fraction done and the sound of each packet."""
        video = find_video(container)
        clock, indices = Clock(container), {stream.index for stream in streams}
        shift = None if continues else 0.0
        first = None
        for packet in packets(container, *streams, *([video] if video else [])):
            if packet.has_sidedata("encryption_info"):
                raise CannotRestore(ENCRYPTED)
            if shift is None and packet.pts is not None:  # a link continues the one before
                shift = self._end - max(0.0, float(packet.pts * packet.time_base))
            time = clock.adjust(packet, shift or 0.0)
            if packet.stream.index not in indices:
                self._picture_end = max(self._picture_end, time or 0.0)
                continue
            first = time if first is None else first
            try:
                frames: list[Any] = [*packet.decode()]
            except av.error.FFmpegError:
                self._failed += 1
                continue
            blocks = (block for frame in frames for block in self._place(frame))
            yield _fraction_done(packet, time, first, container), blocks

    def _place(self, frame: av.AudioFrame) -> Iterator[Block]:
        """Yield a frame at its time: after silence, or without what overlaps the one before."""
        self._limits.check_rate(frame.sample_rate)
        self._decoded += 1
        duration = frame.samples / frame.sample_rate
        self._seconds += duration
        time = self._end if frame.pts is None else float(frame.pts * (frame.time_base or 0))
        if self.start is None:
            self.start = self._end = time
        ahead = time - self._end
        if ahead < -_TOLERANCE and self._trusts_times():
            self._trimmed += min(-ahead, duration)
            trimmed = round(-ahead * frame.sample_rate)
            if trimmed >= frame.samples:
                return
            frame = _without_beginning(frame, trimmed)
            duration = frame.samples / frame.sample_rate
        elif ahead > _TOLERANCE:
            yield from self._flush()
            missing = round((time - self.start) * RATE) - self._written
            self._missing += ahead
            while missing > 0:
                yield self._count(silence(min(missing, RATE), self._track.channels))
                missing -= RATE
            self._end = time
        self._end += duration
        yield from self._resample(_mixable(frame, evenly=self._track.evenly))

    def _trusts_times(self) -> bool:
        return self._trimmed < max(_MIN_TRIMMED, _MAX_TRIMMED_SHARE * self._seconds)

    def _resample(self, frame: av.AudioFrame) -> Iterator[Block]:
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or frame_format != self._format:
            yield from self._flush()  # formats may change within a stream
            self._resampler = av.AudioResampler("flt", layout_name(self._track.channels), RATE)
            self._format = frame_format
        frame.pts = None
        for out in self._resampler.resample(frame):
            yield self._count(as_block(out))

    def _flush(self) -> Iterator[Block]:
        if self._resampler is not None:
            for out in self._resampler.resample(None):
                yield self._count(as_block(out))
            self._resampler = None

    def _count(self, block: Block) -> Block:
        self._written += len(block)
        return np.nan_to_num(block, posinf=1.0, neginf=-1.0)

    def _warn_of_missing(self, container: InputContainer, streams: list[Any]) -> None:
        if self.start is None:
            return
        read = self._written / RATE
        durations = [
            float(stream.duration * stream.time_base)
            for stream in streams
            if stream.duration and stream.time_base
        ]
        expected = read * max(1.0, riff_share(self._source))
        everything = max(read, self._picture_end - self.start)
        if self._declares_duration(container):
            declared = sum(durations) or _duration(container)
            # Without a duration of its own, the sound may be shorter than the picture.
            if _is_far_below(read if durations else everything, declared):
                expected = max(expected, declared)
        if _is_far_below(read, expected):
            self.warnings.append(f"only {read:.1f} of {expected:.1f} s could be read")
        elif _is_far_below(self._end, self._picture_end):
            self.warnings.append(
                f"the sound ends at {self._end - self.start:.1f} s, the picture at"
                f" {self._picture_end - self.start:.1f} s"
            )

    def _declares_duration(self, container: InputContainer) -> bool:
        formats = set(container.format.name.split(","))
        if "mp3" not in formats:
            return bool(formats & _DECLARING)
        with self._source.open("rb") as file:
            head = file.read(10)
            size = 0
            if head.startswith(b"ID3"):
                for byte in head[6:]:
                    size = size << 7 | byte & 0x7F
                size += len(head)
            file.seek(size)
            head = file.read(4096)
        return b"Xing" in head or b"Info" in head


def _duration(container: InputContainer) -> float:
    """Return the declared duration in seconds, or 0; Matroska counts from 0, not from the start."""
    start = (container.start_time or 0) if "matroska" in container.format.name else 0
    return max(0, (container.duration or 0) - start) / 1e6


def _is_far_below(seconds: float, expected: float) -> bool:
    return seconds < expected - max(_MIN_MISSING, _MIN_MISSING_SHARE * expected)


def _fraction_done(
    packet: "av.Packet[Any]", time: float | None, first: float | None, container: InputContainer
) -> float:
    if time is not None and first is not None and container.duration:
        return min(1.0, (time - first) * 1e6 / container.duration)
    if packet.pos is not None and container.size > 0:
        return min(1.0, packet.pos / container.size)
    return 0.0


def _without_beginning(frame: av.AudioFrame, samples: int) -> av.AudioFrame:
    given = frame.to_ndarray()
    width = 1 if frame.format.is_planar else frame.layout.nb_channels
    return _like(frame, np.ascontiguousarray(given[:, samples * width :]))


def _like(frame: av.AudioFrame, samples: Any) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
    made.sample_rate = frame.sample_rate
    made.time_base = frame.time_base or Fraction(1, frame.sample_rate)
    return made


def _mixable(frame: av.AudioFrame, *, evenly: bool) -> av.AudioFrame:
    """Return a frame that FFmpeg can mix: of many channels without positions, their mean.

    Otherwise FFmpeg would take the fourth of six for the channel of low frequencies, and drop it.
    """
    count = frame.layout.nb_channels
    if count <= _MAX_CHANNELS or (_has_positions(frame.layout) and not evenly):
        return frame
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, count).T
    if frame.layout.name.startswith("ambisonic") and not evenly:
        samples = samples[:1]  # the sound from all directions; the others are differences
    mean = samples.mean(axis=0, dtype=np.float64)
    if samples.dtype.kind == "u":
        mean = (mean - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        mean /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    mixed = av.AudioFrame.from_ndarray(mean.astype(np.float32)[np.newaxis], "flt", "mono")
    mixed.sample_rate = frame.sample_rate
    return mixed
