"""Video results: the original picture and everything else in the file, with the restored sound.

Packets are copied, so that no decoder or encoder of their codecs is needed.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
import av.error
from attrs import frozen
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from diffio_async.sandbox.audio.clock import Clock, packets
from diffio_async.sandbox.audio.decoding import (
    CannotRestore,
    codec_tag,
    find_audio,
    find_video,
    is_decodable,
    is_disk_full,
    open_media,
)
from diffio_async.sandbox.audio.results import add_audio_stream
from diffio_async.sandbox.audio.sound import RATE, Block, as_frame
from diffio_async.sandbox.audio.structure import Link
from diffio_async.sandbox.audio.timeline import Track


@frozen
class VideoFormat:
    """A video file format: its FFmpeg name, its file suffix, and its audio codec."""

    format: str
    suffix: str
    sound: str


MP4 = VideoFormat("mp4", ".mp4", "aac")
MOV = VideoFormat("mov", ".mov", "aac")
WEBM = VideoFormat("webm", ".webm", "libopus")
MATROSKA = VideoFormat("matroska", ".mkv", "aac")
WMV = VideoFormat("asf", ".wmv", "wmav2")
FLV = VideoFormat("flv", ".flv", "aac")
# AVI stores no encoder delay; that of AC-3 is 5 ms.
AVI = VideoFormat("avi", ".avi", "ac3")

_WEBM_CODECS = frozenset({"vp8", "vp9", "av1"})
# MP4 takes these, but few players read them from it.
_RARE_IN_MP4 = frozenset({"vp8", "vp9", "ffv1", "theora"})


def containers_for(container: InputContainer, video: VideoStream) -> list[VideoFormat]:
    """Return the formats to try, best first: that of the input if it accepts the video codec."""
    formats = container.format.name.split(",")
    codec = video.codec_context.codec.canonical_name
    # FFmpeg has one name for Matroska and WebM, which takes fewer kinds of tracks.
    tracks = {stream.type for stream in container.streams}
    if "webm" in formats and codec in _WEBM_CODECS and tracks <= {"audio", "video"}:
        preferred = [WEBM, MATROSKA]
    elif "matroska" in formats or codec in _RARE_IN_MP4:
        preferred = [MATROSKA]
    elif container.metadata.get("major_brand", "").strip() == "qt":
        preferred = [MOV]
    elif "asf" in formats:
        preferred = [WMV]
    elif "flv" in formats and codec not in {"h264", "hevc"}:
        preferred = [FLV]
    else:
        preferred = [MP4]
    rest = [MATROSKA, MOV, AVI, WMV, FLV]
    return [*preferred, *(file_format for file_format in rest if file_format not in preferred)]


@frozen
class Film:
    """A finished video, and what of the original is not in it."""

    path: Path
    warnings: list[str]


def write_video(
    source: Path,
    track: Track,
    start: float,
    shifts: list[float],
    sound: Callable[[], Iterable[Block]],
    folder: Path,
    on_progress: Callable[[float], None],
) -> Film:
    """Write the video of the source, unchanged, with other sound.

    Args:
        source: A recording with video.
        track: The sound track that is replaced.
        start: The time of its first sample in the source, in seconds.
        shifts: Seconds by which each part of the source is later than its time stamps.
        sound: Returns the blocks of the sound, from the start at each call.
        folder: Where `restored` with a suffix for the format is written.
        on_progress: Called with the fraction that is done, from 0 to 1.

    Raises:
        CannotRestore: No format accepts this video stream, or the disk is full.
    """
    parts = [*zip(track.links or (None,), shifts, strict=True)]
    while not has_video(source, parts[0][0]):
        del parts[0]  # only sound
    with open_media(source, parts[0][0]) as container:
        video = find_video(container)
        if video is None or not is_decodable(video):
            raise CannotRestore("its format is not known")
        codec = video.codec_context.codec.canonical_name
        formats = containers_for(container, video)
    for file_format in formats:
        for with_others in (True, False):
            target = folder / f"restored{file_format.suffix}"
            film = _Writer(source, parts, track, start, file_format, with_others=with_others)
            try:
                film.write(target, sound(), on_progress)
            except (av.error.FFmpegError, ValueError) as error:
                target.unlink(missing_ok=True)
                if is_disk_full(error):
                    raise CannotRestore("the disk of the sandbox is full") from error
                if not film.copied:
                    break
            else:
                return Film(target, film.warnings)
    raise CannotRestore(f"its format ({codec}) cannot be copied into a file with other sound")


def has_video(source: Path, link: Link | None = None) -> bool:
    """Return whether a file, or a part of a joined file, has a video stream."""
    with open_media(source, link) as container:
        return find_video(container) is not None


_Parts: TypeAlias = list[tuple[Link | None, float]]

# The muxers write these themselves.
_OWN_METADATA = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
)


def _metadata(given: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if name.lower() not in _OWN_METADATA}


def _describe(stream: Any) -> str:
    kind = {"subtitle": "subtitles", "audio": "a sound track", "video": "a picture"}.get(
        stream.type, f"a track of {stream.type}"
    )
    context = stream.codec_context if stream.type != "data" else None
    name = context.codec.canonical_name if context is not None else None
    return f"{kind} ({name})" if name else kind


class _Writer:
    """One attempt to write a video in one format."""

    def __init__(
        self,
        source: Path,
        parts: _Parts,
        track: Track,
        start: float,
        file_format: VideoFormat,
        *,
        with_others: bool,
    ) -> None:
        self.copied: dict[int, Any] = {}  # the other streams: output by input index
        self.warnings: list[str] = []
        self._source = source
        self._parts = parts
        self._track = track
        self._start = start
        self._format = file_format
        self._with_others = with_others

    def write(
        self, target: Path, blocks: Iterable[Block], on_progress: Callable[[float], None]
    ) -> None:
        (link, shift), *_ = self._parts
        with (
            open_media(self._source, link) as media,
            av.open(str(target), "w", format=self._format.format) as out,
        ):
            video = find_video(media)
            if video is None or video.time_base is None:
                raise CannotRestore("it has no time stamps")
            picture = self._add_picture(media, out, video)
            audio_stream = add_audio_stream(out, self._format.sound, self._track.channels)
            self._add_others(media, out, video)
            # The film starts at 0, with the stream that starts first.
            origin = min(self._start, shift + float((video.start_time or 0) * video.time_base))
            self._add_metadata(media, out, origin)
            audio_muxer = _AudioMuxer(
                blocks,
                round((self._start - origin) * RATE),
                lambda block, at: out.mux(audio_stream.encode(as_frame(block, at))),
            )
            outputs = {video.index: picture, **self.copied}
            seconds = (media.duration or 0) / 1e6 * len(self._parts)
            last_dts: dict[int, int] = {}
            timed = _with_decoding_times(self._timed(video, -origin), video.index)
            for index, packet, time in timed:
                if index == video.index and time is not None:
                    audio_muxer.mux_until(time)
                    if seconds:
                        on_progress(min(1.0, time / seconds))
                _make_monotonic(packet, index, last_dts)
                packet.stream = outputs[index]
                out.mux_one(packet)
            audio_muxer.mux_until(None)
            out.mux(audio_stream.encode(None))

    def _sounds(self, media: InputContainer) -> tuple[int, ...]:
        """Return the indices of the streams that are replaced."""
        if self._track.links:
            return (find_audio(media).index,) if media.streams.audio else ()
        return self._track.streams

    def _timed(self, first: VideoStream, shift: float) -> "Iterator[_Timed]":
        """Yield the packets of all parts that are copied, by their streams in the first part."""
        for link, later in self._parts:
            with open_media(self._source, link) as media:
                video = find_video(media)
                if video is None:
                    continue
                if not _is_alike(video, first):
                    raise CannotRestore("the parts of the file have different formats of pictures")
                # The clock sees the streams that it saw when the sound was decoded.
                sounds = [media.streams[index] for index in self._sounds(media)]
                copied = {index: media.streams[index] for index in self.copied}
                indices = {s.index: index for index, s in {first.index: video, **copied}.items()}
                clock = Clock(media)
                for packet in packets(media, video, *copied.values(), *sounds):
                    if packet.size:  # the last packet of each stream is empty
                        time = clock.adjust(packet, later + shift)
                        if packet.stream_index in indices:
                            yield indices[packet.stream_index], packet, time

    def _add_picture(
        self, media: InputContainer, out: OutputContainer, video: VideoStream
    ) -> VideoStream:
        picture = out.add_stream_from_template(video, opaque=True)
        picture.metadata.update(_metadata(video.metadata))
        # Players of Apple know HEVC by the tag hvc1 only, and variants of ProRes have tags.
        tag = codec_tag(video)
        if tag and "mov" in media.format.name.split(",") and self._format in {MP4, MOV}:
            picture.codec_context.codec_tag = tag
        return picture

    def _add_others(self, media: InputContainer, out: OutputContainer, video: VideoStream) -> None:
        for stream in media.streams:
            if stream.index in {video.index, *self._sounds(media)} or _is_implied(stream, media):
                continue
            if not self._with_others or self._track.links:
                self.warnings.append(f"not in the video: {_describe(stream)}")
                continue
            try:
                added = out.add_stream_from_template(stream, opaque=True)
                added.metadata.update(_metadata(stream.metadata))
                disposition: Any = (stream.disposition & ~Disposition.default).value
                added.disposition = disposition
            except (av.error.FFmpegError, ValueError, AttributeError):
                self.warnings.append(f"not in the video: {_describe(stream)}")
            else:
                self.copied[stream.index] = added

    def _add_metadata(self, media: InputContainer, out: OutputContainer, origin: float) -> None:
        out.metadata.update(_metadata(media.metadata))
        for stream in media.streams:
            if "timecode" in stream.metadata:
                out.metadata.setdefault("timecode", stream.metadata["timecode"])
        chapters = media.chapters()
        for chapter in chapters:
            if origin and chapter["time_base"]:
                steps = round(origin / chapter["time_base"])
                chapter["start"] = max(0, chapter["start"] - steps)
                chapter["end"] = max(0, chapter["end"] - steps)
        if chapters and self._format in {WMV, FLV, AVI}:
            self.warnings.append("not in the video: the chapters")
        elif chapters:
            out.set_chapters(chapters)


def _is_implied(stream: Any, media: InputContainer) -> bool:
    """Return whether the muxer writes a data stream itself, from metadata or chapters."""
    if stream.type != "data":
        return False
    return "timecode" in stream.metadata or bool(media.chapters())


_Timed: TypeAlias = "tuple[int, av.Packet[Any], float | None]"
"""The index of a stream, a packet of it, and its time in seconds."""


def _is_alike(video: VideoStream, first: VideoStream) -> bool:
    one, other = video.codec_context, first.codec_context
    return (one.name, one.width, one.height, one.extradata) == (
        other.name,
        other.width,
        other.height,
        other.extradata,
    )


def _make_monotonic(packet: "av.Packet[Any]", index: int, last_dts: dict[int, int]) -> None:
    """Move a packet behind the one before it, which ends a part of a joined file."""
    if packet.dts is None:
        return
    last = last_dts.get(index)
    if last is not None and packet.dts <= last:
        packet.dts = last + 1
        if packet.pts is not None:
            packet.pts = max(packet.pts, packet.dts)
    last_dts[index] = packet.dts


_MAX_REORDERED = 32
"""Packets; no codec stores a frame further from its place."""


def _with_decoding_times(timed: Iterator[_Timed], video: int) -> Iterator[_Timed]:
    """Yield the packets, those of the video each with a decoding time.

    Where frames are stored out of order, some containers omit the first decoding times. If all are
    missing, the muxer derives them.
    """
    pending: list[_Timed] = []
    for index, packet, time in timed:
        if index != video:
            yield index, packet, time
            continue
        if packet.dts is None:
            pending.append((index, packet, time))
            if len(pending) > _MAX_REORDERED:
                yield pending.pop(0)
            continue
        for steps, (_, without_dts, _) in enumerate(reversed(pending), start=1):
            without_dts.dts = packet.dts - steps * (packet.duration or 1)
        yield from pending
        pending.clear()
        yield index, packet, time
    yield from (entry for entry in pending if entry[1].pts is not None)


class _AudioMuxer:
    """Interleaves the sound with the video, so that neither is buffered in memory."""

    def __init__(
        self, blocks: Iterable[Block], first_sample: int, mux: Callable[[Block, int], None]
    ) -> None:
        self._blocks: Iterator[Block] = iter(blocks)
        self._position = first_sample
        self._mux = mux

    def mux_until(self, seconds: float | None) -> None:
        """Encode the sound up to a time in seconds, or all of it if None."""
        while seconds is None or self._position / RATE <= seconds:
            block = next(self._blocks, None)
            if block is None:
                return
            self._mux(block, self._position)
            self._position += len(block)
