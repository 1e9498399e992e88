"""Decoding of the sound of a recording onto one continuous time line.

Frames are placed by their time stamps: a muted stretch or a damaged packet must not move what
follows.
"""

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

from diffio_async.sandbox.audio.clock import Clock, packets
from diffio_async.sandbox.audio.decoding import (
    ENCRYPTED,
    CannotRestore,
    Limits,
    find_audio,
    find_video,
    open_media,
)
from diffio_async.sandbox.audio.sound import RATE, Block, as_block, layout_name, silence
from diffio_async.sandbox.audio.structure import Link, read_structure


@frozen
class Track:
    """The sound to restore.

    Attributes:
        streams: Indices of its streams in the file; each continues the one before.
        channels: One or two.
        evenly: Mix all channels alike, because the mix by their positions is silent.
        links: The parts of a joined file; empty for every other file.
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
_EXACT = 0.001  # seconds, where a part of a joined file begins
_MAX_TRIMMED_SHARE = 0.1  # over this, the time stamps are wrong, not the sound
_MIN_TRIMMED = 2.0  # seconds
_MIN_HOLES = 0.2  # seconds
_MIN_MISSING = 0.5  # seconds
_MIN_MISSING_SHARE = 0.02
_MAX_PADDING = 8  # bytes that some programs declare, but do not write
_MIN_RUN = 1.0  # seconds without a damaged packet: not encrypted, and not another format
# Their headers contain the duration; for others FFmpeg guesses it.
_DECLARING = frozenset(
    "mov matroska flac asf flv aiff tta wv ape tak mpc mpc8 mxf au rm avi".split()  # noqa: SIM905
)
# FFmpeg counts the packets of these: they have no time stamps.
_RAW = frozenset("mp3 aac loas ac3 eac3 truehd mlp".split())  # noqa: SIM905
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


@define
class _RawStream:
    """The duration of damaged parts of a stream without time stamps, by their size."""

    decoded: int = 0  # bytes
    damaged: int = 0  # bytes
    position: int | None = None  # after the last packet
    has_tag: bool = False

    def add_damaged(self, packet: "av.Packet[Any]") -> None:
        """Add a packet that cannot be decoded; it may be a tag of a joined file."""
        self.damaged += packet.size
        self.position = (packet.pos or 0) + packet.size
        self.has_tag |= any(tag in bytes(packet) for tag in _TAGS)

    def add(self, packet: "av.Packet[Any]") -> int:
        """Add a packet that was decoded; return the number of damaged bytes before it."""
        position = packet.pos or 0
        damaged = self.damaged + position - (self.position or position)
        if self.has_tag or not self.decoded:
            damaged = 0
        self.decoded += packet.size
        self.damaged, self.position, self.has_tag = 0, position + packet.size, False
        return damaged


class Decoder:
    """One pass over the sound of a recording.

    Attributes:
        start: The time of the first sample on the clock of the file, in seconds; known after the
            first block.
        shifts: Seconds by which each part of a joined file is later than its time stamps.
        warnings: What could not be read; complete after the last block.
    """

    def __init__(self, source: Path, track: Track, limits: Limits) -> None:
        self.start: float | None = None
        self.shifts: list[float] = []
        self.warnings = list(track.warnings)
        self._source = source
        self._track = track
        self._limits = limits
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._end = 0.0  # of the last frame, in seconds on the clock
        self._tolerance = _TOLERANCE
        self._picture_end = 0.0  # of the last packet
        self._written = 0  # samples
        self._decoded = self._failed = 0  # frames, packets
        self._trimmed = self._seconds = self._missing = 0.0  # seconds
        self._run = self._longest_run = 0.0  # seconds without a damaged packet
        self._damaged_at: float | None = None  # where the size of a hole is not known
        self._is_short = False  # compared with the declared duration

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
                    streams = [find_audio(container)] if container.streams.audio else []
                self.shifts.append(self._shift(container) if number else 0.0)
                self._tolerance = _EXACT
                for done, blocks in self._decode(container, streams):
                    yield from blocks
                    on_progress((number + done) / len(links))
                yield from self._flush()
                self._warn_of_missing(container, streams)
        if self._failed > self._decoded and self._longest_run < _MIN_RUN:
            share = "most" if self._decoded else "none"
            raise CannotRestore(f"the recording is damaged: {share} of its sound can be decoded")
        if self._missing > _MIN_HOLES:
            self.warnings.append(
                f"{self._missing:.1f} s of sound are missing or damaged in the file: silence in"
                " the result"
            )
        elif self._damaged_at is not None and not self._is_short:
            self.warnings.append(
                f"the file is damaged at {self._damaged_at:.1f} s: sound may be missing there"
            )

    def _shift(self, container: InputContainer) -> float:
        """Return by how many seconds a part of a joined file is late: it follows the others."""
        return max(self._end, self._picture_end) - max(0, container.start_time or 0) / 1e6

    def _decode(
        self, container: InputContainer, streams: list[Any]
    ) -> Iterator[tuple[float, Iterator[Block]]]:
        """Yield the fraction done and the sound of each packet."""
        video = find_video(container)
        clock, indices = Clock(container), {stream.index for stream in streams}
        raw = _RawStream() if container.format.name in _RAW else None
        first = None
        for packet in packets(container, *streams, *([video] if video else [])):
            if packet.has_sidedata("encryption_info"):
                raise CannotRestore(ENCRYPTED)
            time = clock.adjust(packet, self.shifts[-1])
            if packet.stream.index not in indices:
                end = (time or 0.0) + float((packet.duration or 0) * packet.time_base)
                self._picture_end = max(self._picture_end, end)
                continue
            first = time if first is None else first
            try:
                frames: list[Any] = [*packet.decode()]
            except av.error.FFmpegError:
                self._failed += 1
                self._run = 0.0
                if raw is not None:
                    raw.add_damaged(packet)
                continue
            hole = None
            if raw is not None and frames:
                hole = self._hole(raw, packet)
            yield (
                _fraction_done(packet, time, first, container),
                (block for frame in frames for block in self._place(frame, hole)),
            )

    def _hole(self, raw: _RawStream, packet: "av.Packet[Any]") -> float:
        """Return the seconds between a packet and the one before it."""
        before = raw.decoded
        damaged = raw.add(packet)
        if not damaged:
            return 0.0
        hole = damaged * self._seconds / before
        if hole < _MIN_HOLES and self._damaged_at is None:
            self._damaged_at = self._end
        return hole if hole >= _MIN_HOLES else 0.0

    def _place(self, frame: av.AudioFrame, hole: float | None = None) -> Iterator[Block]:
        """Yield a frame at its time: after silence, or without what overlaps the one before.

        Args:
            frame: The next frame.
            hole: Seconds between the frame before and this one; None: by its time stamp.
        """
        self._limits.check_rate(frame.sample_rate)
        self._decoded += 1
        duration = frame.samples / frame.sample_rate
        self._seconds += duration
        self._run += duration
        self._longest_run = max(self._longest_run, self._run)
        if hole is not None:
            time = self._end + hole
        elif frame.pts is None:
            time = self._end
        else:
            time = float(frame.pts * (frame.time_base or 0))
        if self.start is None:
            self.start = self._end = time
        ahead = time - self._end
        tolerance, self._tolerance = self._tolerance, _TOLERANCE
        if ahead < -tolerance and self._trusts_times():
            self._trimmed += min(-ahead, duration)
            trimmed = round(-ahead * frame.sample_rate)
            if trimmed >= frame.samples:
                return
            frame = _without_beginning(frame, trimmed)
            duration = frame.samples / frame.sample_rate
        elif ahead > tolerance:
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
        if self._track.links and len(self.shifts) < len(self._track.links):
            return  # only the last part may be cut off
        read = self._written / RATE
        structure, actual = read_structure(self._source), self._source.stat().st_size
        is_cut_off = structure.size > actual + _MAX_PADDING
        expected = read
        if is_cut_off and structure.is_total:
            expected = max(read, (read - self._missing) * structure.size / actual)
        if not self._track.links and _declares_duration(container, structure.size):
            expected = max(expected, self._declared(container, streams))
        self._is_short = _is_far_below(read, expected)
        if self._is_short:
            self.warnings.append(f"only {read:.1f} of {expected:.1f} s could be read")
        elif is_cut_off and not structure.is_total:
            self.warnings.append(f"the file is cut off: only {read:.1f} s were read")
        elif self.start is not None and _is_far_below(self._end, self._picture_end):
            self.warnings.append(
                f"the sound ends at {self._end - self.start:.1f} s, the picture at"
                f" {self._picture_end - self.start:.1f} s"
            )

    def _declared(self, container: InputContainer, streams: list[Any]) -> float:
        """Return the duration of the sound that the headers declare, in seconds."""
        end = self._end
        declared = sum(float((s.duration or 0) * (s.time_base or 0)) for s in streams)
        start = min(float((s.start_time or 0) * (s.time_base or 0)) for s in streams)
        if not declared:
            # Without a duration of its own, the sound may be shorter than the picture.
            end = max(end, self._picture_end)
            start = (container.start_time or 0) / 1e6
            declared = _duration(container)
        missing = declared - (end - start)
        return self._written / RATE + (missing if _is_far_below(end - start, declared) else 0.0)


def _declares_duration(container: InputContainer, size: int) -> bool:
    formats = set(container.format.name.split(","))
    if "mp3" in formats:  # FFmpeg trusts the header of a file of about this size
        return 0 < container.size <= size * 17 / 16
    return bool(formats & _DECLARING)


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
