"""Encoding of the restored sound: MP3, or a video file with the original pictures."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from attrs import frozen
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from diffio_async.sandbox.audio.decoding import find_audio, find_video, is_decodable, open_media
from diffio_async.sandbox.audio.filtering import as_frame, layout_name
from diffio_async.sandbox.audio.restoration import CannotRestore
from diffio_async.sandbox.audio.sound import RATE, Block

_BITS_PER_CHANNEL = 96_000


def add_audio_stream(container: OutputContainer, codec: str, channels: int) -> AudioStream:
    """Add an audio stream to an output file: 48 kHz, 96 kbit/s per channel."""
    audio_stream = container.add_stream(codec, rate=RATE)
    if not isinstance(audio_stream, AudioStream):
        raise TypeError(f"{codec} is not an audio codec")
    audio_stream.layout = layout_name(channels)
    audio_stream.bit_rate = _BITS_PER_CHANNEL * channels
    audio_stream.time_base = Fraction(1, RATE)
    return audio_stream


def write_mp3(blocks: Iterable[Block], channels: int, target: Path) -> None:
    """Write sound as an MP3.

    Its header contains the encoder's delay and padding, so that decoding returns the exact length.
    """
    with av.open(str(target), "w", format="mp3") as container:
        audio_stream = add_audio_stream(container, "libmp3lame", channels)
        start = 0
        for block in blocks:
            container.mux(audio_stream.encode(as_frame(block, start)))
            start += len(block)
        container.mux(audio_stream.encode(None))


_WEBM_CODECS = frozenset({"vp8", "vp9", "av1"})


@frozen
class VideoFormat:
    """A video file format: its FFmpeg name, its file suffix, and its audio codec."""

    format: str
    suffix: str
    sound: str


MP4 = VideoFormat("mp4", ".mp4", "aac")
WEBM = VideoFormat("webm", ".webm", "libopus")
MATROSKA = VideoFormat("matroska", ".mkv", "aac")


def containers_for(container: InputContainer, video: VideoStream) -> list[VideoFormat]:
    """Return the formats to try, best first: that of the input if it accepts the video codec."""
    formats, codec = container.format.name, video.codec_context.name
    if "webm" in formats and codec in _WEBM_CODECS:
        return [WEBM, MATROSKA]
    # MP4 does not allow VP8, and few players read VP9 from it.
    if codec in {"vp8", "vp9"} or "matroska" in formats:
        return [MATROSKA]
    return [MP4, MATROSKA]


def write_video(
    source: Path,
    sound: Callable[[], Iterable[Block]],
    channels: int,
    folder: Path,
    on_progress: Callable[[float], None],
) -> Path:
    """Write the video of the source, unchanged, with other sound.

    Args:
        source: A recording with video.
        sound: Returns the blocks of the sound, from the start at each call.
        channels: One or two.
        folder: Where `restored` with a suffix for the format is written.
        on_progress: Called with the fraction that is done, from 0 to 1.

    Raises:
        CannotRestore: No format accepts this video stream.
    """
    with open_media(source) as container:
        video = find_video(container)
        if video is None:
            raise CannotRestore("there is no video in this file")
        if not is_decodable(video):
            raise CannotRestore("the video in this file is in a format that is not supported")
        formats = containers_for(container, video)
    for file_format in formats:
        target = folder / f"restored{file_format.suffix}"
        try:
            _write(source, sound(), channels, file_format, target, on_progress)
        except (av.error.FFmpegError, ValueError):
            target.unlink(missing_ok=True)
        else:
            return target
    raise CannotRestore("the video in this file cannot be written with the restored sound")


def _write(
    source: Path,
    blocks: Iterable[Block],
    channels: int,
    file_format: VideoFormat,
    target: Path,
    on_progress: Callable[[float], None],
) -> None:
    with open_media(source) as media, av.open(str(target), "w", format=file_format.format) as out:
        video, audio = find_video(media), find_audio(media)
        if video is None or video.time_base is None or audio.time_base is None:
            raise CannotRestore("the video in this file has no timestamps")
        video_stream = out.add_stream_from_template(video)
        video_stream.metadata.update(video.metadata)
        audio_stream = add_audio_stream(out, file_format.sound, channels)
        # Sound and video may start at different times.
        first_sample = round((audio.start_time or 0) * audio.time_base * RATE)
        audio_muxer = _AudioMuxer(
            blocks,
            first_sample,
            lambda block, at: out.mux(audio_stream.encode(as_frame(block, at))),
        )
        for packet in _with_decoding_times(media.demux(video)):
            seconds = float((packet.dts or 0) * video.time_base)
            audio_muxer.mux_until(seconds)
            packet.stream = video_stream
            out.mux_one(packet)
            if media.duration:
                on_progress(min(1.0, seconds * 1e6 / media.duration))
        audio_muxer.mux_until(None)
        out.mux(audio_stream.encode(None))


def _with_decoding_times(
    packets: "Iterator[av.Packet[VideoStream]]",
) -> "Iterator[av.Packet[VideoStream]]":
    """Yield the video packets, each with a decoding time.

    Where frames are stored out of order, some containers omit the first decoding times.
    """
    pending: list[av.Packet[VideoStream]] = []
    for packet in packets:
        if packet.size == 0:  # the end-of-stream packet
            continue
        if packet.dts is None:
            pending.append(packet)
            continue
        for steps, packet_without_dts in enumerate(reversed(pending), start=1):
            packet_without_dts.dts = packet.dts - steps * (packet.duration or 1)
        yield from pending
        pending.clear()
        yield packet
    yield from (packet for packet in pending if packet.pts is not None)


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
